"""The three-term surface as a robust fit: its free weights, its slopes, what is minimised.

Residuals are r = ln loss - level of the cell - ln(1 + q), in units of `NOISE`, under the soft norm
of `fitting.robust`, with a ridge (v - mean)' precision (v - mean) over the free weights v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats
from fitting.laws.surface import COEFFICIENTS, REFERENCE
from fitting.robust import SOFT, STEADY, Cells, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.robust import Evaluated

TIES: Mapping[str, Mapping[str, float]] = {
    # Progress falls with the summed learning rate S lr = D lr / B.
    "progress_const": {"progress_const": 1},
    "progress_params": {"progress_params": 1},
    "progress_lr": {"progress_lr": 1, "progress_tokens": 1, "progress_batch_tokens": -1},
    "noise_const": {"noise_const": 1},
    "noise_params": {"noise_params": 1},
    "noise_tokens": {"noise_tokens": 1},
    "noise_lr": {"noise_lr": 1},
    "noise_batch_tokens": {"noise_batch_tokens": 1},
    # Heat does not depend on the batch.
    "heat_const": {"heat_const": 1},
    "heat_params": {"heat_params": 1},
    "heat_tokens": {"heat_tokens": 1},
    "heat_lr": {"heat_lr": 1},
}
"""The twelve free weights, each with the weights of the surface that it moves."""

FREE = tuple(TIES)
"""Names of the free weights, in the order of every vector here."""

TERM_OF = np.array([("progress", "noise", "heat").index(name.partition("_")[0]) for name in FREE])
"""The term that each free weight belongs to."""

NOISE = 0.003
"""Scale of a residual of ln loss at which the robust norm turns from square to linear."""

HIGHEST = 20.0
"""Exponents are cut here: a term above exp(20) is 1e8 times the level, and no run is there."""


def basis() -> Floats:
    """The 15 x 12 matrix that takes free weights to the surface's weights."""
    matrix = np.zeros((len(COEFFICIENTS), len(FREE)))
    for column, moved in enumerate(TIES.values()):
        for name, share in moved.items():
            matrix[COEFFICIENTS.index(name), column] = share
    return matrix


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs as columns of equal length; every value finite and above 0."""

    params: Floats
    tokens: Floats
    lr: Floats
    batch_tokens: Floats
    loss: Floats
    """Final loss in nats per token."""


@dataclass(frozen=True, slots=True)
class SurfaceModel:
    """ln(1 + q) in the free weights."""

    sizes: Floats
    """(params, tokens) of each cell of the runs, shape (cells, 2)."""

    def evaluate(self, rows: Floats, free: Floats) -> Evaluated:
        """ln(1 + q), shape (b, n), and its slope, shape (b, 12, n).

        Args:
            rows: d ln(term) / d weight of the weight's own term, shape (12, n).
            free: free weights, shape (b, 12).
        """
        terms = np.empty((3, len(free), rows.shape[1]))
        for term, value in enumerate(terms):
            own = term == TERM_OF
            np.matmul(free[:, own], rows[own], out=value)
        np.exp(np.minimum(terms, HIGHEST, out=terms), out=terms)
        scale = 1 + terms.sum(axis=0)
        terms /= scale
        slope = terms[TERM_OF].transpose(1, 0, 2) * rows
        return np.log(scale, out=scale), slope


SurfaceProblem = Problem[SurfaceModel]


def prepare(runs: Runs, *, mean: Floats, precision: Floats) -> SurfaceProblem:
    """What is minimised: runs sorted by cell, logs around the surface's reference.

    Args:
        runs: the runs.
        mean: prior mean of the free weights, shape (12,).
        precision: inverse prior covariance, shape (12, 12).
    """
    order = np.lexsort((runs.tokens, runs.params))
    pairs = np.column_stack([runs.params, runs.tokens])[order]
    new = np.r_[True, (np.diff(pairs, axis=0) != 0).any(axis=1)]
    columns = np.stack(
        [
            np.ones(len(order)),
            np.log(runs.params / REFERENCE.params),
            np.log(runs.tokens / REFERENCE.tokens),
            np.log(runs.lr / REFERENCE.lr),
            np.log(runs.batch_tokens / REFERENCE.batch_tokens),
        ]
    )[:, order]
    by_term = basis().reshape(3, len(columns), len(FREE))
    return Problem(
        model=SurfaceModel(pairs[new]),
        features=np.stack(
            [by_term[term, :, place] @ columns for place, term in enumerate(TERM_OF)]
        ),
        observed=np.log(runs.loss)[order],
        ridge=precision,
        towards=mean,
        delta=NOISE,
        norm=SOFT,
        cells=Cells(of_run=np.cumsum(new) - 1, start=np.flatnonzero(new)),
        pace=STEADY,
    )
