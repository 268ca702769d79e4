"""Damped Gauss-Newton on many members at once; what is minimised is said in `fitting.robust`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fitting.robust.problem import divide

if TYPE_CHECKING:
    from fitting.arrays import Floats, Mask
    from fitting.robust.problem import Problem

BLOCK_BYTES = 700_000
"""Size of the slopes of the members that are solved together: they stay in cache, and below the
1 MB from which each allocation costs page faults (measured: 6 microseconds a member, not 17)."""

ROUNDING = 1e-12
"""Share of the objective that a step may cost at the minimum itself, by rounding alone."""

FINALISTS = 24
"""Starts of a search that are followed to the end."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Where each member ended."""

    free: Floats
    """Free parameters, shape (b, p)."""
    objective: Floats
    """Shape (b,)."""
    level: Floats
    """Of each cell, shape (b, cells)."""

    def best(self) -> Floats:
        """Free parameters of the lowest member, shape (p,)."""
        lowest: Floats = self.free[int(np.argmin(self.objective))]
        return lowest


@dataclass(frozen=True, slots=True)
class View:
    """How the data look from each member."""

    residual: Floats
    """In units of delta, shape (b, n)."""
    level: Floats
    """Of each cell, shape (b, cells)."""
    downhill: Floats
    """Minus the gradient of the objective over delta^2, shape (b, p)."""
    curvature: Floats
    """Of the objective over delta^2, but for the ridge, shape (b, p, p)."""


@dataclass(slots=True)
class _Members:
    """The members of a block that still move; the first axis of each array is the member."""

    free: Floats
    objective: Floats
    """In units of delta^2."""
    residual: Floats
    """In units of delta, shape (b, n)."""
    slope: Floats
    """Of the model, shape (b, p, n)."""
    level: Floats
    """In units of delta, shape (b, cells)."""
    run_weights: Floats | None
    """Shape (b, n); None is 1 for all."""
    damping: Floats
    newton: Floats
    """mu, shape (b,)."""

    def keep(self, kept: Mask) -> None:
        """Drop the members that are not `kept`."""
        for name in self.__slots__:
            column = getattr(self, name)
            if column is not None:
                setattr(self, name, column[kept])


