"""What goes wrong in a run's log: spikes, drift, plateau, losses above a forecast, NaN.

Each detector compares with the log's own noise (`fitting.logs.noise`), at a threshold that healthy
noise passes in about one log of a hundred (`CHANCE`, shared by the detectors and their tests). What
the learning rate does is discounted: levels are compared since its last rise, and a plateau is
looked for only where it holds or is high, so the end of a decay is none.

    spike    row, or two rows of three, above the median of the 16 before it
    drift    median of a block above the lowest one before it, still so at the end of the log
    plateau  ln-step slope of the loss that falls off faster than 1 / step
    above    median of a block above a curve law's forecast
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fitting.logs.noise import BLOCK, Noise, block_medians, measure_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fitting.arrays import Floats
    from fitting.logs.series import RunLog

CHANCE = 0.01
"""False alarms a healthy log."""

EACH = CHANCE / 5
"""Share of each detector: spikes of loss and of gradient, drift, plateau, forecast."""

FEWEST_ROWS = 32
"""Rows before which nothing but NaN is judged."""

LEAST_ROWS = 2000
"""Rows that thresholds allow for at least, since a log is looked at again as it grows."""

GENTLE = 1.25
"""Factor on spike thresholds: the scale of 32 to 64 rows is itself known to a fifth. *Assumed*."""

NO_MEMORY = 0.2
"""Correlation of neighbours from which rows do not stand on their own. *Assumed*."""

SAME_LR = 1.01
"""Factor above the lowest lr so far from which the lr has risen."""

HOLDS = 1.25
"""Factor within which the lr of a stretch stays."""

STRETCH_ROWS = 64
"""Rows that a stretch needs for a plateau."""

LOOK_BACK = 4.0
"""A plateau is compared with the loss's fall since its start over this."""

UNSAID = 0.01
"""Deviation of ln loss that a forecast without an interval is taken to have. *Assumed*."""

STILL = 0.5
"""Part of the least expected fall below which it counts as a plateau."""

HIGHEST_LOGIT = 1e4
"""Attention logits above which every run diverged (arXiv 2309.14322)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that was found."""

    kind: str
    """nan, spike, drift, plateau, above, logit or lr."""
    column: str
    """Of the log."""
    step: float
    """Where it starts."""
    until: float
    """Last step that it is seen at."""
    size: float
    """How much: nats for losses, a factor for gradient norms and lrs, the value for logits."""
    deviations: float | None
    """The same in standard deviations of what was compared; None where none was."""


@dataclass(frozen=True, slots=True)
class Course:
    """The finite rows of a log."""

    step: Floats
    loss: Floats
    lr: Floats | None
    noise: Noise


def find_faults(log: RunLog, *, lr: Floats | None = None) -> list[Fault]:
    """Every fault of a log, by its first step.

    Args:
        log: the rows so far.
        lr: that was planned at its steps, where the log has none; NaN where not known.
    """
    found = [*find_nan(log), *find_logits(log)]
    finite = np.isfinite(log.loss)
    if finite.sum() >= FEWEST_ROWS:
        rates = log.others.get("lr", lr)
        known = None if rates is None else fill_gaps(rates[finite])
        loss = log.loss[finite]
        course = Course(log.step[finite], loss, known, measure_noise(loss))
        found += [*find_spikes(course), *find_drift(course), *find_plateaus(course)]
        found += find_gradient_spikes(log)
    return sorted(found, key=lambda fault: (fault.step, fault.kind))


def _fault(
    kind: str, column: str, span: Floats, size: float, deviations: float | None = None
) -> Fault:
    """A fault from its first and last step."""
    return Fault(
        kind=kind,
        column=column,
        step=float(span[0]),
        until=float(span[1]),
        size=float(size),
        deviations=None if deviations is None else float(deviations),
    )


def find_nan(log: RunLog) -> Iterator[Fault]:
    """The first row of each series of losses or gradients that are not finite."""
    for column, values in (("loss", log.loss), ("grad_norm", log.others.get("grad_norm"))):
        if values is None:
            continue
        # An empty cell of a gradient is not NaN that was logged; an infinite one is.
        bad = ~np.isfinite(values) if column == "loss" else np.isinf(values)
        for first, last in groups(bad, gap=1):
            yield _fault("nan", column, log.step[[first, last]], last - first + 1)


def find_logits(log: RunLog) -> Iterator[Fault]:
    """Where the largest attention logit passes what runs bear."""
    values = log.others.get("max_attention_logit")
    if values is None:
        return
    for first, last in groups(np.nan_to_num(values, posinf=np.inf) > HIGHEST_LOGIT, gap=BLOCK):
        highest = np.nanmax(values[first : last + 1])
        yield _fault("logit", "max_attention_logit", log.step[[first, last]], highest)


