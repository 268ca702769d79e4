"""The solver below `fitting.surface.fit`: many robust fits of the three-term surface at once.

Residuals are r = ln loss - o_cell - ln(1 + q), in units of `NOISE`, with a free offset for each
cell. A fit minimises sum_i w_i 2 (sqrt(1 + r_i^2) - 1) + (v - mean)' precision (v - mean) over the
free weights v. Members of a batch differ in run weights (bootstraps) or in their start.

Offsets enter linearly: they are set to the weighted mean of each cell's residuals (variable
projection), and the Jacobian is centred by the same means, which makes the Gauss-Newton step
that of the joint problem (Golub and Pereyra 1973).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fitting.arrays import Floats, Integers
from fitting.laws.surface import COEFFICIENTS, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping


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

NOISE = 0.003
"""Scale of a residual of ln loss at which the robust loss turns from square to linear."""


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
class Problem:
    """Runs prepared for the solver, sorted by cell."""

    design: Floats
    """d ln(term) / d v of each term and run, shape (3, n, 12)."""
    log_loss: Floats
    """Shape (n,)."""
    cell: Integers
    """Index of each run's cell, ascending."""
    start: Integers
    """Index of each cell's first run."""
    cells: Floats
    """(params, tokens) of each cell, shape (cells, 2)."""
    mean: Floats
    """Prior mean of the free weights."""
    precision: Floats
    """Inverse prior covariance, shape (12, 12)."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a batch of fits stands; the first axis is the member."""

    weights: Floats
    """Free weights, shape (b, 12)."""
    objective: Floats
    """Shape (b,)."""
    residual: Floats
    """In units of NOISE, shape (b, n)."""
    robust: Floats
    """Run weight times the robust loss's weight, shape (b, n)."""
    slope: Floats
    """d ln(1 + q) / d v over NOISE, shape (b, n, 12)."""
    offset: Floats
    """Shape (b, cells)."""


def prepare(runs: Runs, *, mean: Floats, precision: Floats) -> Problem:
    """Sort runs by cell and take logs around the surface's reference."""
    order = np.lexsort((runs.tokens, runs.params))
    pairs = np.column_stack([runs.params, runs.tokens])[order]
    new = np.r_[True, (np.diff(pairs, axis=0) != 0).any(axis=1)]
    columns = np.column_stack(
        [
            np.ones(len(order)),
            np.log(runs.params / REFERENCE.params),
            np.log(runs.tokens / REFERENCE.tokens),
            np.log(runs.lr / REFERENCE.lr),
            np.log(runs.batch_tokens / REFERENCE.batch_tokens),
        ]
    )[order]
    by_term = basis().reshape(3, columns.shape[1], len(FREE))
    return Problem(
        design=np.einsum("nj,kjp->knp", columns, by_term),
        log_loss=np.log(runs.loss)[order],
        cell=np.cumsum(new) - 1,
        start=np.flatnonzero(new),
        cells=pairs[new],
        mean=mean,
        precision=precision,
    )


def evaluate(
    problem: Problem, weights: Floats, run_weights: Floats, *, start: Floats | None = None
) -> State:
    """Objective, residuals and slopes at free weights, offsets at their best.

    Args:
        problem: prepared runs and prior.
        weights: free weights, shape (b, 12).
        run_weights: weight of each sorted run for each member, shape (b, n).
        start: offsets to start from, shape (b, cells); None starts from weighted means.
    """
    # A term above exp(20) is 1e8 times the level: no run is there, and exp must not overflow.
    terms = np.exp(np.minimum(np.einsum("knp,bp->bkn", problem.design, weights, optimize=True), 20))
    scale = 1 + terms.sum(axis=1)
    gap = problem.log_loss - np.log(scale)
    offset = best_offsets(problem, gap, run_weights, start=start)
    residual = (gap - offset[:, problem.cell]) / NOISE
    shift = weights - problem.mean
    ridge = np.einsum("bp,pq,bq->b", shift, problem.precision, shift)
    misfit = (run_weights * 2 * (np.sqrt(1 + residual**2) - 1)).sum(axis=1)
    shares = terms / scale[:, None] / NOISE
    return State(
        weights=weights,
        objective=misfit + ridge,
        residual=residual,
        robust=run_weights / np.sqrt(1 + residual**2),
        slope=np.einsum("bkn,knp->bnp", shares, problem.design, optimize=True),
        offset=offset,
    )


