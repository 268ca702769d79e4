"""Schedules judged and chosen by a curve law: those of a plan, the usual ones, the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.law import curve_law, last_row
from fitting.curves.path import draw_line, make_path
from fitting.errors import InputError
from fitting.intervals import Z80
from fitting.laws.file import read_law
from fitting.logs.series import Curve
from proxies.run.schedule import Schedule, lr_fractions, make_schedule
from proxies.run.schedule.convex_bound import LastIterateBound, last_iterate_bound

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.curves.law import CurveLaw
    from proxies.run.spec import RunSpec

POINTS = 600
"""Rows that a schedule is sampled at where only its end matters."""

USUAL = ("wsd", "linear", "cosine")
"""What people choose by habit; each with its defaults."""

DECAY_SHARES = (0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Of the steps after the warmup, for the decay of a plan's best schedule."""

FINAL_FRACTIONS = (0.0, 0.003, 0.01, 0.03, 0.1)

DECAY_SHAPES = ("1-sqrt", "linear", "cosine", "exponential")
"""Those that most trainers know."""

BOUND_FACTORS = tuple(float(factor) for factor in np.geomspace(0.1, 2.0, 66))
"""Of the lr that a run has, tried by the last-iterate bound: 4.7% apart."""

FAR = 3.5
"""Times the longest curve, and part of the shortest: tested from 24,000 steps to 72,000."""

MOST_STEPS = 10_000_000
"""That the last-iterate bound is summed over: several times the longest published run."""

SAME_LR = 0.01
"""In ln lr: peaks this near are the same, for a plan's digits are rounded."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What one schedule saves over another at the end of the run, in nats."""

    over: str
    """The other's kind."""
    value: float
    """Its final loss less the first's."""
    low: float
    """Lower end of the 80% interval."""
    high: float
    """Upper end of it."""

    def __str__(self) -> str:
        known = not math.isnan(self.low)
        interval = f" ({self.low:.4f} to {self.high:.4f})" if known else ", interval not known"
        return f"{self.value:.4f} nats over {self.over}{interval}"


def sample_schedule(schedule: Schedule, lr: float) -> Curve:
    """The schedule as rows, enough for its end to be foretold.

    Args:
        schedule: the schedule.
        lr: its peak, > 0.
    """
    steps = schedule.steps
    ends = [0, *schedule.ends]
    # The step after a stage's end, for a stage may begin elsewhere than the one before ended.
    after = [end + 1 for end in ends if end < steps]
    even = np.linspace(0, steps, min(POINTS, steps) + 1).round()
    at = np.unique(np.concatenate([even, ends, after]))
    return Curve(name=schedule.kind, step=at, lr=lr * lr_fractions(schedule, at), loss=None)


def usual_schedules(steps: int, warmup_steps: int | None) -> dict[str, Schedule]:
    """The schedules that people choose by habit, by kind."""
    return {kind: make_schedule(kind, steps=steps, warmup_steps=warmup_steps) for kind in USUAL}


def gain_over(law: CurveLaw, chosen: Curve, other: Curve) -> Gain:
    """What a schedule saves over another, both of one run, by the law.

    The interval is that of the difference: what the coefficients leave open of it, and the
    form's own error at either end.
    """
    log_first, slope_first = last_row(law, make_path(chosen, warmup_steps=0))
    log_other, slope_other = last_row(law, make_path(other, warmup_steps=0))
    moved = slope_other - slope_first
    variance = max(float(moved @ law.covariance @ moved), 0.0) + 2 * law.scatter**2
    gap, loss = log_other - log_first, math.exp(log_first)
    low, value, high = (loss * math.expm1(gap + k * Z80 * math.sqrt(variance)) for k in (-1, 0, 1))
    return Gain(over=other.name, value=value, low=low, high=high)


def chosen_gains(law: CurveLaw, chosen: Schedule, lr: float) -> list[Gain]:
    """What a plan's schedule saves over the usual ones with the same warmup."""
    lr = judged_lr(law, lr)
    first = sample_schedule(chosen, lr)
    others = usual_schedules(chosen.steps, chosen.warmup_steps).values()
    return [gain_over(law, first, sample_schedule(other, lr)) for other in others]