def find_spikes(course: Course, *, column: str = "loss") -> Iterator[Fault]:
    """Rows far above the median of those before them, but where the lr has just risen."""
    values, noise = course.loss, course.noise
    count = len(values)
    level = trailing_median(values)
    above = values - level
    each = EACH / max(count, LEAST_ROWS)
    standard = above / (GENTLE * noise.local)
    high = standard > noise.far(each / 2)
    if noise.memory < NO_MEMORY:
        # Rows on their own: two of three by chance are as rare as one that is far higher.
        high |= two_of_three(standard > noise.far(math.sqrt(each / 6)))
    risen = np.zeros(count, dtype=bool)
    if course.lr is not None:
        lowest = trailing_minimum(course.lr)
        risen = course.lr > SAME_LR * lowest
    bad = high & (np.arange(count) >= FEWEST_ROWS) & ~risen
    for first, last in groups(bad, gap=BLOCK):
        at = first + int(np.argmax(above[first : last + 1]))
        span, far = course.step[[first, last]], above[at] / noise.local[at]
        yield _fault("spike", column, span, above[at], far)


def find_gradient_spikes(log: RunLog) -> Iterator[Fault]:
    """The same of the logarithm of gradient norms."""
    values = log.others.get("grad_norm")
    if values is None:
        return
    usable = np.isfinite(values) & (values > 0)
    if usable.sum() < FEWEST_ROWS:
        return
    logs = np.log(values[usable])
    course = Course(log.step[usable], logs, None, measure_noise(logs))
    for fault in find_spikes(course, column="grad_norm"):
        yield replace(fault, size=math.exp(min(fault.size, 700.0)))


def find_drift(course: Course) -> Iterator[Fault]:
    """The largest rise of a block above an earlier one that the end of the log still shows."""
    found = [
        fault
        for first, last in between_rises(course.lr, len(course.step))
        for fault in rises(course, first, last)
    ]
    if found:
        yield max(found, key=lambda fault: fault.deviations or 0.0)


