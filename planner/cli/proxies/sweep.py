"""`plan sweep`: proxy runs from one spec, made once each whatever happens, and how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fitting.errors import InputError
from planner.cli.console import INTERRUPTED, require_torch
from planner.cli.options import address, argument, device, executor, make_app, option, workers

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from proxies.sweep.run_sweep import Means
    from proxies.sweep.spec import SweepSpec

RUN_EXAMPLES = """Examples:

plan sweep run SPEC.toml --out sweep --dry-run

plan sweep run SPEC.toml --out sweep --executor processes --workers 2"""

STATUS_EXAMPLES = """Examples:

plan sweep status sweep

watch plan sweep status sweep"""

app = make_app()

_OPTIONS = "Options"
_MEANS = "With what"


@app.callback()
def sweep() -> None:
    """Make the runs that laws are fitted to, and see how far they are."""


@app.command("run", epilog=RUN_EXAMPLES)
def run_spec(
    spec: Path = argument("SPEC.toml", "what to run; see plan schema spec"),
    out: Path = option(_OPTIONS, "--out", "DIR", "folder of the sweep", default=...),
    dry_run: bool = option(
        _OPTIONS, "--dry-run", None, "time a few steps, run nothing", default=False
    ),
    extend: bool = option(_OPTIONS, "--extend", None, "go on with a changed spec", default=False),
    log: list[str] | None = option(
        _OPTIONS, "--log", "NAME", "tensorboard, wandb, mlflow; repeatable"
    ),
    executor: str = executor(_MEANS),
    workers: int | None = workers(_MEANS),
    device: str = device(_MEANS),
    address: str | None = address(_MEANS),
    gpus: float | None = option(
        _MEANS, "--gpus", "SHARE", "of GPUs a run, on a Ray cluster; default: 0.25"
    ),
    storage: str | None = option(_MEANS, "--storage", "URL", "database of the Optuna studies"),
) -> None:
    """Make a sweep's runs, or those that are still missing.

    Prints what each cell came to; the runs are in DIR/runs.parquet. The same command goes on after
    a kill, Ctrl-C or a full disk, and no run is lost or made twice. With --dry-run it prints cells,
    runs, FLOPs and the time they would take.
    """
    from planner.cli.proxies.sweep_view import print_progress, watch_sweep
    from proxies.sweep.folder import open_loggers
    from proxies.sweep.run_sweep import Means, run_sweep
    from proxies.sweep.spec_file import read_spec

    require_torch()
    parsed = read_spec(spec)
    means = Means(
        executor=executor,
        workers=workers,
        device=device,
        address=address,
        gpus=gpus,
        storage=storage,
        extend=extend,
    )
    if dry_run:
        _print_dry_run(parsed, means)
        return
    law = _find_start_law(parsed)
    with open_loggers(log or [], out) as track, watch_sweep() as watch:
        ending = run_sweep(parsed, out, law=law, means=means, on_start=watch.start, on_record=track)
    progress = watch.measure()
    if progress is not None:
        print_progress(progress, notes=ending.reasons)
    notes = [ending.spent or "", "stopped; the same command goes on" if ending.stopped else ""]
    print(", ".join([f"{out / 'runs.parquet'}: {ending.runs} runs", *filter(None, notes)]))
    if ending.stopped:
        raise typer.Exit(INTERRUPTED)


@app.command("status", epilog=STATUS_EXAMPLES)
def show_status(out: Path = argument("DIR", "folder of a sweep")) -> None:
    """Show how far a sweep is, running or not.

    Prints a line a cell with its runs and the best one, then speed, what is left and the time that
    it would take.
    """
    from planner.cli.proxies.sweep_view import print_progress
    from proxies.sweep.cells import expand_cells
    from proxies.sweep.folder import is_locked, measure_progress, read_about, read_records

    about = read_about(out)
    if about is None:
        raise InputError(f"{out}: no sweep there; plan sweep run SPEC.toml --out DIR makes one")
    cells = expand_cells(about.spec, vocab_size=about.vocab_size)
    records = read_records(out)
    print_progress(
        measure_progress(about.spec, cells, records),
        notes={str(record.row["run_id"]): record.error for record in records if record.error},
    )
    print("running" if is_locked(out) else "not running; plan sweep run goes on")


def _find_start_law(spec: SweepSpec) -> Law | None:
    """The law that a spec names, from the law book or a file.

    Raises:
        InputError: there is none, or its file is bad.
    """
    name = spec.search.law
    if name is None:
        return None
    from fitting.laws.file import read_law
    from planner.facts.laws import find_law, read_lawbook

    if name.endswith(".toml"):
        return read_law(Path(name))
    return find_law(read_lawbook(), name, where="[search] law")


def _print_dry_run(spec: SweepSpec, means: Means) -> None:
    """Print cells, runs, FLOPs and time, from a few timed steps.

    Raises:
        InputError: a corpus or run that cannot be.
    """
    from planner.cli.proxies.sweep_view import print_estimates
    from proxies.sweep.executors import EXECUTORS
    from proxies.sweep.run_sweep import estimate_sweep

    name, desk, estimates = estimate_sweep(spec, means)
    print_estimates(estimates, executor=name, at_once=EXECUTORS[name].at_once(desk, spec))
