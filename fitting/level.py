"""The loss of any run, off-optimum ones included: the level of its cell times its excess.

    ln loss = ln level(N, D) + excess,   excess = ln loss at (lr, B) - ln loss at the cell's best

The level is a loss law fitted to the cells' best losses (`fitting.loss_fit`), the excess comes
from a surface. A run misses the two by a noise that all runs have and by a share of its excess,
because a surface is the worse known the farther from its optimum: on Step Law's runs up to 429M
within 10% of their cell's best, the standard deviation grows from 0.16% at the optimum to 1.4%
at excesses of 4 to 10%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from fitting.errors import FitError
from fitting.loss_report import Z80, LossPrediction

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fitting.loss_report import LossFit
    from fitting.loss_slopes import Floats


@dataclass(frozen=True, slots=True)
class RunScatter:
    """How far runs lie from level plus excess."""

    noise: float
    """Standard deviation of ln loss at the optimum, >= 0."""
    share: float
    """Standard deviation over the excess, far from it, >= 0."""

    def sd(self, excess: Floats) -> Floats:
        """sqrt(noise^2 + (share excess)^2)."""
        return np.hypot(self.noise, self.share * excess)


def measure_scatter(excess: ArrayLike, residual: ArrayLike) -> RunScatter:
    """Noise and share that explain the squared residuals of fitted runs, neither below 0.

    Least squares of r^2 on (1, excess^2), each run divided by its expected r^2, repeated until
    the expected values are those of the result.

    Args:
        excess: ln loss above the cell's best, by the surface, >= 0, shape (n,).
        residual: ln of measured loss over the fitted one, shape (n,).

    Raises:
        FitError: fewer than 10 runs.
    """
    x, r = (np.asarray(values, dtype=np.float64) for values in (excess, residual))
    if len(r) < 10:
        raise FitError(f"level: {len(r)} runs, 10 needed to measure their scatter; add runs")
    design = np.column_stack([np.ones_like(x), x**2])
    expected = np.full_like(r, np.mean(r**2))
    for _ in range(30):
        found, _ = nnls(design / expected[:, None], r**2 / expected)
        expected = np.maximum(design @ found, 1e-12)
    noise, share = np.sqrt(found)
    return RunScatter(noise=float(noise), share=float(share))


def predict_runs(
    level: LossFit,
    params: ArrayLike,
    tokens: ArrayLike,
    *,
    excess: ArrayLike,
    scatter: RunScatter,
    unique_tokens: ArrayLike | None = None,
) -> LossPrediction:
    """Loss of single runs with 80% intervals of a run, not of the mean of many.

    The level's half-width and the run's scatter add in squares.

    Args:
        level: law of the cells' best losses.
        params: N, > 0, shape (n,).
        tokens: D, > 0, shape (n,).
        excess: ln loss above the cell's best at the run's lr and batch, >= 0, shape (n,).
        scatter: of runs.
        unique_tokens: distinct tokens; None means that nothing repeats.
    """
    best = level.predict(params, tokens, unique_tokens=unique_tokens)
    above = np.asarray(excess, dtype=np.float64)
    log_loss = np.log(best.value) + above
    run = Z80 * scatter.sd(above)
    return LossPrediction(
        low=np.exp(log_loss - np.hypot(np.log(best.value / best.low), run)),
        value=np.exp(log_loss),
        high=np.exp(log_loss + np.hypot(np.log(best.high / best.value), run)),
    )
