"""Schedules and logs in files: a column against steps, and any CSV of steps and lrs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.logs.series import read_steps
from proxies.run.schedule.stages import Role, Schedule, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StepValue:
    """One row of a file: a value at a step."""

    row: int
    """Number of the row as a person sees it, the header being row 1."""
    step: int
    """At least 0."""
    value: float
    """Finite."""


@dataclass(frozen=True, slots=True)
class ReadSchedule:
    """A schedule from a file, and the lr that its fractions are of."""

    schedule: Schedule
    peak_lr: float


def read_schedule(path: Path, *, warmup_steps: int | None = None) -> ReadSchedule:
    """The schedule of a file with columns `step` and `lr`; others are ignored.

    Between rows the lr is linear; the last row's step is the run's last. Before the first row it
    rose linearly from 0 at step 0, over `warmup_steps` and then staying, or all the way.

    Args:
        path: a CSV or Parquet file.
        warmup_steps: steps of the rise before the first row, from 1 to the first row's step;
            None for that step.

    Raises:
        InputError: naming the row: a step that is not whole, not after the one before, or an lr
            that is not a number from 0 upwards; or a file without a row past step 0.

    Source:
        The curves published with Luo et al. 2025 (arXiv 2503.12811) are such files.
    """
    points = read_points(path, "lr")
    for point in points:
        if point.value < 0:
            raise InputError(f"{path} row {point.row}: lr {point.value:g}; 0 or more")
    peak = max(point.value for point in points)
    if peak == 0:
        raise InputError(f"{path}: every lr is 0; a schedule has a peak")
    knots = [(point.step, point.value / peak) for point in points]
    first = knots[0]
    if first[0] > 0:
        rise = first[0] if warmup_steps is None else warmup_steps
        if not 1 <= rise <= first[0]:
            raise InputError(
                f"{path}: warmup {rise}, but its first row is at step {first[0]}; "
                f"from 1 to {first[0]}"
            )
        knots = [(0, 0.0), *([(rise, first[1])] if rise < first[0] else []), *knots]
    elif warmup_steps is not None:
        raise InputError(f"{path}: has a row for step 0, so its warmup is in it; give none")
    if len(knots) == 1:
        raise InputError(f"{path}: its only row is step 0; a schedule has at least 1 update")
    return ReadSchedule(through_knots(knots, kind="csv"), peak)


def through_knots(knots: Sequence[tuple[int, float]], *, kind: str) -> Schedule:
    """The schedule that is linear between knots.

    Args:
        knots: (step, fraction of the peak), steps rising from 0, the highest fraction 1.
        kind: its name.
    """
    highest = next(step for step, fraction in knots if fraction == 1)
    stages = []
    for (begin, start), (finish, end) in pairwise(knots):
        role: Role = "stable" if start == end == 1 else "decay"
        if finish <= highest:
            role = "warmup"
        stages.append(Stage(role=role, steps=finish - begin, start=start, end=end))
    return Schedule(
        kind=kind, stages=tuple(stages), decay_shape=None, final_lr_fraction=knots[-1][1]
    )


def read_points(path: Path, *columns: str) -> list[StepValue]:
    """One value a step from the first of `columns` that the file has, beside its column `step`.

    Raises:
        InputError: a missing column; or, naming the row, a step that is not whole or not after
            the one before, or a value that is not a finite number.
    """
    table = read_steps(path, {"step": ("step",), "value": columns})
    step, value = table.columns["step"], table.columns["value"]
    table.refuse(step % 1 != 0, "step", "is not a whole number")
    rows = zip(table.row.tolist(), step.tolist(), value.tolist(), strict=True)
    return [StepValue(row, int(at), number) for row, at, number in rows]
