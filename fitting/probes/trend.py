"""How a metric other than loss moves with scale: one way, there and back, or not at all.

A power law is drawn through a metric only where it moves one way. Two tests decide, each with an
error rate of 5% whatever the shape of the curve, for both look at ranks alone:

- there and back (U or its inverse): the runs, in order of compute, are cut at a third, a half and
  two thirds; at a cut both sides must trend, in opposite directions. p is the larger of the two
  one-sided p of Kendall's tau, the least of three cuts and two directions times 6 (Bonferroni). A
  metric that only rises or only falls is called bent in at most 5% of tables.
- one way: the two-sided p of Kendall's tau over all runs. A metric without a trend is called one
  that rises or falls in at most 5% of tables.

Runs with errors that are not independent (one run's checkpoints) break both rates: one row a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from fitting.errors import InputError
from fitting.intervals import student_half_width

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ERROR_RATE = 0.05
"""Share of tables in which each test claims what is not there, at most."""

CUTS = (1 / 3, 1 / 2, 2 / 3)
"""Where the runs are cut, as a share of them; fixed in advance, so that few are paid for."""

FEWEST = 5
"""Runs below which not even a perfect order is significant: 2 / 5! is 1.7%, 2 / 4! is 8%."""

FEWEST_TO_BEND = 12
"""Runs below which no bend can be found: 6 / 6! is 0.8%, but 6 / 5! is 5%."""

Direction = Literal["less", "greater"]

BENDS: dict[str, tuple[Direction, Direction]] = {
    "u-shaped": ("less", "greater"),
    "inverted-u": ("greater", "less"),
}
"""Alternatives of Kendall's tau before and after the cut, by the bend's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """metric = exp(intercept) C^slope, C over the runs' geometric mean."""

    intercept: float
    slope: float
    center: float
    """Geometric mean of the compute, FLOPs."""
    scatter: float
    """Standard deviation of ln(metric / law)."""
    spread: float
    """Sum of squared ln(C / center)."""
    runs: int

    def at(self, flops: float) -> tuple[float, float, float]:
        """Value and 80% interval of one run at a compute."""
        x = math.log(flops / self.center)
        sd = self.scatter * math.sqrt(1 + 1 / self.runs + x * x / self.spread)
        half = student_half_width(self.runs - 2) * sd
        value = self.intercept + self.slope * x
        return math.exp(value), math.exp(value - half), math.exp(value + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What the runs say of a metric against compute."""

    kind: str
    """`rising`, `falling`, `u-shaped`, `inverted-u` or `none`."""
    p_trend: float
    """Of one way: two-sided, Kendall's tau."""
    p_bend: float | None
    """Of there and back; None where the runs are too few to tell."""
    turn_flops: float | None
    """Compute at which the bend was cut; None where there is none."""
    law: PowerLaw | None
    """Only of a metric that moves one way and is above 0."""
    runs: int


def find_trend(flops: ArrayLike, values: ArrayLike) -> Trend:
    """Which way a metric moves with compute.

    Args:
        flops: compute of each run, > 0, any unit.
        values: the metric of each run, finite.

    Raises:
        InputError: too few runs, or fewer than three different scales.
    """
    x, y = np.asarray(flops, dtype=float), np.asarray(values, dtype=float)
    if len(x) < FEWEST or len(np.unique(x)) < 3:
        raise InputError(
            f"metric: {len(x)} runs at {len(np.unique(x))} scales; a trend takes at least {FEWEST} "
            "runs at 3"
        )
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    p_bend, kind, turn = find_bend(x, y) if len(x) >= FEWEST_TO_BEND else (None, "none", None)
    tau = stats.kendalltau(x, y)
    # Kendall's tau of a constant metric is not a number.
    p_trend = 1.0 if math.isnan(tau.pvalue) else float(tau.pvalue)
    if p_bend is None or p_bend >= ERROR_RATE:
        turn = None
        kind = "none"
        if p_trend < ERROR_RATE:
            kind = "rising" if tau.statistic > 0 else "falling"
    one_way = kind in ("rising", "falling") and bool(np.all(y > 0))
    return Trend(
        kind=kind,
        p_trend=p_trend,
        p_bend=p_bend,
        turn_flops=turn,
        law=fit_power(x, y) if one_way else None,
        runs=len(x),
    )


def find_bend(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, str, float | None]:
    """p of the best cut and direction, its name and where it lies; x rising."""
    cuts = sorted({round(share * len(x)) for share in CUTS})
    p, kind, cut = min(
        (max(one_sided(x[:cut], y[:cut], first), one_sided(x[cut:], y[cut:], then)), kind, cut)
        for cut in cuts
        for kind, (first, then) in BENDS.items()
    )
    turn = float(math.sqrt(x[cut - 1] * x[cut]))
    return min(1.0, len(cuts) * len(BENDS) * p), kind, turn


def one_sided(x: NDArray[np.float64], y: NDArray[np.float64], direction: Direction) -> float:
    """p of Kendall's tau in one direction; 1 where either is constant."""
    p = float(stats.kendalltau(x, y, alternative=direction).pvalue)
    return 1.0 if math.isnan(p) else p


def fit_power(x: NDArray[np.float64], y: NDArray[np.float64]) -> PowerLaw:
    """Least squares of ln y on ln x."""
    center = float(np.exp(np.log(x).mean()))
    away, height = np.log(x / center), np.log(y)
    spread = float(away @ away)
    slope = float(away @ height) / spread
    left = height - height.mean() - slope * away
    return PowerLaw(
        intercept=float(height.mean()),
        slope=slope,
        center=center,
        scatter=math.sqrt(float(left @ left) / (len(x) - 2)),
        spread=spread,
        runs=len(x),
    )
