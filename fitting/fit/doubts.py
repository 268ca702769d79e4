"""What makes a fit of lr and batch doubtful, beyond what its covariance says.

A surface can be fitted to runs that do not show an optimum: their losses fall to the edge of the
values tried, or hardly change with them. A single loss that is too low pulls a whole cell. These
are found after the fit and said, or, for low losses, left out before a second one.

An optimum that bends in log-log makes a straight law go astray outside its runs: the measured
optima of the cells over the fitted line are regressed on (1, x, x^2), x the log of params or of
tokens about its mean. A squared term that chance hardly explains is a bend: 5% for the four that
are tried together, by Student's t with the Bonferroni correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fitting.arrays import Floats
from fitting.cells.spline import MeasuredOptimum
from fitting.laws.surface import Surface, best_point
from fitting.runs.tuned import TunedRuns
from fitting.surface.fit import SurfaceFit
from fitting.units import format_error

FLAT = 0.3
"""Share of the loss's variance within cells below which lr and batch explain too little."""

FEWEST_LOW = 0.02
"""Smallest gap of ln loss below the fitted best that makes a run implausible: ten times noise."""

LOW_SIGMAS = 6.0
"""Robust standard deviations below the cell's best, likewise."""

MOST_OFF = 0.5
"""Share of cells with their optimum outside the values tried at which the fit is no use."""


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


def off_the_grid(columns: TunedRuns, fit: SurfaceFit) -> dict[str, float]:
    """Share of the cells whose fitted best lr, or batch, lies outside the values tried there."""
    outside = {"lr": 0, "batch_tokens": 0}
    for params, tokens in fit.cells.tolist():
        here = (columns.params == params) & (columns.tokens == tokens)
        best = dict(zip(outside, best_point(fit.surface, params, tokens), strict=True))
        for name, value in best.items():
            tried = getattr(columns, name)[here]
            outside[name] += not tried.min() <= value <= tried.max()
    return {name: count / len(fit.cells) for name, count in outside.items()}


def doubts_of(columns: TunedRuns, fit: SurfaceFit) -> list[str]:
    """What a reader must know before using lr and batch, in sentences."""
    said = []
    for name, share in off_the_grid(columns, fit).items():
        if share >= MOST_OFF:
            word = "lr" if name == "lr" else "batch"
            said.append(
                f"the best {word} lies outside the values tried in {share:.0%} of the cells: it is "
                f"a bound, not an optimum; widen the sweep of {word} before using this law"
            )
    if fit.r2 < FLAT:
        said.append(
            f"lr and batch explain only {max(fit.r2, 0):.0%} of how the loss varies within cells: "
            "these runs hardly show an optimum; sweep wider, or repeat runs to see the noise"
        )
    return said


def low_outliers(columns: TunedRuns, fit: SurfaceFit) -> NDArray[np.bool_]:
    """Runs whose loss lies implausibly far below the fitted best of their cell."""
    best, _ = fit.paid(columns)
    return best - np.log(columns.loss) > max(LOW_SIGMAS * fit.residual_scale, FEWEST_LOW)


def find_bends(optima: Sequence[MeasuredOptimum], surface: Surface) -> tuple[Bend, ...]:
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
