"""Weight decay through the EMA timescale, fitted to the optima of cells.

tau = B / (lr wd D), the fraction of the run that AdamW's weights average over, as
scale (D/N)^slope (Wang and Aitchison, arXiv 2405.13698; Power Lines, arXiv 2505.13738).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fitting.arrays import Floats
from fitting.cells.optimum import CellOptimum
from fitting.laws.law import Covariance, Quantity

FEWEST_CELLS = 3
"""Cells with a best weight decay that a slope in D / N needs."""

LEAST_SPAN = math.log(2)
"""Span of ln(D / N) below which its slope is noise; assumed."""

SCATTER = 0.3
"""sd of ln tau of a cell about the law where few cells tell; assumed: tuned weight decays at one
size lie within a factor of 1.5."""

SCATTER_CELLS = 3
"""How many cells that assumption weighs as much as; assumed."""


def fit_timescale(optima: Sequence[CellOptimum]) -> tuple[Quantity | None, list[str]]:
    """The weight-decay law of cells whose best weight decay lies inside the values tried.

    Returns:
        The law, or None; and notes: why there is none, which cells it leaves out, and whether
        its slope is identified.
    """
    swept = [cell for cell in optima if "weight_decay" in cell.varied]
    points = [point for point in map(timescale_of, swept) if point is not None]
    if not points:
        return None, [
            "no law of weight decay: no cell has its best weight decay, lr and batch inside the "
            "values tried; widen the sweep, or use a published one"
        ]
    notes = []
    if len(points) < len(swept):
        notes.append(
            f"the weight decay is of {len(points)} of {len(swept)} cells; the others have a best "
            "value on the edge of those tried"
        )
    x = np.log([ratio for ratio, _ in points])
    y = np.log([tau for _, tau in points])
    if len(points) < FEWEST_CELLS or np.ptp(x) < LEAST_SPAN:
        notes.append("the weight decay's slope in tokens / params is not identified; taken as 0")
        return flat_timescale(y), notes
    design = np.column_stack([np.ones_like(x), x])
    (level, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ [level, slope]
    scatter = pooled_scatter(residual, freedom=len(x) - 2)
    covariance = scatter**2 * np.linalg.inv(design.T @ design)
    law = Quantity(
        form="ema-timescale",
        coefficients={"scale": math.exp(level), "tokens_per_param": float(slope)},
        covariance=Covariance(names=["log_scale", "tokens_per_param"], matrix=covariance.tolist()),
        scatter=scatter,
        n=len(points),
    )
    return law, notes


def flat_timescale(log_tau: Floats) -> Quantity:
    """One timescale for all sizes."""
    count = len(log_tau)
    scatter = pooled_scatter(log_tau - log_tau.mean(), freedom=count - 1)
    return Quantity(
        form="ema-timescale",
        coefficients={"scale": float(np.exp(log_tau.mean())), "tokens_per_param": 0.0},
        covariance=Covariance(names=["log_scale"], matrix=[[scatter**2 / count]]),
        scatter=scatter,
        n=count,
    )


def pooled_scatter(residual: Floats, *, freedom: int) -> float:
    """Standard deviation of ln tau about the law, `SCATTER` counting as `SCATTER_CELLS` cells."""
    squares = float(residual @ residual) + SCATTER_CELLS * SCATTER**2
    return math.sqrt(squares / (freedom + SCATTER_CELLS))


def timescale_of(cell: CellOptimum) -> tuple[float, float] | None:
    """(D / N, tau) of a cell whose best weight decay, lr and batch are known."""
    values = [known_best(cell, name) for name in ("lr", "batch_tokens", "weight_decay")]
    if any(value is None for value in values) or cell.best["weight_decay"].value is None:
        return None
    lr, batch_tokens, weight_decay = (value for value in values if value is not None)
    return cell.tokens / cell.params, batch_tokens / (lr * weight_decay * cell.tokens)


def known_best(cell: CellOptimum, name: str) -> float | None:
    """A best value, or the one value tried."""
    best = cell.best[name]
    if best.value is not None:
        return best.value
    if best.tried is not None and best.tried[0] == best.tried[1]:
        return best.tried[0]
    return None
