"""Design proxies for a budget, run them, fit their laws, audit them, and plan with them.

Each step writes its file whole, and the same call on the same folder goes on at the step that it
had come to: the sweep run by run, the rest anew from the runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import parse_count
from planner.calibrate.family import Asked, Cost, Limits, design_family
from planner.calibrate.folder import (
    LAWS,
    PLAN,
    REPORT,
    RUNS,
    Request,
    check_folder,
    write_request,
)
from planner.facts.laws import DEFAULT_PRIOR, find_law, read_lawbook
from planner.plan.file import plan_to_json
from planner.plan.make import make_plan
from planner.request.choices import Choices, check_choices
from planner.request.request import ask_for, kept_laws
from planner.request.target import Target
from proxies.sweep.spec import read_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.fit.result import FittedLaws
    from fitting.laws.law import Law
    from planner.plan.document import Plan
    from proxies.run.shape import Shape
    from proxies.sweep.executors.desk import Execute
    from proxies.sweep.run_sweep import Ending, Means
    from proxies.sweep.session import Session
    from proxies.sweep.spec import SweepSpec

SWEEP_SHARE = 0.85
"""Share of a time that the runs are designed to fill; the rest is for starts, the fit, the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What came of a calibration."""

    ending: Ending
    fitted: FittedLaws
    plan: Plan
    no_report: str | None
    """Why there is no report: the packages that it needs are missing; None where there is one."""


def calibrate(
    request: Request,
    folder: Path,
    *,
    means: Means,
    command: str = "",
    execute: Execute | None = None,
    on_start: Callable[[Session], None] = lambda session: None,
) -> Calibrated | None:
    """A plan from runs of your own, made within a budget.

    Args:
        request: the target and what may be spent on it.
        folder: of this calibration, or new; gets the runs table, laws.toml and plan.json.
        means: executor, workers and device of the runs.
        command: as typed, for the plan's provenance.
        execute: an executor of the caller's own, in place of that of `means`.
        on_start: told of the sweep's session before its first run.

    Returns:
        The laws and the plan; None where the sweep was told to stop.

    Raises:
        InputError: a request that cannot be met, or a folder made for another.
        FitError: the runs do not give a law.
    """
    from fitting.files import replace_file
    from fitting.fit.laws import fit_laws
    from fitting.runs.table import read_runs
    from proxies.sweep.run_sweep import run_sweep

    check_request(request)
    prior = find_prior(request)
    check_folder(folder, request)
    spec = find_spec(request, folder, means, prior)

    def start(session: Session) -> None:
        write_request(folder, request)
        on_start(session)

    ending = run_sweep(
        spec,
        folder,
        law=prior,
        means=means,
        execute=execute,
        on_start=start,
    )
    if ending.stopped:
        return None
    runs = read_runs([folder / RUNS])
    fitted = fit_laws(runs, prior=prior, target=(request.params, request.tokens))
    replace_file(folder / LAWS, fitted.to_law("laws", fit_command(folder, request)).content)
    plan = plan_by(folder / LAWS, request, spec, command)
    replace_file(folder / PLAN, (plan_to_json(plan) + "\n").encode())
    no_report = write_report(folder, command)
    return Calibrated(ending=ending, fitted=fitted, plan=plan, no_report=no_report)


def fit_command(folder: Path, request: Request) -> str:
    """The command that makes the laws again from the runs."""
    size = f"{request.params:.15g}:{request.tokens:.15g}"
    words = ["plan", "fit", str(folder / RUNS), "--prior", request.prior, "--target", size]
    return shlex.join([*words, "--out", str(folder / LAWS)])


def check_request(request: Request) -> None:
    """Refuse what no family can be designed for.

    Raises:
        InputError: naming the option.
    """
    if not request.interval > 1:
        raise InputError(f"--interval {request.interval:g}: must be above 1, as 1.5")
    read_budget(request.budget)
    check_choices(choices_of(request), target_of(request))


def find_prior(request: Request) -> Law | None:
    """The law that is combined with the runs.

    Raises:
        InputError: there is none of that name.
    """
    if request.prior == "none":
        return None
    return find_law(read_lawbook(), request.prior, where="--prior")


def target_of(request: Request) -> Target:
    """The run that is planned."""
    return Target(
        params=request.params,
        tokens=request.tokens,
        seq_len=request.seq_len,
        vocab_size=request.vocab_size,
    )


def choices_of(request: Request, spec: SweepSpec | None = None) -> Choices:
    """The plan's choices; under muP and CompleteP with the base shape of the proxies."""
    plain = Choices(optimizer=request.optimizer, parametrization=request.parametrization)
    if spec is None or request.parametrization == "sp":
        return plain
    return replace(
        plain,
        base_d_model=spec.model.base_d_model,
        base_n_layers=spec.model.base_n_layers,
        base_head_dim=spec.model.head_dim,
    )