def search(problem: Problem[Any], starts: Floats, *, run_weights: Floats | None = None) -> Solution:
    """Minima from many starts, by successive halving.

    Every start is taken 4 steps; then, time and again, the best quarter 8 more, until 24 or
    fewer are left, which are followed until nothing improves. A start is dropped for being worse
    than three quarters of the others on its way, never by its first value alone.

    Args:
        problem: what is minimised.
        starts: free parameters, shape (b, p).
        run_weights: of the runs, shape (n,), the same for all starts; None is 1.

    Returns:
        The minima that were followed to the end, at least one.
    """

    def run(free: Floats, steps: int) -> Solution:
        shape = (len(free), len(problem.observed))
        weights = None if run_weights is None else np.broadcast_to(run_weights, shape)
        return solve(problem, free, run_weights=weights, steps=steps)

    left, steps = starts, 4
    while len(left) > FINALISTS:
        found = run(left, steps)
        order = np.argsort(found.objective, kind="stable")
        left, steps = found.free[order[: max(FINALISTS // 2, len(order) // 4)]], 8
    return run(left, 200)


def solve(
    problem: Problem[Any],
    start: Floats,
    *,
    run_weights: Floats | None = None,
    steps: int = 200,
    tolerance: float = 1e-7,
) -> Solution:
    """The minimum below each start, by damped steps on all members at once.

    Args:
        problem: what is minimised.
        start: free parameters, shape (b, p).
        run_weights: weight of each run for each member, shape (b, n); None is 1.
        steps: most steps to take.
        tolerance: a member has settled when a step lowers its objective by less than this
            share of it.
    """
    size = max(8, BLOCK_BYTES // (8 * start.shape[1] * len(problem.observed)))
    if problem.pace.together:
        size = len(start)
    found = []
    for first in range(0, len(start), size):
        block = slice(first, first + size)
        weights = None if run_weights is None else run_weights[block]
        found.append(_solve_block(problem, start[block], weights, steps, tolerance))
    free, objective, level = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Solution(free, objective * problem.delta**2, level * problem.delta)


def look(
    problem: Problem[Any],
    free: Floats,
    *,
    run_weights: Floats | None = None,
    level: Floats | None = None,
    mu: float = 1.0,
) -> View:
    """How the data look from free parameters.

    Args:
        problem: what is minimised.
        free: free parameters, shape (b, p).
        run_weights: weight of each run for each member, shape (b, n); None is 1.
        level: of each cell, to start from, shape (b, cells); None starts from weighted means.
        mu: curvature of the majoriser at 1, the second derivative at 0.
    """
    begin = None if level is None else level / problem.delta
    _, residual, slope, level = _evaluate(problem, free, run_weights, begin)
    weights = np.full(len(free), mu)
    members = _Members(free, free, residual, slope, level, run_weights, weights, weights)
    downhill, curvature, _ = _equations(problem, members)
    return View(residual, level * problem.delta, downhill, curvature)


def _solve_block(
    problem: Problem[Any],
    start: Floats,
    run_weights: Floats | None,
    steps: int,
    tolerance: float,
) -> tuple[Floats, Floats, Floats]:
    """Free parameters, objective and levels of one block of `solve`, in units of delta."""
    members = _Members(
        start.copy(),
        *_evaluate(problem, start, run_weights),
        run_weights,
        np.full(len(start), problem.pace.damping),
        np.ones(len(start)),
    )
    free, objective, level = (a.copy() for a in (members.free, members.objective, members.level))
    moving = np.arange(len(start))
    done = np.zeros(len(start), dtype=bool)
    for _ in range(steps):
        settled = _take_step(problem, members, tolerance)
        free[moving], objective[moving] = members.free, members.objective
        level[moving] = members.level
        if problem.pace.together:
            done |= settled
        elif settled.any():
            moving = moving[~settled]
            members.keep(~settled)
        if len(moving) == 0 or done.all():
            break
    return free, objective, level


def _evaluate(
    problem: Problem[Any],
    free: Floats,
    run_weights: Floats | None,
    level: Floats | None = None,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Objective over delta^2, residuals over delta, slopes, and levels over delta."""
    fitted, slope = problem.model.evaluate(problem.features, free)
    residual = np.subtract(problem.observed, fitted, out=fitted)
    residual /= problem.delta
    if not len(problem.cells.start):
        level = np.empty((len(free), 0))
    else:
        level = _best_level(problem, residual, run_weights, level)
        residual -= level[:, problem.cells.of_run]
    cost = problem.norm.value(residual)
    if run_weights is not None:
        cost *= run_weights
    shift = free - problem.towards
    pull = np.einsum("bp,bp->b", shift @ problem.precision, shift) / 2
    return cost.sum(axis=1) + pull, residual, slope, level


def _best_level(
    problem: Problem[Any], gap: Floats, run_weights: Floats | None, start: Floats | None
) -> Floats:
    """Level of each cell that minimises the norm of gap - level.

    Newton, its steps at most twice those of iterated weighted means: below that every step is
    sure to lower the objective.
    """
    cells, weights = problem.cells, np.ones_like(gap) if run_weights is None else run_weights
    level = cells.means(gap, weights) if start is None else start.copy()
    for _ in range(8):
        residual = gap - level[:, cells.of_run]
        weight, newton = problem.norm.weights(residual)
        robust = weights * weight
        slope = np.maximum(cells.sums(weights * newton), cells.sums(robust) / 2)
        level += divide(cells.sums(robust * residual), slope)
    return level


def _take_step(problem: Problem[Any], members: _Members, tolerance: float) -> Mask:
    """Move every member that a step improves; says which have settled."""
    pace = problem.pace
    step = _damped_step(problem, members)
    trial = members.free + np.clip(step, -pace.longest, pace.longest)
    objective, residual, slope, level = _evaluate(
        problem, trial, members.run_weights, members.level
    )
    gain = members.objective - objective
    better = gain > 0
    small = gain < tolerance * members.objective
    settled: Mask = (better & small) | (
        ~better & ((members.damping > pace.most) | (gain > -ROUNDING * members.objective))
    )
    members.damping = np.where(
        better, np.maximum(members.damping / pace.better, 1e-9), members.damping * pace.worse
    )
    if pace.newton:
        lower, higher = np.maximum(members.newton / 2, 1e-3), np.minimum(members.newton * 3, 1.0)
        members.newton = np.where(better, lower, higher)
    stay = ~better
    for name, new in (
        ("free", trial),
        ("objective", objective),
        ("residual", residual),
        ("slope", slope),
        ("level", level),
    ):
        new[stay] = getattr(members, name)[stay]
        setattr(members, name, new)
    return settled


def _equations(problem: Problem[Any], members: _Members) -> tuple[Floats, Floats, Floats]:
    """Minus the gradient, the curvature but for the ridge, and the curvature of each run."""
    weight, newton = problem.norm.weights(members.residual)
    curvature = newton + members.newton[:, None] * (weight - newton)
    weight *= members.residual
    if members.run_weights is not None:
        weight *= members.run_weights
        curvature *= members.run_weights
    slope = members.slope
    downhill = np.matmul(slope, weight[..., None])[..., 0] / problem.delta
    downhill -= (members.free - problem.towards) @ problem.precision
    curvature /= problem.delta**2
    weighted = slope * curvature[:, None]
    hessian: Floats = np.matmul(weighted, slope.transpose(0, 2, 1))
    if len(problem.cells.start):
        summed = problem.cells.sums(weighted)
        means = divide(summed, problem.cells.sums(curvature)[:, None])
        hessian -= np.matmul(summed, means.transpose(0, 2, 1))
    return downhill, hessian, curvature


def _damped_step(problem: Problem[Any], members: _Members) -> Floats:
    """Solution of (H + damping diag H) step = -gradient for each member, bent along the valley.

    Half of the geodesic acceleration is added where it is shorter than the step (Transtrum and
    Sethna 2012, arXiv 1201.5885): the second derivative of the model along the step, by one more
    evaluation, says how the valley curves. Sums of three mixed terms then settle in 60 steps
    instead of more than 300.
    """
    downhill, hessian, curvature = _equations(problem, members)
    hessian += problem.precision
    diagonal = np.einsum("bii->bi", hessian)
    floor = problem.pace.floor * (diagonal.max(axis=1, keepdims=True) + 1e-3)
    diagonal += members.damping[:, None] * diagonal + floor
    step = np.asarray(np.linalg.solve(hessian, downhill[..., None])[..., 0], dtype=np.float64)
    if not problem.accelerate:
        return step
    bend = _second_derivative(problem, members, step) * curvature
    turn = -np.linalg.solve(hessian, np.matmul(members.slope, bend[..., None]))[..., 0] / 2
    short = np.linalg.norm(turn, axis=1) < np.linalg.norm(step, axis=1)
    step[short] += turn[short]
    return step


def _second_derivative(problem: Problem[Any], members: _Members, step: Floats) -> Floats:
    """d^2 model / dt^2 along free + t step at t = 0, shape (b, n), by a forward difference."""
    t = 0.1
    ahead, _ = problem.model.evaluate(problem.features, members.free + t * step)
    gain = ahead - (problem.observed - members.residual * problem.delta)
    along = np.matmul(step[:, None], members.slope)[:, 0]
    found: Floats = (gain / t - along) * (2 / t)
    return found
