"""Refined schedules: the lr that last-iterate theory prefers for a run's own gradient norms.

Where gradients are large a step tells less, so its weight is lower: w_t = G_t^-2, or G_t^-1 of
the l1 norm for Adam-like optimizers. Then lr_t = w_t sum_{p > t} w_p / sum w: for norms that do
not change this is linear to zero. The large norms of a run's beginning make a warmup by themselves;
norms that shrink hold the lr up and make its end a fast annealing, norms that grow bring it down.

Source: Defazio et al. 2023 (arXiv 2310.07831), section 3 and its published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from fitting.errors import InputError
from proxies.run.schedule.from_file import StepValue, read_points, through_knots
from proxies.run.schedule.stages import Schedule, lr_fraction

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

SMOOTHING = 0.1
"""Share of the run that the median filter spans."""

FEWEST_POINTS = 10
"""Fewer norms than this have a filter of one or two points, which smooths nothing."""

WARM = 0.95
"""Share of the peak from which on a rise is called done: the top is flat, and noise sets its
highest point."""

WORTH_SAYING = 0.02
"""A departure from the straight line of less than this share of the peak is called none."""

SMALLEST_NORM = 1e-50
"""Below it, and above its inverse, squared norms leave what a float holds."""

WEIGHT_POWERS: Mapping[str, float] = {"l2": -2.0, "l1": -1.0}
"""Power of the gradient norm in a step's weight, by the norm that was logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinedShape:
    """What a refined schedule looks like, read off it."""

    warmup_steps: int
    """Step at which it first has `WARM` of its peak."""
    anneal_step: int | None
    """Where it departs most from the straight line between its peak and its end; None where it
    follows the line within `WORTH_SAYING` of the peak."""
    anneal_fraction: float | None
    """Fraction of the peak there."""
    sentence: str
    """All of it in words."""


def read_norms(path: Path) -> list[StepValue]:
    """Gradient norms of a run, from columns `step` and `grad_norm` (or `norm`).

    Raises:
        InputError: naming the row, for a norm that is out of bounds or no number, steps that do not
            rise or leave a gap; or fewer than `FEWEST_POINTS` rows.
    """
    points = read_points(path, "grad_norm", "norm")
    for point in points:
        if not SMALLEST_NORM <= point.value <= 1 / SMALLEST_NORM:
            raise InputError(
                f"{path} row {point.row}: norm {point.value:g}; must be above 0, and from "
                f"{SMALLEST_NORM:g} to {1 / SMALLEST_NORM:g}"
            )
    if len(points) < FEWEST_POINTS:
        raise InputError(
            f"{path}: {len(points)} gradient norm{'s' if len(points) > 1 else ''}; "
            f"a schedule needs at least {FEWEST_POINTS}"
        )
    every = points[1].step - points[0].step
    for before, after in pairwise(points[1:]):
        # The last row may come early: trainers log the last step whatever its number.
        last = after is points[-1]
        if after.step - before.step != every and not (last and after.step - before.step < every):
            raise InputError(
                f"{path} row {after.row}: step {after.step} after {before.step}, where rows began "
                f"{every} apart; log norms at even steps"
            )
    if points[0].step > every:
        raise InputError(
            f"{path} row {points[0].row}: begins at step {points[0].step}, where rows are {every} "
            "apart; give the norms from the run's beginning"
        )
    return points


def refine_schedule(points: list[StepValue], *, norm: str = "l2") -> Schedule:
    """The refined schedule of a run whose gradient norms were logged; its steps are the run's.

    Linear between the logged steps, and from 0 at step 0 to the first of them.

    Args:
        points: gradient norms at even steps, as `read_norms` gives them.
        norm: a key of `WEIGHT_POWERS`: which norm was logged.
    """
    fractions = refined_fractions([point.value for point in points], norm=norm)
    knots = [(point.step, float(value)) for point, value in zip(points, fractions, strict=True)]
    if knots[0][0] > 0:
        knots.insert(0, (0, 0.0))
    return through_knots(knots, kind="refined")


def refined_fractions(norms: ArrayLike, *, norm: str = "l2") -> NDArray[np.float64]:
    """lr_t = w_t sum_{p > t} w_p over its highest value, from the norms of T steps.

    The norms are smoothed first by a median filter over a tenth of the run, its end reflected
    by two widths of the filter; the last lr is 0.

    Args:
        norms: G_t, T of them, above 0.
        norm: a key of `WEIGHT_POWERS`.

    Returns:
        T fractions of the peak, the highest 1.

    Raises:
        InputError: a norm of another name.

    Example:
        >>> refined_fractions([2.0] * 5).tolist()
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    import numpy as np

    if norm not in WEIGHT_POWERS:
        raise InputError(f"norm '{norm}': not known; one of {', '.join(WEIGHT_POWERS)}")
    weights = smoothed(np.asarray(norms, dtype=float)) ** WEIGHT_POWERS[norm]
    # Reversed sums, for taking what has been from the whole leaves rounding errors at the end.
    later = np.append(np.cumsum(weights[::-1])[::-1][1:], 0.0)
    # The sum of the weights is left out, for it cancels in the fraction.
    lrs = weights * later
    return np.asarray(lrs / lrs.max(), dtype=float)


def smoothed(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The norms under the published median filter."""
    import numpy as np
    from scipy.ndimage import median_filter

    count = len(norms)
    # As published: in Python's order of operations the doubling and halving cancel.
    width = 2 * int(SMOOTHING * count) // 2 + 1
    longer = np.concatenate([norms, norms[::-1][: 2 * width]])
    return np.asarray(median_filter(longer, size=width, mode="nearest")[:count], dtype=float)


def explain_refined(schedule: Schedule) -> RefinedShape:
    """The warmup and annealing of a refined schedule, read off and in a sentence."""
    top, steps = schedule.warmup_steps, schedule.steps
    inner = [step for step in schedule.ends[:-1] if step > top]
    knots = zip(schedule.stages, schedule.ends, strict=True)
    warmup = next((end for stage, end in knots if stage.end >= WARM), 0)

    def above_line(step: int) -> float:
        left = (steps - step) / (steps - top)
        return lr_fraction(schedule, step) - left - schedule.final_lr_fraction * (1 - left)

    rise = (
        f"warms up over {warmup:,} of {steps:,} steps ({warmup / steps:.1%}, to {WARM:.0%} of the "
        f"peak), where gradients are still large; is highest at step {top:,}"
    )
    furthest = max(inner, key=lambda step: abs(above_line(step)), default=None)
    if furthest is None or abs(above_line(furthest)) < WORTH_SAYING:
        return RefinedShape(
            warmup_steps=warmup,
            anneal_step=None,
            anneal_fraction=None,
            sentence=f"{rise}, falls in a straight line to {schedule.final_lr_fraction:.3g}",
        )
    fraction = lr_fraction(schedule, furthest)
    left = f"the last {steps - furthest:,} steps ({1 - furthest / steps:.1%})"
    if above_line(furthest) > 0:
        how = f"falls slowly to {fraction:.2f} of the peak and anneals fast over {left}"
    else:
        how = f"falls fast to {fraction:.2f} of the peak, for norms grow, and slowly over {left}"
    return RefinedShape(
        warmup_steps=warmup,
        anneal_step=furthest,
        anneal_fraction=fraction,
        sentence=f"{rise}, {how}",
    )
