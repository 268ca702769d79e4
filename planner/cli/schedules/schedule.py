"""`plan schedule`: the learning rate of every step, by a kind's name, a file or gradient norms."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import typer

from fitting.errors import InputError, nearest_name
from fitting.units import format_small
from planner.cli.console import make_console
from planner.cli.options import OUTPUT, argument, make_app, option
from planner.request.choices import check_range
from proxies.run.defaults import LR_BOUNDS
from proxies.run.schedule import (
    KINDS,
    SHAPES,
    Checkpoint,
    Schedule,
    ScheduleRequest,
    Stage,
    build_schedule,
    share_of_peak,
)

EXAMPLES = """Examples:

plan schedule wsd --steps 10000 --lr 1e-3 --csv > lr.csv

plan schedule refined --norms norms.csv --lr 1e-3"""

app = make_app()

Value = TypeVar("Value")

FROM_FILES = {
    "csv": ("--file", "--warmup", "--lr"),
    "refined": ("--norms", "--norm", "--lr"),
}
"""Kinds that are read from a file, and the options they have."""


MOST_STEPS = 10_000_000
"""Several times the longest published run, and as many lines as a file should have."""


@dataclass(frozen=True, slots=True)
class Made:
    """A schedule with its peak lr, and what there is to say of it."""

    schedule: Schedule
    peak_lr: float
    notes: tuple[str, ...] = ()


_STEPS = "Steps"
_LR = "Learning rate"
_FILES = "From a file"


@app.command(epilog=EXAMPLES)
def schedule(
    context: typer.Context,
    kind: str = argument("KIND", f"{', '.join(KINDS)}, csv or refined"),
    steps: int | None = option(_STEPS, "--steps", "STEPS", "optimizer steps"),
    warmup: int | None = option(_STEPS, "--warmup", "STEPS", "default: min(2,000, 10%), >= 1%"),
    decay: int | None = option(_STEPS, "--decay", "STEPS", "the decay, or two-stage's lower lr"),
    checkpoints: str | None = option(_STEPS, "--checkpoints", "STEPS,..", "budgets of wsd-s"),
    extend: int | None = option(_STEPS, "--extend", "STEPS", "make the run of --steps this long"),
    lr: float | None = option(_LR, "--lr", "LR", "peak lr"),
    decay_shape: str | None = option(
        _LR, "--decay-shape", "SHAPE", f"of wsd and wsd-s: {', '.join(SHAPES)}"
    ),
    final_lr: float | None = option(_LR, "--final-lr", "LR", "last lr, as Step Law's 1e-5"),
    final_fraction: float | None = option(_LR, "--final-fraction", "SHARE", "last lr over --lr"),
    start_lr: float | None = option(_LR, "--start-lr", "LR", "re-warm from a finished run's lr"),
    file: Path | None = option(_FILES, "--file", "FILE", "csv: columns step, lr; linear between"),
    norms: Path | None = option(_FILES, "--norms", "FILE", "refined: columns step, grad_norm"),
    norm: str | None = option(_FILES, "--norm", "l2|l1", "refined: the norm logged; default l2"),
    as_csv: bool = option(OUTPUT, "--csv", None, "print step,lr for steps 1..S", default=False),
) -> None:
    """Make a learning-rate schedule and print it.

    Prints the stages, or with --csv one line a step; update s = 1..S uses lr(s), so that the
    first trains and the last is at the final lr.
    """
    given = {
        "--" + name.replace("_", "-"): value
        for name, value in context.params.items()
        if name not in ("kind", "as_csv")
    }
    _refuse_given(kind, given)
    check_range("--lr", lr, LR_BOUNDS)
    if kind == "csv":
        made = from_csv(needed(file, "--file", kind), lr=lr, warmup_steps=warmup)
    elif kind == "refined":
        made = from_norms(needed(norms, "--norms", kind), lr=lr, norm=norm or "l2")
    else:
        peak = needed(lr, "--lr", kind)
        request = ScheduleRequest(
            kind=kind,
            steps=needed(steps, "--steps", kind),
            warmup_steps=warmup,
            decay_steps=decay,
            decay_shape=decay_shape,
            final_lr_fraction=final_fraction
            if final_lr is None
            else share_of_peak(final_lr, peak, where="--final-lr"),
            checkpoints=_read_checkpoints(checkpoints),
            start_lr_fraction=share_of_peak(start_lr or 0.0, peak, where="--start-lr"),
        )
        made = Made(build_schedule(request), peak)
    if extend is not None:
        made = extended(made, extend)
    for note in made.notes:
        print(note, file=sys.stderr if as_csv else sys.stdout)
    print_csv(made) if as_csv else print_stages(made)


def _refuse_given(kind: str, given: Mapping[str, object]) -> None:
    """Refuse a kind that is not known, or an option that it does not have.

    Raises:
        InputError: naming the option.
    """
    known = [*KINDS, *FROM_FILES]
    if kind not in known:
        raise InputError(
            f"schedule '{kind}': no such schedule{nearest_name(kind, known)}; "
            f"known: {', '.join(known)}"
        )
    of_files = {name for names in FROM_FILES.values() for name in names} - {"--warmup", "--lr"}
    allowed = FROM_FILES.get(kind, tuple(name for name in given if name not in of_files))
    for name, value in given.items():
        if value is not None and name not in allowed:
            raise InputError(f"{name} {value}: schedule {kind} has no use for it; leave it out")
    if given["--final-lr"] is not None and given["--final-fraction"] is not None:
        raise InputError("--final-lr: --final-fraction is given too; leave one out")


def needed(value: Value | None, name: str, kind: str) -> Value:
    """The option's value.

    Raises:
        InputError: it was left out.
    """
    if value is None:
        raise InputError(f"schedule {kind}: needs {name}")
    return value


def _read_checkpoints(text: str | None) -> tuple[Checkpoint, ...]:
    """Budgets of WSD-S in steps.

    Raises:
        InputError: not whole numbers.
    """
    try:
        return tuple(Checkpoint(int(part)) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(f"--checkpoints {text}: whole steps, as 5000,10000,20000") from error


def from_csv(path: Path, *, lr: float | None, warmup_steps: int | None) -> Made:
    """The schedule of a file, at its own peak or at `lr`."""
    from proxies.run.schedule.from_file import read_schedule

    read = read_schedule(path, warmup_steps=warmup_steps)
    check_range(f"{path}: peak lr", read.peak_lr, LR_BOUNDS)
    return Made(read.schedule, read.peak_lr if lr is None else lr)


def from_norms(path: Path, *, lr: float | None, norm: str) -> Made:
    """The refined schedule of a run, at `lr` or as a fraction of the peak."""
    from proxies.run.schedule.refined import explain_refined, read_norms, refine_schedule

    refined = refine_schedule(read_norms(path), norm=norm)
    notes = [explain_refined(refined).sentence]
    if lr is None:
        notes.append("lr is a fraction of the peak: pass --lr for absolute values")
    return Made(refined, 1.0 if lr is None else lr, tuple(notes))


def extended(made: Made, steps: int) -> Made:
    """The longer run, where it goes on from, and where its lr should go by convex theory."""
    from proxies.run.schedule.convex_bound import transferred_lr
    from proxies.run.schedule.extend import extend_schedule

    longer = extend_schedule(made.schedule, steps)
    check_countable(longer.schedule, "--extend")
    moved = transferred_lr(made.peak_lr, made.schedule, longer.schedule)
    return Made(
        longer.schedule,
        made.peak_lr,
        (
            f"goes on from the finished run's checkpoint of step {longer.resume_step:,}",
            f"a peak of {format_small(made.peak_lr)} tuned for {made.schedule.steps:,} steps "
            f"would move to {format_small(moved)} for {steps:,} (convex last-iterate bound)",
        ),
    )


def check_countable(schedule: Schedule, where: str) -> None:
    """Refuse a run whose steps are too many to take one by one.

    Raises:
        InputError: with the steps.
    """
    if schedule.steps > MOST_STEPS:
        raise InputError(f"{where}: {schedule.steps:,} steps; at most {MOST_STEPS:,}")


def print_csv(made: Made) -> None:
    """`step,lr`, one line an update, with every digit of the lr."""
    from proxies.run.schedule import update_fractions

    check_countable(made.schedule, "--csv")
    lrs = (made.peak_lr * update_fractions(made.schedule)).tolist()
    lines = [f"{step},{lr!r}" for step, lr in enumerate(lrs, start=1)]
    print("\n".join(["step,lr", *lines]))


def print_stages(made: Made) -> None:
    """One line a stage; the many stages of a file or of norms are put together by role."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    schedule = made.schedule
    print(
        f"{schedule.kind}: {schedule.warmup_steps:,} warmup + {schedule.stable_steps:,} stable + "
        f"{schedule.decay_steps:,} decay = {schedule.steps:,} steps"
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("stage", "shape", "from step", "to step", "from lr", "to lr"):
        table.add_column(name, justify="left" if name in ("stage", "shape") else "right")
    for first, last, begin, end in phases(schedule):
        table.add_row(
            first.role,
            shape_in_words(first, last),
            f"{begin:,}",
            f"{end:,}",
            format_small(made.peak_lr * first.start),
            format_small(made.peak_lr * last.end),
        )
    make_console().print(table)


def shape_in_words(first: Stage, last: Stage) -> str:
    """How a phase gets from its start to its end."""
    if first is not last:
        return "as given"
    return "flat" if first.start == first.end else first.shape


def phases(schedule: Schedule) -> Iterator[tuple[Stage, Stage, int, int]]:
    """First and last stage, first and last step, of each run of stages that are one phase."""
    pieces = zip(schedule.stages, schedule.ends, strict=True)
    many = schedule.decay_shape is None

    def phase_of(piece: tuple[Stage, int]) -> object:
        return piece[0].role if many else piece[1]

    for _, group in groupby(pieces, key=phase_of):
        found = list(group)
        (first, first_end), (last, end) = found[0], found[-1]
        yield first, last, first_end - first.steps, end
