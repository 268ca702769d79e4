"""Whether the optimum bends in log-log: a law that is straight then goes astray outside its runs.

The measured optima of the cells over the fitted line are regressed on (1, x, x^2), x the log of
params or of tokens about its mean. A squared term that chance hardly explains is a bend: 5% for
the four that are tried together, by Student's t with the Bonferroni correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.cells.spline import Optimum
from fitting.laws.surface import Surface, best_point
from fitting.units import format_error

FEWEST_SIZES = 4
"""Distinct params or tokens that a bend needs."""

CHANCE = 0.05
"""Probability that straight laws show any bend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """A significant squared term."""

    quantity: str
    """`lr` or `batch_tokens`."""
    against: str
    """`params` or `tokens`."""
    curvature: float
    """Coefficient of x^2 in ln(optimum), per squared unit of ln."""
    error: float
    """Its standard error."""

    def sentence(self) -> str:
        """The finding, in one line."""
        way = "upward" if self.curvature > 0 else "downward"
        return (
            f"the best {self.quantity.replace('_', ' ')} bends {way} in ln {self.against} "
            f"({format_error(self.curvature, self.error)} a squared unit of ln): outside the runs "
            "a straight law errs, and intervals are wider by as much for each factor of e"
        )


def find_bends(optima: Sequence[Optimum], surface: Surface) -> tuple[Bend, ...]:
    """Every significant bend of lr and batch against params and tokens.

    Args:
        optima: measured in each cell; those on the edge of their grid are bounds and left out.
        surface: the fitted surface, whose optimum is straight in log-log.
    """
    inside = [optimum for optimum in optima if not optimum.edge]
    if not inside:
        return ()
    sizes = np.array([(optimum.params, optimum.tokens) for optimum in inside])
    measured = np.array([(optimum.lr, optimum.batch_tokens) for optimum in inside])
    fitted = np.array([best_point(surface, *size) for size in sizes.tolist()])
    residual = np.log(measured / fitted)
    found = []
    for row, quantity in enumerate(("lr", "batch_tokens")):
        for column, against in enumerate(("params", "tokens")):
            bend = fit_bend(np.log(sizes[:, column]), residual[:, row])
            if bend is None or abs(bend[0]) < threshold(len(inside)) * bend[1]:
                continue
            found.append(Bend(quantity=quantity, against=against, curvature=bend[0], error=bend[1]))
    return tuple(found)


def threshold(points: int) -> float:
    """Standard errors at which a squared term counts: 5% shared by the four that are tried."""
    # Not scipy.stats, whose import takes a second.
    from scipy.special import stdtrit

    return float(stdtrit(points - 3, 1 - CHANCE / 8))


def fit_bend(x: Floats, y: Floats) -> tuple[float, float] | None:
    """Coefficient of x^2 and its standard error; None where the points are too few."""
    if len(np.unique(x)) < FEWEST_SIZES or len(x) < FEWEST_SIZES + 1:
        return None
    centred = x - x.mean()
    design = np.column_stack([np.ones_like(x), centred, centred**2])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ coefficients
    variance = float(residual @ residual) / (len(x) - 3)
    inverse = np.linalg.inv(design.T @ design)
    return float(coefficients[2]), math.sqrt(variance * float(inverse[2, 2]))
