"""Intervals that hold 80%, of a value known up to a factor.

`math` alone, so that a plan can use it.
"""

from __future__ import annotations

import math

COVERED = 0.8
"""Probability that every interval aims at."""

Z80 = 1.2815515655446004
"""Half width of a normal distribution's central 80%, in standard deviations."""


def ends_of(value: float, log_sd: float) -> tuple[float, float]:
    """Lower and upper end of the 80% interval of a value.

    Args:
        value: > 0.
        log_sd: standard deviation of its logarithm.
    """
    factor = math.exp(Z80 * log_sd)
    return value / factor, value * factor


def student_half_width(freedom: float) -> float:
    """Half width of Student's central 80%: of a deviation that is known from few runs.

    Args:
        freedom: degrees of freedom, > 0.
    """
    # Not scipy.stats, whose import takes a second.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + COVERED) / 2))