def best_offsets(
    problem: Problem, gap: Floats, run_weights: Floats, *, start: Floats | None
) -> Floats:
    """Offset of each cell that minimises the robust loss.

    Newton, its steps at most twice those of iterated weighted means: below that every step is
    sure to lower the objective.
    """
    offset = cell_means(problem, gap, run_weights) if start is None else start.copy()
    for _ in range(8):
        residual = (gap - offset[:, problem.cell]) / NOISE
        flatness = 1 / np.sqrt(1 + residual**2)
        robust = run_weights * flatness
        pull = np.add.reduceat(robust * residual, problem.start, axis=1)
        mean_slope = np.add.reduceat(robust, problem.start, axis=1)
        slope = np.add.reduceat(robust * flatness**2, problem.start, axis=1)
        slope = np.maximum(slope, mean_slope / 2)
        offset += NOISE * np.divide(pull, slope, out=np.zeros_like(pull), where=slope > 0)
    return offset


def cell_means(problem: Problem, values: Floats, weights: Floats) -> Floats:
    """Weighted mean of each cell over axis 1; 0 for a cell without weight."""
    total = np.add.reduceat(weights, problem.start, axis=1)
    summed = np.add.reduceat(weights * values, problem.start, axis=1)
    return np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)


def gradient(problem: Problem, state: State) -> Floats:
    """Half the gradient of the objective in the free weights; offsets are at their best."""
    shift = state.weights - problem.mean
    pull = np.einsum("bn,bnp->bp", state.robust * state.residual, state.slope, optimize=True)
    slope: Floats = shift @ problem.precision - pull
    return slope


def normal_matrix(problem: Problem, state: State) -> Floats:
    """Half the Gauss-Newton Hessian of the objective, offsets projected out."""
    weighted = state.slope * state.robust[..., None]
    summed = np.add.reduceat(weighted, problem.start, axis=1)
    total = np.add.reduceat(state.robust, problem.start, axis=1)[..., None]
    means = np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)
    joint = np.matmul(weighted.transpose(0, 2, 1), state.slope)
    matrix: Floats = joint - np.matmul(summed.transpose(0, 2, 1), means) + problem.precision
    return matrix


def solve(
    problem: Problem,
    start: Floats,
    run_weights: Floats,
    *,
    steps: int = 100,
    tolerance: float = 1e-6,
) -> State:
    """Levenberg-Marquardt on every member at once, each with its own damping.

    Args:
        problem: prepared runs and prior.
        start: free weights, shape (b, 12).
        run_weights: weight of each sorted run for each member, shape (b, n).
        steps: most steps to take.
        tolerance: a member has settled when a step lowers its objective by less than this share.
    """
    state = evaluate(problem, start, run_weights)
    damping = np.full(len(start), 1e-3)
    settled = np.zeros(len(start), dtype=bool)
    for _ in range(steps):
        matrix = normal_matrix(problem, state)
        diagonal = np.einsum("bii->bi", matrix)
        damped = matrix + (damping[:, None] * diagonal)[..., None] * np.eye(len(FREE))
        step = np.linalg.solve(damped, gradient(problem, state)[..., None])[..., 0]
        trial = evaluate(problem, state.weights - step, run_weights, start=state.offset)
        better = trial.objective < state.objective
        settled |= better & (state.objective - trial.objective < tolerance * state.objective)
        settled |= ~better & (damping > 1e4)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-9, 1e6)
        state = merge(state, trial, better)
        if settled.all():
            break
    return state


def merge(state: State, trial: State, better: NDArray[np.bool_]) -> State:
    """The trial where it is better, else the state."""

    def pick(new: Floats, old: Floats) -> Floats:
        chosen: Floats = np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        return chosen

    return State(
        weights=pick(trial.weights, state.weights),
        objective=pick(trial.objective, state.objective),
        residual=pick(trial.residual, state.residual),
        robust=pick(trial.robust, state.robust),
        slope=pick(trial.slope, state.slope),
        offset=pick(trial.offset, state.offset),
    )
