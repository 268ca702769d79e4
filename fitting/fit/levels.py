"""The loss level of a surface's cells at their optimum, and the loss law fitted to it.

The surface leaves each (params, tokens) cell a free offset; at the cell's best lr and batch the
offset and the penalty there make its level, which the loss law foretells for other sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fitting.arrays import Floats
from fitting.errors import FitError
from fitting.intervals import Z80
from fitting.laws.surface import best_point, log_penalty
from fitting.loss.fit import fit_loss
from fitting.loss.result import LossFit
from fitting.runs.table import Runs
from fitting.surface.fit import SurfaceFit
from fitting.surface.solver import Runs as Columns

FEW_PERCENT, MANY_PERCENT = 0.02, 0.10
"""Range of ln penalty over which its relative error is measured."""

FEWEST_PAID = 10
"""Runs in that range that a relative error needs."""

FEWEST_SIZES_OF_LOSS = 6
"""Distinct (params, tokens) that a loss law needs, as many as `fit_loss` needs runs."""

SEED = 0
"""Of starts and bootstraps, so that a table gives the same laws again."""


def log_levels(fit: SurfaceFit) -> Floats:
    """ln loss of each cell at the surface's optimum, shape (cells,)."""
    found = []
    for (params, tokens), offset in zip(fit.cells.tolist(), fit.offsets.tolist(), strict=True):
        lr, batch_tokens = best_point(fit.surface, params, tokens)
        found.append(
            offset
            + log_penalty(
                fit.surface, params=params, tokens=tokens, lr=lr, batch_tokens=batch_tokens
            )
        )
    return np.array(found)


def fit_level(fit: SurfaceFit) -> Callable[[float, float], tuple[float, float]] | None:
    """The loss level of a surface fit's cells; None where they are too few for a law."""
    try:
        law = fit_loss(
            fit.cells[:, 0],
            fit.cells[:, 1],
            np.exp(log_levels(fit)),
            rng=np.random.default_rng(SEED),
        )
    except FitError:
        return None

    def predict(params: float, tokens: float) -> tuple[float, float]:
        found = law.predict(params, tokens)
        width = np.log(found.high / found.low) / (2 * Z80)
        return float(np.log(found.value[0])), float(width[0])

    return predict


def fit_level_law(runs: Runs, surface: SurfaceFit | None) -> tuple[LossFit | None, str | None]:
    """The loss law: of the cells at their optimum, or of every run where nothing was tuned."""
    rng = np.random.default_rng(SEED)
    finished = runs.finished
    unique = finished.get("unique_tokens")
    repeats = unique is not None and bool((unique < finished["tokens"]).any())
    try:
        if surface is not None and not repeats:
            cells = surface.cells
            levels = np.exp(log_levels(surface))
            return sound(fit_loss(cells[:, 0], cells[:, 1], levels, rng=rng)), None
        sizes = finished[["params", "tokens"]].drop_duplicates()
        if len(sizes) < FEWEST_SIZES_OF_LOSS:
            raise FitError(f"{len(sizes)} distinct sizes, {FEWEST_SIZES_OF_LOSS} needed; add sizes")
        error = finished.get("loss_se")
        loss = fit_loss(
            finished["params"],
            finished["tokens"],
            finished["loss"],
            unique_tokens=None if unique is None else unique.fillna(finished["tokens"]),
            loss_se=None if error is None else error.fillna(0.0),
            rng=rng,
        )
        loss = sound(loss)
    except FitError as error:
        return None, f"no loss law: {error}"
    if surface is None:
        return loss, "the loss law is of every run as it is, not of the best lr and batch"
    return loss, "data repeat, so the loss law is of every run, also those off the best lr"


def sound(loss: LossFit) -> LossFit:
    """The loss law, if all its numbers are.

    Raises:
        FitError: coefficients or their covariance overflowed: the runs leave them open.
    """
    numbers = [*loss.coefficients.values(), loss.scatter, *loss.covariance_matrix.ravel()]
    if not np.isfinite(numbers).all():
        raise FitError(
            f"{loss.n} runs leave its coefficients open beyond what numbers can hold; add sizes"
        )
    return loss


def penalty_scatter(columns: Columns, fit: SurfaceFit) -> float | None:
    """Standard deviation of ln(loss / fit) as a share of ln penalty, over runs that pay 2% to 10%.

    Robust: 1.4826 times the median of |residual| / penalty; None with fewer than 10 such runs.
    """
    lines = np.column_stack(
        [columns.params, columns.tokens, columns.lr, columns.batch_tokens, np.log(columns.loss)]
    )
    best = {
        (params, tokens): (offset, level - offset)
        for (params, tokens), offset, level in zip(
            fit.cells.tolist(), fit.offsets.tolist(), log_levels(fit).tolist(), strict=True
        )
    }
    shares = []
    for params, tokens, lr, batch_tokens, log_loss in lines.tolist():
        offset, least = best[params, tokens]
        here = log_penalty(
            fit.surface, params=params, tokens=tokens, lr=lr, batch_tokens=batch_tokens
        )
        paid = here - least
        if FEW_PERCENT <= paid <= MANY_PERCENT:
            shares.append(abs(log_loss - offset - here) / paid)
    return float(1.4826 * np.median(shares)) if len(shares) >= FEWEST_PAID else None
