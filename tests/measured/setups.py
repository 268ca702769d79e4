"""How far best values lie from a law in other setups: level, slopes and scatter over setups.

    ln(best / law) = level + a ln(N / N0) + b ln((D / N) / (D0 / N0)) + scatter

Level, a and b are drawn anew for each setup, normal with mean 0; their standard deviations and the
scatter within a setup are those of highest likelihood. The slope a is along constant tokens per
param, b along the horizon at constant params: labs that scale both together say much of a and
nothing of b.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from fitting.arrays import Floats
from fitting.errors import FitError
from fitting.laws.law import Covariance, Quantity

REFERENCE = {"params": 2.5e8, "tokens": 1.4e10}
"""Where the level is stated: amid Step Law's range, in log."""

FEWEST_SETUPS = 3
"""Setups that a spread is estimated from."""

START = {"level": 0.5, "size": 0.2, "horizon": 0.2, "scatter": 0.3}
"""Standard deviations that the search starts at; the names are those of `Spread`."""

LEAST = 0.01
"""Standard deviation that counts as none, so that its log is finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """One best value against the law."""

    setup: str
    params: float
    tokens: float
    log_ratio: float
    """ln(best / law)."""
    log_sd: float
    """Known error of this one beside the scatter: the law's own, and of its form outside its
    range."""
    shared_log_sd: float = 0.0
    """Known error of the whole setup: of carrying over an optimizer or a parametrization."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations over setups, of ln."""

    level: float
    size: float
    """Of a, per unit of ln N at constant tokens per param."""
    horizon: float
    """Of b, per unit of ln(D / N) at constant params."""
    scatter: float
    """Of best values about their setup's line."""
    setups: int
    n: int
    """Best values used."""


def fit_spread(offsets: Sequence[Offset]) -> Spread:
    """The spread of highest likelihood.

    Args:
        offsets: best values of several setups.

    Raises:
        FitError: fewer than 3 setups.
    """
    names = sorted({offset.setup for offset in offsets})
    if len(names) < FEWEST_SETUPS:
        raise FitError(
            f"setups: {len(names)} setups, {FEWEST_SETUPS} needed for the spread between them"
        )
    groups = [[offset for offset in offsets if offset.setup == name] for name in names]

    def cost(log_sd: Floats) -> float:
        sd = dict(zip(START, np.exp(log_sd).tolist(), strict=True))
        return sum(log_density(group, sd) for group in groups)

    found = minimize(
        cost,
        np.log(list(START.values())),
        method="L-BFGS-B",
        bounds=[(math.log(LEAST), math.log(5.0))] * len(START),
    )
    sd = dict(zip(START, np.exp(found.x).tolist(), strict=True))
    return Spread(**sd, setups=len(names), n=len(offsets))


def log_density(group: Sequence[Offset], sd: dict[str, float]) -> float:
    """Minus twice the log likelihood of one setup, without its constant."""
    size = np.array([math.log(o.params / REFERENCE["params"]) for o in group])
    ratio = REFERENCE["tokens"] / REFERENCE["params"]
    horizon = np.array([math.log(o.tokens / o.params / ratio) for o in group])
    shared = sd["level"] ** 2 + group[0].shared_log_sd ** 2
    covariance = (
        shared
        + sd["size"] ** 2 * np.outer(size, size)
        + sd["horizon"] ** 2 * np.outer(horizon, horizon)
        + np.diag([sd["scatter"] ** 2 + o.log_sd**2 for o in group])
    )
    residual = np.array([o.log_ratio for o in group])
    _, determinant = np.linalg.slogdet(covariance)
    return float(determinant + residual @ np.linalg.solve(covariance, residual))


def spread_quantity(spread: Spread, text: str) -> Quantity:
    """A spread as a table of a law file: exponents 0 in N and D, with their covariance.

    With a = slope_N + slope_D and b = slope_D, the variances of the slopes of ln N and ln D are
    s_a^2 + s_b^2 and s_b^2, and their covariance -s_b^2.
    """
    a, b = spread.size**2, spread.horizon**2
    matrix = [[spread.level**2, 0.0, 0.0], [0.0, a + b, -b], [0.0, -b, b]]
    return Quantity(
        form="exponents",
        coefficients={"params": 0.0, "tokens": 0.0},
        reference=dict(REFERENCE),
        covariance=Covariance(
            names=["log_scale", "params", "tokens"],
            matrix=[[float(f"{value:.6g}") for value in row] for row in matrix],
        ),
        scatter=float(f"{spread.scatter:.3g}"),
        n=spread.n,
        text=text,
    )
