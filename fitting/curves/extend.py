"""What more tokens would give for a run in progress.

A curve law of the model says how the loss moves from here, the run's own log where it is now:
the run's mean distance from the law is kept, and the interval is that of the change from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.forms import Paths
from fitting.curves.law import last_row
from fitting.curves.path import make_path
from fitting.curves.problem import BLOCKS, Data, block_means, gather
from fitting.curves.schedule_design import Begun, design
from fitting.errors import InputError
from fitting.intervals import ends_of
from fitting.logs.series import Curve

if TYPE_CHECKING:
    from fitting.arrays import Floats
    from fitting.curves.law import CurveLaw

SOON = 1.1
"""A decay begun now that ends at this multiple of the steps done: what stopping here would give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """One way to go on, and the loss at its end."""

    name: str
    """What the lr does, in words."""
    schedule: Curve
    """The rows done and those to come."""
    loss: float
    """Nats per token at the last row."""
    low: float
    """Lower end of the 80% interval."""
    high: float
    """Upper end of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A run in progress and the ways to go on."""

    step: float
    """Steps done."""
    lr: float
    """At its last row."""
    loss: float
    """Now, by the law moved to the log, so without the noise of the last rows."""
    offset: float
    """ln of log over law, over the last quarter of the log."""
    kept_lr: float
    """Median lr of the first half of the steps to come, by the design."""
    ways: tuple[Continuation, ...]
    """To stop soon; then, to the new horizon, at the lr it has, linear to 0, and designed."""


def extend(law: CurveLaw, log: Curve, *, steps: int, warmup_steps: float = 0.0) -> Extension:
    """The loss of a run in progress if it went on to `steps` in all.

    Args:
        law: of the same model; of the form multi-power.
        log: its rows so far, with their losses.
        steps: the new horizon, above the log's last step.
        warmup_steps: of the log, see `fitting.curves.path.make_path`.

    Raises:
        InputError: too few rows, no lr left to go on with, or a horizon that is not after them.
    """
    step, lr = float(log.step[-1]), float(log.lr[-1])
    if steps <= step:
        raise InputError(f"--steps {steps}: must be above the {step:g} steps of {log.name}")
    designed = design(law, Begun(log, warmup_steps), steps=steps)
    soon = float(round(SOON * step))
    schedules = {
        "decayed now": onward(log, soon, 0.0),
        "lr as it is": onward(log, steps, lr),
        "linear to 0": onward(log, steps, 0.0),
        "designed": designed,
    }
    data = gather([log], warmup_steps)
    log_now, slope_now = at_rows(law, data)
    residual = block_means(data.log_loss - log_now, data)[-BLOCKS // 4 :]
    offset = float(residual.mean())
    variance = float(residual.var()) / len(residual) + law.scatter**2
    ways = []
    for name, schedule in schedules.items():
        log_end, slope_end = last_row(law, make_path(schedule, warmup_steps=warmup_steps))
        moved = slope_end - slope_now[:, -1]
        sd = math.sqrt(max(float(moved @ law.covariance @ moved), 0.0) + variance)
        loss = math.exp(log_end + offset)
        low, high = ends_of(loss, sd)
        ways.append(Continuation(name=name, schedule=schedule, loss=loss, low=low, high=high))
    coming = np.linspace(step, (step + steps) / 2, 101)[1:]
    return Extension(
        step=step,
        lr=lr,
        loss=math.exp(log_now[-1] + offset),
        offset=offset,
        kept_lr=float(np.median(np.interp(coming, designed.step, designed.lr))),
        ways=tuple(ways),
    )


def onward(log: Curve, steps: float, final_lr: float) -> Curve:
    """The log's lr, then in one line to `final_lr`."""
    return replace(log, step=np.append(log.step, steps), lr=np.append(log.lr, final_lr), loss=None)


def at_rows(law: CurveLaw, data: Data) -> tuple[Floats, Floats]:
    """ln loss, shape (n,), and its slope in the free parameters, shape (p, n)."""
    log_loss, slope = law.form.evaluate(Paths(data.paths.paths, law.reference), law.free[None])
    return log_loss[0], slope[0]
