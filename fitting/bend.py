"""Whether the optimum bends in log-log: a law that is straight then goes astray outside its runs.

The measured optima of the cells over the fitted line are regressed on (1, x, x^2), x the log of
params or of tokens about its mean. A squared term that is twice its standard error is a bend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitting.surface import best_point
from fitting.surface_fit import SurfaceFit
from fitting.surface_optima import measured_optima
from fitting.surface_solver import Floats, Runs

FEWEST_SIZES = 4
"""Distinct params or tokens that a bend needs."""

SIGNIFICANT = 2.0
"""Standard errors at which a squared term counts."""


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
            f"({self.curvature:+.2f} ± {self.error:.2f} a squared unit of ln); a straight law "
            "errs by as much a factor of e outside the runs: intervals there are widened by it"
        )


def find_bends(runs: Runs, fit: SurfaceFit) -> tuple[Bend, ...]:
    """Every significant bend of lr and batch against params and tokens."""
    optima = [optimum for optimum in measured_optima(runs) if not optimum.edge]
    if not optima:
        return ()
    sizes = np.array([(optimum.params, optimum.tokens) for optimum in optima])
    measured = np.array([(optimum.lr, optimum.batch_tokens) for optimum in optima])
    fitted = np.array([best_point(fit.surface, *size) for size in sizes.tolist()])
    residual = np.log(measured / fitted)
    found = []
    for row, quantity in enumerate(("lr", "batch_tokens")):
        for column, against in enumerate(("params", "tokens")):
            bend = fit_bend(np.log(sizes[:, column]), residual[:, row])
            if bend is None or abs(bend[0]) < SIGNIFICANT * bend[1]:
                continue
            found.append(
                Bend(
                    quantity=quantity,
                    against=against,
                    curvature=bend[0],
                    error=bend[1],
                )
            )
    return tuple(found)


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
