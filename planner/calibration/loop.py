"""Design proxies for a budget, run them, fit their laws, audit them, and plan with them.

Each step writes its file whole, and the same call on the same folder goes on at the step that it
had come to: the sweep run by run, the rest anew from the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import parse_count
from planner.calibration.family import Asked, Cost, Limits, design_family
from planner.calibration.folder import LAWS, PLAN, RUNS, Request, check_folder, write_request
from planner.choices import Choices
from planner.document import plan_to_json
from planner.lawbook import find_law, read_lawbook
from planner.recommendation import Prepared, prepare
from planner.target import Target
from proxies.sizing import choose_shape
from proxies.sweep.spec import read_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.fitted_report import FittedLaws
    from fitting.laws import Law
    from proxies.shape import Shape
    from proxies.sweep.records import Record
    from proxies.sweep.runner import Ending, Means
    from proxies.sweep.session import Session
    from proxies.sweep.spec import SweepSpec
    from proxies.sweep.trials import Execute

SWEEP_SHARE = 0.85
"""Share of a time that the runs are designed to fill; the rest is for starts, the fit, the plan."""

FALLBACK_LAW = "step-law"
"""Law that the searched ranges are taken from where no prior is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What came of a calibration."""

    ending: Ending
    fitted: FittedLaws
    prepared: Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Who is told how it goes."""

    on_stage: Callable[[str], None] = lambda stage: None
    on_start: Callable[[Session], None] = lambda session: None
    on_record: Callable[[Record], None] = lambda record: None


def calibrate(
    request: Request,
    folder: Path,
    *,
    means: Means,
    command: str = "",
    watchers: Watchers | None = None,
    execute: Execute | None = None,
) -> Calibrated | None:
    """A plan from runs of your own, made within a budget.

    Args:
        request: the target and what may be spent on it.
        folder: of this calibration, or new; gets the runs table, laws.toml and plan.json.
        means: executor, workers and device of the runs.
        command: as typed, for the plan's provenance.
        watchers: told of stages and runs.
        execute: an executor of the caller's own, in place of that of `means`.

    Returns:
        The laws and the plan; None where the sweep was told to stop.

    Raises:
        InputError: a request that cannot be met, or a folder made for another.
        FitError: the runs do not give a law.
    """
    from fitting.fitted import fit_laws
    from fitting.runs import read_runs
    from fitting.table_files import replace_file
    from proxies.sweep.runner import run_sweep

    watch = watchers or Watchers()
    prior = None if request.prior == "none" else find_law(read_lawbook(), request.prior)
    check_request(request)
    check_folder(folder, request)
    watch.on_stage("choosing the proxies that the budget pays")
    spec = find_spec(request, folder, means, prior)

    def start(session: Session) -> None:
        write_request(folder, request)
        watch.on_start(session)

    ending = run_sweep(
        spec,
        folder,
        law=prior,
        means=means,
        execute=execute,
        on_start=start,
        on_record=watch.on_record,
    )
    if ending.stopped:
        return None
    watch.on_stage("fitting laws")
    runs = read_runs([folder / RUNS])
    fitted = fit_laws(runs, prior=prior, target=(request.params, request.tokens))
    replace_file(folder / LAWS, fitted.to_law("laws", command).content)
    watch.on_stage("planning")
    prepared = plan_by(folder / LAWS, request, command)
    replace_file(folder / PLAN, (plan_to_json(prepared.plan) + "\n").encode())
    return Calibrated(ending=ending, fitted=fitted, prepared=prepared)


def check_request(request: Request) -> None:
    """Refuse what no family can be designed for.

    Raises:
        InputError: naming the option.
    """
    if not request.interval > 1:
        raise InputError(f"--interval {request.interval:g}: must be above 1, as 1.5")
    read_budget(request.budget)


def find_spec(request: Request, folder: Path, means: Means, prior: Law | None) -> SweepSpec:
    """The sweep that the folder has, or a new one that fits the budget.

    Raises:
        InputError: the budget or the corpus is too small.
    """
    from proxies.corpus import open_corpus
    from proxies.corpus.sequences import available_tokens
    from proxies.sweep.folder import read_about

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
        seed=request.seed,
    )
    law = prior or find_law(read_lawbook(), FALLBACK_LAW)
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
    from proxies.sweep.choosing import choose_executor, measure_rates, seconds_of
    from proxies.sweep.runner import make_desk, open_cells

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


def plan_by(laws: Path, request: Request, command: str) -> Prepared:
    """The plan of the target by the fitted laws.

    Raises:
        InputError: laws and target contradict each other.
    """
    target = Target(
        params=request.params,
        tokens=request.tokens,
        seq_len=request.seq_len,
        vocab_size=request.vocab_size,
    )
    choices = Choices(optimizer=request.optimizer, parametrization=request.parametrization)
    chosen = choose_shape(request.params, vocab_size=request.vocab_size, tied_embeddings=False)
    return prepare(
        target,
        chosen,
        choices,
        book=read_lawbook((laws,)),
        user_laws=(laws.stem,),
        command=command,
    )
