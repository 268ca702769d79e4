"""Optima of one (params, tokens) cell: the best lr, batch and weight decay, with 80% intervals.

A robust polynomial in logs (`fitting.cells.polynomial`) is fitted to the finished runs of the cell.
A best value on the edge of the values tried is a bound and not a point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

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
from fitting.text import Lines, plain_text
from fitting.units import format_interval, format_size

TUNED = tuple(CURVATURE)
"""What a cell's optimum is sought in: lr, batch_tokens, weight_decay."""

FEWEST_VALUES = 3
"""Distinct values that a hyperparameter needs, to be fitted."""

SAMPLES = 400
"""Draws of the coefficients behind an interval; they fix its coverage to 2%."""

LOW, HIGH = 0.1, 0.9
"""Quantiles that bound an 80% interval."""


class Optimum(Enum):
    """What is known of one hyperparameter's best value."""

    INSIDE = "the best value lies inside the values tried"
    AT_LOWEST = "the best value is near or below the lowest tried; try lower ones"
    AT_HIGHEST = "the best value is near or above the highest tried; try higher ones"
    NOT_VARIED = "fewer than 3 values were tried; vary it over at least 3"
    TOO_FEW = "too few finished runs for an optimum; add runs around the best one"


@dataclass(frozen=True, slots=True)
class BestValue:
    """The best value of one hyperparameter in one cell, or a bound on it."""

    status: Optimum
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

    def to_dict(self) -> dict[str, Any]:
        """As plain values; the status by its name in lower case."""
        names = ("value", "low", "high", "log_sd", "tried")
        return {"status": self.status.name.lower()} | {name: getattr(self, name) for name in names}


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

    def summary(self) -> str:
        """The best values with their intervals, or why there is none, as plain text."""
        lines = [
            f"{format_size(self.params, self.tokens)}: "
            f"{self.n} runs, {self.outliers} outliers, {self.diverged} diverged"
        ]
        for name, best in self.best.items():
            said = best.status.value
            if best.value is not None and best.low is not None and best.high is not None:
                said = format_interval(best.value, best.low, best.high)
            lines.append(f"  {name}: {said}")
        if self.loss is not None and self.noise is not None:
            lines.append(f"  loss: {self.loss:.4f}, noise of one run {100 * self.noise:.2f}%")
        return plain_text([Lines(tuple(lines))])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        names = ("params", "tokens", "loss", "loss_log_sd", "noise", "n", "outliers", "diverged")
        plain = {name: getattr(self, name) for name in names}
        return plain | {name: best.to_dict() for name, best in self.best.items()}


def find_optima(runs: Runs, *, seed: int = 0) -> list[CellOptimum]:
    """The optimum of each (params, tokens) cell, in rising order of params and tokens.

    Args:
        runs: of one parametrization and optimizer (`fitting.runs.setting`).
        seed: of the draws behind the intervals.
    """
    return [
        find_cell_optimum(cell, params=params, tokens=tokens, rng=np.random.default_rng(seed))
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
    centre = np.average(log_x, axis=0, weights=start_weight(log_loss))
    fit = fit_polynomial(log_x - centre, log_loss, names=names)
    wider = fit_polynomial(log_x - centre, log_loss, names=names, near_gap=FAR)
    box = np.stack([log_x.min(axis=0), log_x.max(axis=0)]) - centre
    minima = draw_minima(fit, box, shift=wider.minimum - fit.minimum, rng=rng)
    best = {
        name: bound_or_point(
            runs,
            name,
            point=fit.minimum[i] + centre[i],
            draws=minima[:, i] + centre[i],
            tried=log_x[:, i],
        )
        for i, name in enumerate(names)
    }
    fixed = {n: unknown_value(runs, n, Optimum.NOT_VARIED) for n in TUNED if n not in names}
    inside = all(value.status is Optimum.INSIDE for value in best.values())
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


def draw_minima(
    fit: LogPolynomial, box: Floats, *, shift: Floats, rng: np.random.Generator
) -> Floats:
    """Minima of polynomials drawn from the fit's covariance, shape (samples, variables).

    They may leave the box by its own width: an interval that ended at the grid would be too
    narrow. `shift`, the move of the minimum when farther runs weigh more, is one standard
    deviation of the error of the polynomial itself.
    """
    root = np.linalg.cholesky(fit.covariance)
    theta = fit.theta + rng.standard_normal((SAMPLES, len(fit.theta))) @ root.T
    width = box[1] - box[0]
    starts = np.broadcast_to(fit.minimum, (SAMPLES, len(width)))
    minima = descend(theta, fit.powers, starts, np.stack([box[0] - width, box[1] + width]))
    return minima + shift * rng.standard_normal((SAMPLES, 1))


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
        return BestValue(Optimum.AT_LOWEST, None, None, bound, None, ends)
    if point >= highest - edge:
        bound = math.exp(min(low, highest))
        cliff = lowest_diverged(runs, name, above=ends[1])
        return BestValue(Optimum.AT_HIGHEST, None, bound, cliff, None, ends)
    return BestValue(
        Optimum.INSIDE,
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
    why = {name: Optimum.TOO_FEW if name in names else Optimum.NOT_VARIED for name in TUNED}
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


def unknown_value(runs: Runs, name: str, status: Optimum) -> BestValue:
    """No best value, with the values that were tried."""
    table = runs.tuned
    values = table[name].dropna() if name in table else table["loss"].iloc[:0]
    tried = (float(values.min()), float(values.max())) if len(values) else None
    return BestValue(status, None, None, None, None, tried)


def is_varied(values: pd.Series) -> bool:
    """Whether a column has enough distinct values above 0."""
    return values[values > 0].nunique() >= FEWEST_VALUES
