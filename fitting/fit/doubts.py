"""What makes a fit of lr and batch doubtful, beyond what its covariance says.

A surface can be fitted to runs that do not show an optimum: their losses fall to the edge of the
values tried, or hardly change with them. A single loss that is too low pulls a whole cell. These
are found after the fit and said, or, for low losses, left out before a second one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fitting.fit.levels import log_levels
from fitting.laws.surface import best_point
from fitting.runs.tuned import TunedRuns
from fitting.surface.fit import SurfaceFit

FLAT = 0.3
"""Share of the loss's variance within cells below which lr and batch explain too little."""

FEWEST_LOW = 0.02
"""Smallest gap of ln loss below the fitted best that makes a run implausible: ten times noise."""

LOW_SIGMAS = 6.0
"""Robust standard deviations below the cell's best, likewise."""

MOST_OFF = 0.5
"""Share of cells with their optimum outside the values tried at which the fit is no use."""


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
    level = dict(zip(map(tuple, fit.cells.tolist()), log_levels(fit).tolist(), strict=True))
    sizes = zip(columns.params.tolist(), columns.tokens.tolist(), strict=True)
    best = np.array([level[size] for size in sizes])
    return best - np.log(columns.loss) > max(LOW_SIGMAS * fit.residual_scale, FEWEST_LOW)
