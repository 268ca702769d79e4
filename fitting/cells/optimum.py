"""Optima of one (params, tokens) cell: the best lr, batch and weight decay, with 80% intervals.

A robust polynomial in logs (`fitting.cells.polynomial`) is fitted to the finished runs of the cell.
A best value on the edge of the values tried is a bound and not a point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd

from fitting.arrays import Floats
from fitting.cells.polynomial import (
    CURVATURE,
    FAR,
    NEAR,
    OUTLIER_WEIGHT,
    LogPolynomial,
    descend,
    fit_polynomial,
    start_weight,
)
from fitting.runs.table import Runs

TUNED = tuple(CURVATURE)
"""What a cell's optimum is sought in: lr, batch_tokens, weight_decay."""

FEWEST_VALUES = 3
"""Distinct values that a hyperparameter needs, to be fitted."""

SAMPLES = 400
"""Draws of the coefficients behind an interval; they fix its coverage to 2%."""

LOW, HIGH = 0.1, 0.9
"""Quantiles that bound an 80% interval."""


class OptimumStatus(Enum):
    """What is known of one hyperparameter's best value."""

    INSIDE = "the best value lies inside the values tried"
    AT_LOWEST = "the best value is near or below the lowest tried; try lower ones"
    AT_HIGHEST = "the best value is near or above the highest tried; try higher ones"
    NOT_VARIED = "fewer than 3 values were tried; vary it over at least 3"
    TOO_FEW = "too few finished runs for an optimum; add runs around the best one"


@dataclass(frozen=True, slots=True)
class BestValue:
    """The best value of one hyperparameter in one cell, or a bound on it."""

    status: OptimumStatus
    value: float | None
    """Best value; None unless it lies inside the values tried."""
    low: float | None
    """Lower end of the 80% interval; for `AT_HIGHEST` the lower bound; None if unknown."""
    high: float | None
    """Upper end of the 80% interval; for `AT_LOWEST` the upper bound; for `AT_HIGHEST` the lowest
    higher value at which a run diverged; None if unknown."""
    log_sd: float | None
    """Standard deviation of ln(value); None unless inside."""
    tried: tuple[float, float] | None
    """Lowest and highest value among finished runs; None where none is known."""


@dataclass(frozen=True, slots=True, eq=False)
class CellOptimum:
    """The best hyperparameters of one cell and the loss there."""

    params: float
    tokens: float
    best: dict[str, BestValue]
    """By name: lr, batch_tokens, weight_decay."""
    loss: float | None
    """Fitted loss at the best point among values tried, nats per token; None if not fitted."""
    loss_log_sd: float | None
    """Standard deviation of ln(loss): of the fit, not of one run."""
    noise: float | None
    """Standard deviation of ln loss of one run near the best; None if not fitted."""
    log_covariance: Floats | None
    """Covariance of ln of the best values, in the order of `varied`; None unless all inside."""
    varied: tuple[str, ...]
    """Hyperparameters fitted: those with 3 values or more."""
    n: int
    """Finished runs fitted."""
    outliers: int
    """Runs within 10% of the best that the fit gives no weight."""
    diverged: int
    """Runs of the cell that diverged."""

    @property
    def inside(self) -> bool:
        """Whether everything fitted has its best value inside the values tried."""
        return self.log_covariance is not None


def find_optima(runs: Runs) -> list[CellOptimum]:
    """The optimum of each (params, tokens) cell, in rising order of params and tokens.

    Args:
        runs: of one parametrization and optimizer (`fitting.runs.setting`).
    """
    return [
        find_cell_optimum(cell, params=params, tokens=tokens, rng=np.random.default_rng(0))
        for (params, tokens), cell in runs.by_cell()
    ]


def find_cell_optimum(
    runs: Runs, *, params: float, tokens: float, rng: np.random.Generator
) -> CellOptimum:
    """The best lr, batch and weight decay of one cell.

    Only what has 3 values or more is fitted; k of them need 2 k + 1 finished runs, a cross. Where
    one best value is on the edge of the values tried, the others are the best on that edge.

    Args:
        runs: of one cell.
        params: of the cell, for the result.
        tokens: of the cell, for the result.
        rng: of the draws behind the intervals.

    Returns:
        The optimum; where it cannot be had, the status of each hyperparameter says why.
    """
    table = runs.tuned
    names = tuple(name for name in TUNED if name in table and is_varied(table[name]))
    # A weight decay of 0 has no logarithm; NaN is unknown.
    used = table[(table[list(names)] > 0).all(axis="columns")]
    if not names or len(used) < 2 * len(names) + 1:
        return unfitted(runs, params=params, tokens=tokens, names=names)
    log_x = np.log(used[list(names)].to_numpy(dtype=np.float64))
    log_loss = np.log(used["loss"].to_numpy(dtype=np.float64))
    fit, centre, minima = drawn_polynomial(log_x, log_loss, names=names, rng=rng)
    best = {
        name: bound_or_point(
            runs, name, point=fit.minimum[i] + centre[i], draws=minima[:, i], tried=log_x[:, i]
        )
        for i, name in enumerate(names)
    }
    fixed = {n: unknown_value(runs, n, OptimumStatus.NOT_VARIED) for n in TUNED if n not in names}
    inside = all(value.status is OptimumStatus.INSIDE for value in best.values())
    near = np.abs(log_loss - fit.value) < 10 * NEAR
    return CellOptimum(
        params=params,
        tokens=tokens,
        best={name: (best | fixed)[name] for name in TUNED},
        loss=math.exp(fit.value),
        loss_log_sd=fit.value_sd,
        noise=fit.noise,
        log_covariance=np.atleast_2d(np.cov(minima.T)) if inside else None,
        varied=names,
        n=len(used),
        outliers=int((near & (fit.weight <= OUTLIER_WEIGHT**2)).sum()),
        diverged=len(runs.diverged),
    )


