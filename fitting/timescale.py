"""Weight decay through the EMA timescale, fitted to the optima of cells.

tau = B / (lr wd D), the fraction of the run that AdamW's weights average over, as
scale (D/N)^slope (Wang and Aitchison, arXiv 2405.13698; Power Lines, arXiv 2505.13738).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fitting.cells import CellOptimum
from fitting.laws import Covariance, Quantity

FEWEST_CELLS = 3
"""Cells with a best weight decay that a slope in D / N needs."""


def fit_timescale(optima: Sequence[CellOptimum]) -> tuple[Quantity | None, str | None]:
    """The weight-decay law of cells whose best weight decay lies inside the values tried.

    Returns:
        The law, or None with the reason; and a note where the slope is not identified.
    """
    points = [point for point in map(timescale_of, optima) if point is not None]
    if not points:
        varied = any("weight_decay" in cell.varied for cell in optima)
        reason = (
            "no cell has its best weight decay inside the values tried"
            if varied
            else "weight decay takes fewer than 3 values in every cell"
        )
        return None, f"no law of weight decay: {reason}; sweep it, or use the published one"
    x = np.log([ratio for ratio, _ in points])
    y = np.log([tau for _, tau in points])
    if len(points) < FEWEST_CELLS or np.ptp(x) == 0:
        law = Quantity(
            form="ema-timescale",
            coefficients={"scale": float(np.exp(y.mean())), "tokens_per_param": 0.0},
            n=len(points),
        )
        return law, "the weight decay's slope in tokens per param is not identified; taken as 0"
    design = np.column_stack([np.ones_like(x), x])
    (level, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ [level, slope]
    scatter = math.sqrt(float(residual @ residual) / max(len(x) - 2, 1))
    covariance = scatter**2 * np.linalg.inv(design.T @ design)
    law = Quantity(
        form="ema-timescale",
        coefficients={"scale": math.exp(level), "tokens_per_param": float(slope)},
        covariance=Covariance(names=["log_scale", "tokens_per_param"], matrix=covariance.tolist()),
        scatter=scatter,
        n=len(points),
    )
    return law, None


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