def find_spec(request: Request, folder: Path, means: Means, prior: Law | None) -> SweepSpec:
    """The sweep that the folder has, or a new one that fits the budget.

    Raises:
        InputError: the budget or the corpus is too small.
    """
    from proxies.corpus import open_corpus
    from proxies.corpus.sequences import available_tokens
    from proxies.sweep.folder.about import read_about

    about = read_about(folder)
    if about is not None:
        return about.spec
    flops, seconds = read_budget(request.budget)
    corpus = open_corpus(request.corpus, tokenizer=request.tokenizer)
    limits = Limits(
        flops=flops,
        seconds=seconds,
        corpus_tokens=float(available_tokens(corpus, seq_len=request.seq_len)),
        interval=request.interval,
    )
    asked = Asked(
        params=request.params,
        tokens=request.tokens,
        seq_len=request.seq_len,
        parametrization=request.parametrization,
        optimizer=request.optimizer,
        corpus=request.corpus,
        tokenizer=request.tokenizer,
        prior=None if prior is None else prior.name,
        seed=request.seed,
    )
    law = prior or find_law(read_lawbook(), DEFAULT_PRIOR)
    cost = flops_of if seconds is None else seconds_by(means)
    return design_family(asked, limits, law, cost=cost)


def read_budget(text: str) -> tuple[float | None, float | None]:
    """FLOPs or seconds, as 3e18 or 2h.

    Raises:
        InputError: neither.
    """
    if text[-1:].lower() in ("s", "m", "h", "d"):
        try:
            seconds = float(str(read_seconds(text.lower())))
        except ValueError as error:
            raise InputError(f"--budget '{text}': {error}, or FLOPs as 3e18") from error
        if not 0 < seconds < float("inf"):
            raise InputError(f"--budget '{text}': must be above 0")
        return None, seconds
    return parse_count(text, where="--budget"), None


def flops_of(spec: SweepSpec) -> float:
    """6 params tokens of a sweep's whole design."""
    from proxies.sweep.cells import expand_cells, total_flops

    return total_flops(expand_cells(spec, vocab_size=1))


def seconds_by(means: Means) -> Cost:
    """A function that times a few steps of a sweep's shapes, each once, and adds its runs up."""
    from proxies.sweep.executors.timing import choose_executor, measure_rates, seconds_of
    from proxies.sweep.run_sweep import make_desk, open_cells

    rates: dict[Shape, float] = {}
    names: list[str] = [] if means.executor == "auto" else [means.executor]

    def cost(spec: SweepSpec) -> float:
        _, cells = open_cells(spec)
        desk = make_desk(spec, means)
        if not names:
            names.append(choose_executor(spec, cells, desk))
        new = [shape for shape in dict.fromkeys(c.shape for c in cells) if shape not in rates]
        rates.update(measure_rates(spec, new, desk, name=names[0]))
        return sum(seconds_of(spec, cell, rates[cell.shape]) for cell in cells) / SWEEP_SHARE

    return cost


def plan_by(laws: Path, request: Request, spec: SweepSpec, command: str) -> Plan:
    """The plan of the target by the fitted laws.

    Raises:
        InputError: laws and target contradict each other.
    """
    book = read_lawbook((laws,))
    own = kept_laws((laws,), book)
    asked = ask_for(target_of(request), choices=choices_of(request, spec), laws=own)
    return make_plan(asked, book, command=command)


def write_report(folder: Path, command: str) -> str | None:
    """Write the report of all that the folder has; why there is none where its extra is missing."""
    from fitting.files import replace_file
    from planner.report.evidence import gather
    from planner.report.make import whole_page
    from planner.report.page import check_extra

    try:
        check_extra()
    except InputError as missing:
        return str(missing)
    page = whole_page(gather(folder), command=command)
    replace_file(folder / REPORT, page.html.encode())
    return None
