"""`plan calibrate`: from a budget to a plan by laws of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fitting.units import parse_count
from planner.cli.console import INTERRUPTED, require_torch
from planner.cli.options import (
    OUTPUT,
    address,
    corpus,
    device,
    executor,
    make_app,
    optimizer,
    option,
    parametrization,
    tokenizer,
    workers,
)
from planner.facts.laws import DEFAULT_PRIOR
from proxies.run import defaults

if TYPE_CHECKING:
    from planner.calibrate.loop import Calibrated

EXAMPLES = """Examples:

plan calibrate --params 1B --tokens 20B --budget 10m --out mine

plan calibrate --params 1B --tokens 20B --budget 3e18 --corpus texts/ --device cuda --out mine"""

app = make_app()

_TARGET = "Target"
_PROXIES = "Proxies"
_MEANS = "With what"


@app.command(epilog=EXAMPLES)
def run_calibration(
    context: typer.Context,
    params: float = option(
        _TARGET, "--params", "PARAMS", "non-embedding parameters: 1B", default=..., read=parse_count
    ),
    tokens: float = option(
        _TARGET, "--tokens", "TOKENS", "training tokens: 20B", default=..., read=parse_count
    ),
    seq_len: int = option(
        _TARGET, "--seq-len", "TOKENS", "tokens a sequence", default=defaults.SEQ_LEN
    ),
    vocab: int = option(_TARGET, "--vocab", "COUNT", "vocabulary", default=defaults.VOCAB_SIZE),
    budget: str = option(
        _PROXIES, "--budget", "TIME|FLOPS", "of all runs: 10m, 2h, 3e18", default=...
    ),
    out: Path = option(
        OUTPUT, "--out", "DIR", "folder of runs, laws, plan and report", default=...
    ),
    corpus: str = corpus(_PROXIES),
    tokenizer: str = tokenizer(_PROXIES),
    parametrization: str = parametrization(_PROXIES),
    optimizer: str = optimizer(_PROXIES),
    prior: str = option(
        _PROXIES, "--prior", "NAME|none", "law beside the runs", default=DEFAULT_PRIOR
    ),
    interval: float = option(
        _PROXIES,
        "--interval",
        "FACTOR",
        "done when lr and batch are known that well at the target",
        default=1.25,
    ),
    seed: int = option(_PROXIES, "--seed", "SEED", "of the search", default=0),
    executor: str = executor(_MEANS),
    workers: int | None = workers(_MEANS),
    device: str = device(_MEANS),
    address: str | None = address(_MEANS),
) -> None:
    """Design, run, fit, audit and plan, within a budget.

    Prints what each cell came to, the laws with their audit, and the plan; writes runs.parquet,
    laws.toml, plan.json and report.html in DIR. The same command goes on after a kill or Ctrl-C.
    """
    from planner.calibrate.folder import Request
    from planner.calibrate.loop import calibrate
    from planner.cli.proxies.sweep_view import print_progress, watch_sweep
    from proxies.sweep.run_sweep import Means

    require_torch()
    request = Request(
        params=params,
        tokens=tokens,
        seq_len=seq_len,
        vocab_size=vocab,
        budget=budget,
        corpus=corpus,
        tokenizer=tokenizer,
        parametrization=parametrization,
        optimizer=optimizer,
        prior=prior,
        interval=interval,
        seed=seed,
    )
    means = Means(executor=executor, workers=workers, device=device, address=address)
    with watch_sweep() as watch:
        found = calibrate(
            request,
            out,
            means=means,
            command=context.obj.text,
            on_start=watch.start,
        )
    progress = watch.measure()
    if progress is not None:
        print_progress(progress, notes={} if found is None else found.ending.reasons)
    if found is None:
        print(f"{out}: stopped; the same command goes on")
        raise typer.Exit(INTERRUPTED)
    _show(found, out)


def _show(found: Calibrated, out: Path) -> None:
    """Print the laws, the plan and where they are."""
    from planner.calibrate.folder import LAWS, PLAN, REPORT, RUNS
    from planner.cli.plan.table import show_plan

    print(found.fitted.summary())
    print()
    show_plan(found.plan)
    names = (RUNS, LAWS, PLAN, *(() if found.no_report else (REPORT,)))
    print(f"written: {', '.join(str(out / name) for name in names)}")
    if found.no_report:
        print(found.no_report)
