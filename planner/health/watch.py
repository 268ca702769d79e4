"""A run's log held against its own noise, its plan and its curve law.

The plan gives the lr where the log has none, and says where the run's lr is another than planned.
The curve law gives the loss that the schedule should reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.law import forecast
from fitting.errors import InputError
from fitting.logs.faults import FEWEST_ROWS, Fault, find_above, find_faults, groups
from fitting.logs.noise import measure_noise
from fitting.logs.series import Curve
from fitting.units import format_small
from planner.recommendation.schedule import planned_curve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fitting.arrays import Floats
    from fitting.curves.law import CurveLaw
    from fitting.logs.series import RunLog
    from planner.plan.document import Plan

OTHER_LR = 0.05
"""In ln lr, from where a log's lr is not the plan's. *Assumed*: a shift by a step is less."""

LOWEST_LR = 0.05
"""Share of the peak under which the lr is not compared: a step's shift is most of it there."""

LASTING = ("drift", "plateau", "above")
"""Faults whose first step moves while they last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was found in a log."""

    log: RunLog
    faults: tuple[Fault, ...]
    """By first step."""
    noise: float | None
    """Standard deviation of a row's loss, nats; None for too few rows."""
    notes: tuple[str, ...]
    """What could not be judged, and what would let it be."""


def watch_log(
    log: RunLog, *, plan: Plan | None = None, law: CurveLaw | None = None, warmup_steps: float = 0.0
) -> Watched:
    """Every fault of a log so far.

    Args:
        log: its rows.
        plan: gives the lr where the log has none.
        law: foretells the loss.
        warmup_steps: of the run, for the law; a plan has its own.

    Raises:
        InputError: a law without any lr to foretell from.
    """
    planned = None if plan is None else planned_lr(plan, log.step)
    faults = find_faults(log, lr=planned)
    if planned is not None and "lr" in log.others:
        faults += other_lrs(log, planned, peak=float(np.nanmax(planned)))
    if law is not None:
        lr = log.others.get("lr", planned)
        if lr is None:
            raise InputError(f"--curve: {log.name} has no column lr; give --plan")
        warmup = plan.warmup_steps if plan is not None else warmup_steps
        faults += above_forecast(log, law, lr, warmup_steps=warmup)
    finite = log.loss[np.isfinite(log.loss)]
    return Watched(
        log=log,
        faults=tuple(sorted(faults, key=lambda fault: (fault.step, fault.kind))),
        noise=measure_noise(finite).scale if len(finite) >= FEWEST_ROWS else None,
        notes=tuple(find_notes(log, len(finite), planned)),
    )


def planned_lr(plan: Plan, step: Floats) -> Floats:
    """The plan's lr at some steps: linear in the warmup, its last one after its end."""
    curve = planned_curve(plan.run)
    lr = np.interp(step, curve.step, curve.lr)
    return np.where(step < curve.step[0], curve.lr[0] * step / curve.step[0], lr)


def other_lrs(log: RunLog, planned: Floats, *, peak: float) -> Iterator[Fault]:
    """Where the lr is not the planned one."""
    lr = log.others["lr"]
    compared = np.isfinite(lr) & (planned > LOWEST_LR * peak)
    off = np.zeros(len(lr))
    off[compared] = np.log(np.maximum(lr[compared], 1e-30) / planned[compared])
    for first, last in groups(np.abs(off) > OTHER_LR, gap=1):
        at = first + int(np.argmax(np.abs(off[first : last + 1])))
        yield Fault(
            kind="lr",
            column="lr",
            step=float(log.step[first]),
            until=float(log.step[last]),
            size=math.exp(off[at]),
            deviations=None,
        )


def above_forecast(
    log: RunLog, law: CurveLaw, lr: Floats, *, warmup_steps: float
) -> Iterator[Fault]:
    """Where the loss lies above what the law foretells for this lr."""
    usable = (log.step > 0) & np.isfinite(lr) & (log.step >= warmup_steps)
    if not usable.any():
        return
    rows = replace(log, step=log.step[usable], loss=log.loss[usable], others={})
    schedule = Curve(name=log.name, step=rows.step, lr=lr[usable], loss=None)
    found = forecast(law, schedule, warmup_steps=warmup_steps)
    yield from find_above(rows, found.loss, found.log_sd)


def find_notes(log: RunLog, finite: int, planned: Floats | None) -> Iterator[str]:
    """What could not be judged."""
    if finite < FEWEST_ROWS:
        yield f"{finite} rows with a loss: only NaN is judged before {FEWEST_ROWS}"
    elif "lr" not in log.others and planned is None:
        yield "no column lr: plateaus are not judged, nor a rise of the lr discounted; give --plan"


def watch_growing(
    read: Callable[[], RunLog | None], look: Callable[[RunLog], Watched], wait: Callable[[], bool]
) -> Iterator[tuple[Watched, list[Fault]]]:
    """What is new at each look at a log that grows.

    Args:
        read: the log so far; None while it has no rows.
        look: judges it.
        wait: for the next look; False to end.

    Yields:
        What was found, and the faults that no look before had.
    """
    seen: set[tuple[str, str, float]] = set()
    while True:
        log = read()
        if log is not None:
            found = look(log)
            new = [fault for fault in found.faults if fault_key(fault) not in seen]
            seen.update(map(fault_key, new))
            yield found, new
        if not wait():
            return


def fault_key(fault: Fault) -> tuple[str, str, float]:
    """What makes two looks' faults the same one."""
    return fault.kind, fault.column, 0.0 if fault.kind in LASTING else fault.step


def fault_line(fault: Fault) -> str:
    """A fault in one line: kind, step, size."""
    where = f"{fault.kind:<8}step {fault.step:,.0f}"
    if fault.until > fault.step:
        where += f" to {fault.until:,.0f}"
    sds = "" if fault.deviations is None else f" ({fault.deviations:.1f} standard deviations)"
    return f"{where}: {MEANINGS[fault.kind](fault)}{sds}"


def spike_text(fault: Fault) -> str:
    """The size of a spike."""
    if fault.column == "loss":
        return f"loss {fault.size:.3g} nats above the rows before"
    return f"gradient norm {fault.size:.3g} times that of the rows before"


MEANINGS: dict[str, Callable[[Fault], str]] = {
    "nan": lambda fault: f"{fault.column} is not finite in {fault.size:.0f} rows",
    "spike": spike_text,
    "drift": lambda fault: f"loss has risen by {fault.size:.3g} nats and has not come back",
    "plateau": lambda fault: f"loss has fallen {fault.size:.3g} nats less than 1 / step would",
    "above": lambda fault: f"loss {fault.size:.3g} nats above the curve law's forecast",
    "logit": lambda fault: (
        f"largest attention logit {format_small(fault.size)}, above which runs diverged "
        "(arXiv 2309.14322)"
    ),
    "lr": lambda fault: f"lr is {fault.size:.3g} times the planned one",
}
"""What each kind says of its size."""