def rises(course: Course, first: int, last: int) -> Iterator[Fault]:
    """Rises within rows first to last (excluded), one a block length at most."""
    rows = BLOCK
    chance = EACH / (LEAST_ROWS / BLOCK) ** 2
    while rows <= (last - first) // 3:
        levels = block_medians(course.loss[first:last], rows)
        start = last - rows * len(levels)
        deviation = math.sqrt(2) * course.noise.of_block(rows)
        limit = normal_far(chance) * deviation
        low = int(np.argmin(levels))
        over = float(levels[-1] - levels[low])
        # The end of the stretch counts: what has come back was a long spike.
        if over > limit:
            span = course.step[[start + rows * low + rows // 2, last - 1]]
            size = np.median(course.loss[last - BLOCK : last]) - levels[low]
            yield _fault("drift", "loss", span, size, over / deviation)
        rows *= 2


def find_above(log: RunLog, expected: Floats, log_sd: Floats) -> Iterator[Fault]:
    """Where blocks of the log lie above a curve law's forecast by more than either's error.

    Args:
        log: the rows so far.
        expected: loss that was foretold at its steps, NaN where none was, shape (n,).
        log_sd: standard deviation of its logarithm; NaN counts as `UNSAID`.
    """
    usable = np.isfinite(log.loss) & np.isfinite(expected) & (log.loss > 0)
    if usable.sum() < FEWEST_ROWS:
        return
    step, over = log.step[usable], np.log(log.loss[usable] / expected[usable])
    noise = measure_noise(over)
    ends = block_medians(step, BLOCK)
    levels = block_medians(over, BLOCK)
    known = np.nan_to_num(block_medians(log_sd[usable], BLOCK), nan=UNSAID)
    deviation = np.hypot(known, noise.of_block(BLOCK))
    limit = normal_far(EACH / (LEAST_ROWS / BLOCK))
    for first, last in groups(levels > limit * deviation, gap=2):
        at = first + int(np.argmax(levels[first : last + 1]))
        size = (math.exp(levels[at]) - 1) * np.median(expected[usable])
        yield _fault("above", "loss", ends[[first, last]], size, levels[at] / deviation[at])


def find_plateaus(course: Course) -> Iterator[Fault]:
    """The clearest plateau of each stretch in which the lr holds or is high."""
    if course.lr is None:
        return
    for first, last in stretches(course.lr):
        # Steps count from where the lr came to what it is, for the loss relaxes from there.
        origin = 0.0 if first == 0 else float(course.step[first - 1])
        clock = course.step[first:last] - origin
        found = list(flat_parts(clock, course.loss[first:last], course.noise))
        if found:
            start, missing, deviations = max(found, key=lambda each: each[2])
            span = course.step[[first + start, last - 1]]
            yield _fault("plateau", "loss", span, missing, deviations)


def flat_parts(clock: Floats, loss: Floats, noise: Noise) -> Iterator[tuple[int, float, float]]:
    """Starts of windows that fall too little: row, nats missing, deviations.

    A loss that follows E + A step^-a falls with ln(step) at a slope that fades as step^-a. Where a
    is at most 1, the slope in a window is at least the one before times the ratio of their steps.
    """
    count = len(clock)
    limit = normal_far(EACH / (LEAST_ROWS / BLOCK))
    log_clock = np.log(clock)
    for start in range(2 * BLOCK, count - 2 * BLOCK + 1, max(BLOCK // 2, count // 32)):
        back = np.searchsorted(clock, clock[start] / LOOK_BACK)
        if start - back < 2 * BLOCK:
            continue
        before = fit_slope(log_clock[back:start], loss[back:start], noise)
        after = fit_slope(log_clock[start:], loss[start:], noise)
        fade = math.exp(min(before[2] - after[2], 0.0))
        expected = STILL * fade * before[0]
        deviation = (after[0] - expected) / math.hypot(after[1], STILL * fade * before[1])
        if expected < 0 and deviation > limit:
            wide = float(log_clock[-1] - log_clock[start])
            yield start, (after[0] - fade * before[0]) * wide, deviation


def fit_slope(x: Floats, y: Floats, noise: Noise) -> tuple[float, float, float]:
    """Slope of block medians, its standard deviation and the middle of x."""
    rows = max(1, min(BLOCK, len(x) // 4))
    middle_x, middle_y = block_medians(x, rows), block_medians(y, rows)
    centred = middle_x - middle_x.mean()
    spread = float(centred @ centred)
    deviation = noise.of_block(rows) / math.sqrt(spread)
    return float(centred @ middle_y) / spread, deviation, float(middle_x.mean())


def stretches(lr: Floats) -> Iterator[tuple[int, int]]:
    """Rows first to last (excluded) in which the lr is within `HOLDS` and high, or the same."""
    first = 0
    for row in range(1, len(lr) + 1):
        part = lr[first:row]
        if row < len(lr) and max(lr[row], part.max()) <= HOLDS * min(lr[row], part.min()):
            continue
        steady = part.max() <= SAME_LR * part.min()
        if row - first >= STRETCH_ROWS and (steady or part.min() >= 0.5 * lr.max()):
            yield first, row
        first = row


def between_rises(lr: Floats | None, count: int) -> Iterator[tuple[int, int]]:
    """Rows first to last (excluded) between which the lr does not rise."""
    first = 0
    if lr is not None:
        lowest = lr[0]
        for row in range(1, count):
            lowest = min(lowest, lr[row])
            if lr[row] > SAME_LR * lowest:
                if row - first >= FEWEST_ROWS:
                    yield first, row
                first, lowest = row, lr[row]
    yield first, count


def groups(bad: NDArray[np.bool_], *, gap: int) -> Iterator[tuple[int, int]]:
    """First and last row of each series of bad rows with at most `gap` - 1 good ones between."""
    at = np.flatnonzero(bad)
    if not len(at):
        return
    for part in np.split(at, np.flatnonzero(np.diff(at) > gap) + 1):
        yield int(part[0]), int(part[-1])


def two_of_three(high: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that are high with another one within the two before them."""
    near = np.zeros_like(high)
    near[1:] |= high[:-1]
    near[2:] |= high[:-2]
    return np.asarray(high & near)


def trailing_median(values: Floats) -> Floats:
    """The median of the `BLOCK` rows before each row; the row itself at the first."""
    found = values.copy()
    windows = np.lib.stride_tricks.sliding_window_view(values, BLOCK)[:-1]
    found[BLOCK:] = np.median(windows, axis=1)
    return found


def trailing_minimum(values: Floats) -> Floats:
    """The lowest of the `BLOCK` rows before each row and itself."""
    found = np.minimum.accumulate(values)
    windows = np.lib.stride_tricks.sliding_window_view(values, BLOCK + 1)
    found[BLOCK:] = windows.min(axis=1)
    return found


def fill_gaps(values: Floats) -> Floats | None:
    """Values with those that are not known taken from neighbours; None where none is."""
    known = np.isfinite(values)
    if not known.any():
        return None
    at = np.arange(len(values))
    return np.interp(at, at[known], values[known])


def normal_far(chance: float) -> float:
    """Standard deviations that a normal passes with this probability."""
    from scipy.stats import norm

    return float(norm.isf(chance))