def best_schedule(law: CurveLaw, *, steps: int, lr: float, warmup_steps: int | None) -> Schedule:
    """The WSD schedule with the lowest final loss by the law, over length, shape and end of decay.

    A free design (`fitting.curves.schedule_design`) is lower still by what stages cannot follow;
    this one can be said in a plan and in trainers' words.

    Args:
        law: the curve law.
        steps: of the run.
        lr: its peak; judged at the nearest that the law's curves had.
        warmup_steps: None for the default.
    """
    lr = judged_lr(law, lr)
    warmup = make_schedule("constant", steps=steps, warmup_steps=warmup_steps).warmup_steps
    rest = steps - warmup
    lengths = {max(1, round(share * rest)) for share in DECAY_SHARES}
    tried = [
        make_schedule(
            "wsd",
            steps=steps,
            warmup_steps=warmup,
            decay_steps=length,
            decay_shape=shape,
            final_lr_fraction=final,
        )
        for length, shape, final in product(sorted(lengths), DECAY_SHAPES, FINAL_FRACTIONS)
        if final > 0 or shape != "exponential"
    ]
    return min(tried, key=lambda schedule: final_log_loss(law, sample_schedule(schedule, lr)))


def final_log_loss(law: CurveLaw, schedule: Curve) -> float:
    """ln loss at the end of a schedule."""
    return last_row(law, make_path(schedule, warmup_steps=0))[0]


def read_curve_law(path: Path) -> CurveLaw:
    """The curve law in a file.

    Raises:
        InputError: it has none.
    """
    return curve_law(read_law(path), where=str(path))


def judged_lr(law: CurveLaw, lr: float) -> float:
    """The peak lr nearest to `lr` that the law's curves had.

    A law of curves at one peak knows how loss moves with steps and with shares of that peak. Asked
    at another it mixes up the two, so shapes are compared at a peak that it knows.
    """
    return lr if law.peaks is None else min(max(lr, law.peaks[0]), law.peaks[1])


def lr_caution(law: CurveLaw, lr: float) -> str | None:
    """What to know where the law's curves had another peak lr; None where they had this one."""
    near = judged_lr(law, lr)
    if abs(math.log(lr / near)) < SAME_LR:
        return None
    return f"the curve law's curves had a peak lr of {near:.3g}, not {lr:.3g}"


def steps_caution(law: CurveLaw, steps: float) -> str | None:
    """What to know where a run is far longer or shorter than the law's; None where it is not."""
    if law.steps is None or law.steps[0] / FAR <= steps <= law.steps[1] * FAR:
        return None
    low, high = law.steps
    known = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    return (
        f"the curve law's curves had {known} steps, not {steps:.0f}: "
        "its interval is not tested that far"
    )


def planned_curve(run: RunSpec) -> Curve:
    """The lr of a run at every step from the end of its warmup on."""
    schedule = run.schedule
    step = np.arange(max(1, schedule.warmup_steps), schedule.steps + 1)
    return Curve(
        name="plan",
        step=step.astype(float),
        lr=run.lr * lr_fractions(schedule, step),
        loss=None,
    )


def bound_lr(log: Curve, *, steps: int, warmup_steps: float) -> float:
    """The lr for the rest of a longer run by the convex last-iterate bound.

    The log's lr is taken for tuned to the log's own length with a linear decay to 0 over a fifth
    of it, which fixes the bound's distance; the lr that then holds over the rest, up to the same
    decay at its end, is the one with the lowest bound.

    Args:
        log: the rows so far.
        steps: in all, above the log's last step.
        warmup_steps: of the log.

    Returns:
        One of `BOUND_FACTORS` of the log's last lr.

    Raises:
        InputError: more than `MOST_STEPS`.

    Source:
        Schaipp et al. 2025 (arXiv 2501.18965), lr transfer to a longer horizon.
    """
    if steps > MOST_STEPS:
        raise InputError(f"--steps {steps}: at most {MOST_STEPS:,}, for each is gone through")
    first = int(log.step[-1])
    done = draw_line(log, warmup_steps).lr_at(np.arange(1.0, first + 1))
    lr = float(log.lr[-1])

    def followed(count: int, whole: int, factor: float) -> LastIterateBound:
        decay = max(1, round(whole / 5))
        tail = np.minimum(1.0, np.arange(count, 0, -1) / decay)
        return last_iterate_bound(np.concatenate([done, factor * lr * tail]), distance=distance)

    distance = 1.0
    own = followed(math.ceil(first / 4), math.ceil(1.25 * first), 1.0)
    distance = 1 / own.best_scale
    bounds = [followed(steps - first, steps, factor).value for factor in BOUND_FACTORS]
    return lr * BOUND_FACTORS[int(np.argmin(bounds))]
