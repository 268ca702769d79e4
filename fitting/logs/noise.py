"""The noise of a run's log, estimated from its downward side.

A fault raises the loss, so what lies below the level is noise alone: its median gives the scale,
and its far end the tail, as the degrees of freedom of Student's t. Rows may hang together (an
evaluation that drifts, smoothed losses): block medians then scatter by more than single rows say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fitting.arrays import Floats

PAIRS = 8
"""Neighbours on either side whose middle is a row's level; pairs of them cancel a straight line."""

LOCAL = 64
"""Rows before a row in which its own noise is estimated."""

LIKELY = 1.0
"""Log-likelihood by which a heavier tail than the best may fall short; the heaviest is taken."""

TAILS = (2.5, 3.0, 4.0, 6.0, 10.0, 30.0)
"""Degrees of freedom that are tried; a normal tail is near 30."""

BLOCK = 16
"""Rows of the shortest block whose median is taken for a level."""

FEWEST_BLOCKS = 8
"""Blocks from which their scatter can be told from a few."""

LOW_QUARTER = 0.3186
"""First quartile of a normal's absolute value over its standard deviation."""

NORMAL_QUARTILE = 1.4826
"""Standard deviation of a normal over its median absolute deviation."""

MEDIAN = math.sqrt(math.pi / 2)
"""Standard deviation of a median over that of a mean, for normal noise."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of single rows and of blocks."""

    scale: float
    """Robust standard deviation of a row, > 0."""
    local: Floats
    """The same of the rows just before each row, at least `scale`, shape (n,)."""
    tail: float
    """Degrees of freedom of Student's t."""
    memory: float
    """Correlation of a row's noise with the next one's."""
    cohesion: float
    """Standard deviation of block medians over what independent rows would give, at least 1."""

    def of_block(self, rows: int) -> float:
        """Standard deviation of the median of a block."""
        return self.cohesion * MEDIAN * self.scale / math.sqrt(rows)

    def far(self, chance: float) -> float:
        """Rows beyond this many `scale` come with this probability a row."""
        from scipy.stats import t

        return float(t.isf(chance, self.tail) / (NORMAL_QUARTILE * t.ppf(0.75, self.tail)))


def measure_noise(values: Floats) -> Noise:
    """The noise of a series about its own smooth course.

    Args:
        values: finite, shape (n,), n at least `BLOCK`.
    """
    residual = values - neighbour_level(values)
    scale = max(downward_scale(residual), 1e-12 + 1e-7 * float(np.abs(values).max()))
    local = np.full(len(values), scale)
    for first in range(0, len(values), BLOCK):
        before = residual[max(0, first - LOCAL) : first]
        if len(before) >= LOCAL // 2:
            local[first : first + BLOCK] = max(scale, downward_scale(before))
    standard = (residual / local)[LOCAL // 2 :]
    memory = measure_memory(standard)
    # A block's median of rows that follow each other, and what is seen of medians.
    of_memory = math.sqrt((1 + max(memory, 0.0)) / (1 - min(memory, 0.99)))
    return Noise(
        scale=scale,
        local=local,
        tail=fit_tail(standard),
        memory=memory,
        cohesion=max(of_memory, measure_cohesion(values, scale)),
    )


def neighbour_level(values: Floats) -> Floats:
    """The median, over distances, of the mean of the two rows that far to either side."""
    count = len(values)
    at = np.arange(count)
    middles = np.full((PAIRS, count), np.nan)
    for distance in range(1, PAIRS + 1):
        inside = (at >= distance) & (at + distance < count)
        pair = values[at[inside] - distance] + values[at[inside] + distance]
        middles[distance - 1, inside] = pair / 2
    # The first and last row have no neighbour on one side.
    middles[0, 0], middles[0, -1] = values[1], values[-2]
    return np.asarray(np.nanmedian(middles, axis=0))


def downward_scale(residual: Floats) -> float:
    """Robust standard deviation from the rows below the level."""
    below = residual[residual < 0]
    return NORMAL_QUARTILE * float(np.median(-below)) if len(below) else 0.0


def fit_tail(standard: Floats) -> float:
    """The heaviest tail that is about as likely as the best.

    Args:
        standard: residuals over their scale, shape (n,); only those below 0 count.
    """
    from scipy.stats import t

    below = standard[standard < 0]
    likelihood = []
    for tail in TAILS:
        scale = 1 / (NORMAL_QUARTILE * t.ppf(0.75, tail))
        likelihood.append(float(t.logpdf(below, tail, scale=scale).sum()))
    near = [
        tail
        for tail, found in zip(TAILS, likelihood, strict=True)
        if found >= max(likelihood) - LIKELY
    ]
    return min(near)


def measure_memory(standard: Floats) -> float:
    """Correlation of neighbours, residuals cut at 3 so that no spike decides it."""
    cut = np.clip(standard, -3, 3)
    power = float(cut @ cut)
    return float(cut[:-1] @ cut[1:]) / power if power > 0 else 0.0


def measure_cohesion(values: Floats, scale: float) -> float:
    """How much more block medians scatter than those of independent rows."""
    levels = block_medians(values, BLOCK)
    if len(levels) < FEWEST_BLOCKS:
        return 1.0
    # Third differences: a curve's slope and bend are none of its noise.
    bends = np.abs(np.diff(levels, n=3)) / math.sqrt(20)
    # The lowest quarter, for a jump of the level is in four of them.
    seen = float(np.quantile(bends, 0.25)) / LOW_QUARTER
    return max(1.0, seen / (MEDIAN * scale / math.sqrt(BLOCK)))


def block_medians(values: Floats, rows: int) -> Floats:
    """Medians of consecutive blocks, the last of them ending with the series."""
    spare = len(values) % rows
    return np.asarray(np.median(values[spare:].reshape(-1, rows), axis=1))