def drawn_polynomial(
    log_x: Floats, log_loss: Floats, *, names: tuple[str, ...], rng: np.random.Generator
) -> tuple[LogPolynomial, Floats, Floats]:
    """The polynomial through runs, its centre, and minima of others drawn from its covariance.

    The draws may leave the box of the runs by its own width: an interval that ended at the grid
    would be too narrow. The move of the minimum when farther runs weigh more is one standard
    deviation of the error of the polynomial itself.

    Args:
        log_x: ln of what was varied, shape (runs, variables).
        log_loss: shape (runs,).
        names: the variables.
        rng: of the draws.

    Returns:
        The fit in ln over the centre; the centre, shape (variables,); minima in ln, shape
        (samples, variables).
    """
    centre = np.average(log_x, axis=0, weights=start_weight(log_loss))
    fit = fit_polynomial(log_x - centre, log_loss, names=names)
    shift = fit_polynomial(log_x - centre, log_loss, names=names, near_gap=FAR).minimum
    root = np.linalg.cholesky(fit.covariance)
    theta = fit.theta + rng.standard_normal((SAMPLES, len(fit.theta))) @ root.T
    low, high = log_x.min(axis=0) - centre, log_x.max(axis=0) - centre
    wide = np.stack([2 * low - high, 2 * high - low])
    minima = descend(theta, fit.powers, np.broadcast_to(fit.minimum, (SAMPLES, len(low))), wide)
    minima += (shift - fit.minimum) * rng.standard_normal((SAMPLES, 1))
    return fit, centre, minima + centre


def bound_or_point(
    runs: Runs, name: str, *, point: float, draws: Floats, tried: Floats
) -> BestValue:
    """The best value of one hyperparameter from the logs of its minimum, draws and runs."""
    lowest, highest = float(tried.min()), float(tried.max())
    edge = 1e-6 * (highest - lowest)
    low, high = (float(end) for end in np.quantile(draws, [LOW, HIGH]))
    ends = (math.exp(lowest), math.exp(highest))
    if point <= lowest + edge:
        bound = math.exp(max(high, lowest))
        return BestValue(OptimumStatus.AT_LOWEST, None, None, bound, None, ends)
    if point >= highest - edge:
        bound = math.exp(min(low, highest))
        cliff = lowest_diverged(runs, name, above=ends[1])
        return BestValue(OptimumStatus.AT_HIGHEST, None, bound, cliff, None, ends)
    return BestValue(
        OptimumStatus.INSIDE,
        math.exp(point),
        math.exp(min(low, point)),
        math.exp(max(high, point)),
        float(draws.std()),
        ends,
    )


def lowest_diverged(runs: Runs, name: str, *, above: float) -> float | None:
    """The lowest value above those that finished at which a run diverged, or None."""
    diverged = runs.diverged[name]
    higher = diverged[diverged > above]
    return float(higher.min()) if len(higher) else None


def unfitted(runs: Runs, *, params: float, tokens: float, names: tuple[str, ...]) -> CellOptimum:
    """A cell without an optimum: each hyperparameter says why."""
    why = {
        name: OptimumStatus.TOO_FEW if name in names else OptimumStatus.NOT_VARIED for name in TUNED
    }
    return CellOptimum(
        params=params,
        tokens=tokens,
        best={name: unknown_value(runs, name, status) for name, status in why.items()},
        loss=None,
        loss_log_sd=None,
        noise=None,
        log_covariance=None,
        varied=(),
        n=len(runs.tuned),
        outliers=0,
        diverged=len(runs.diverged),
    )


def unknown_value(runs: Runs, name: str, status: OptimumStatus) -> BestValue:
    """No best value, with the values that were tried."""
    table = runs.tuned
    values = table[name].dropna() if name in table else table["loss"].iloc[:0]
    tried = (float(values.min()), float(values.max())) if len(values) else None
    return BestValue(status, None, None, None, None, tried)


def is_varied(values: pd.Series) -> bool:
    """Whether a column has enough distinct values above 0."""
    return values[values > 0].nunique() >= FEWEST_VALUES
