"""The solver below `fitting.loss.fit`: many robust fits of one loss family at once.

A fit minimises sum_i w_i H(r_i) + (delta^2 / 2) sum_j ridge_j (v_j - towards_j)^2 over the free
parameters v of a family, r = ln loss - ln fit and H Huber's function: r^2 / 2 up to delta,
delta (|r| - delta / 2) beyond. Members of a batch differ in their start (a search) or in the
weights of the runs (bootstraps).

Huber at a delta far below the scatter is nearly the sum of absolute residuals, on which
iterated weights converge slowly and Newton's step, which sees only the runs within delta, is
wild. Steps are therefore taken with the curvature 1 within delta and mu delta / |r| beyond: mu 1
is iterated weights, a majoriser; mu 0 is Newton's. Each member lowers mu while that works.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from fitting.arrays import Floats
    from fitting.loss.families import Family
    from fitting.loss.slopes import Evaluated, Features

DELTA = 1e-3
"""Residual of ln loss at which Huber's function turns from square to linear (2203.15556)."""

BLOCK_BYTES = 700_000
"""Size of the slopes of the members that are solved together: they stay in cache, and below the
1 MB from which each allocation costs page faults (measured: 6 microseconds a member, not 17)."""

LONGEST_STEP = 3.0
"""No parameter moves by more in one step: all are logs or exponents."""

FINALISTS = 24
"""Starts of a search that are followed to the end."""

DAMPED_OUT = 1e6
"""Damping at which no useful step is left."""


class Model(Protocol):
    """What is fitted: a loss family, or a form of the loss against step."""

    @property
    def evaluate(self) -> Callable[[Any, Floats], Evaluated]:
        """Features and vectors to ln loss and its slope."""


AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Generic[AnyModel]):
    """What is minimised, apart from the weights of the runs."""

    family: AnyModel
    features: Any
    """What the family's `evaluate` takes."""
    log_loss: Floats
    """Shape (n,)."""
    ridge: Floats
    """Pull of each parameter towards `towards`, shape (p,), >= 0."""
    towards: Floats
    """Shape (p,)."""
    delta: float = DELTA
    """Huber's, > 0."""
    accelerate: bool = True
    """Whether steps bend along the valley; one more evaluation each."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Where each member ended."""

    free: Floats
    """Free parameters, shape (b, p)."""
    objective: Floats
    """Shape (b,)."""

    def best(self) -> Floats:
        """Free parameters of the lowest member, shape (p,)."""
        lowest: Floats = self.free[int(np.argmin(self.objective))]
        return lowest


@dataclass(slots=True)
class Members:
    """The members of a block that still move; the first axis of each array is the member."""

    free: Floats
    objective: Floats
    """In units of delta^2."""
    residual: Floats
    """In units of delta, shape (b, n)."""
    slope: Floats
    """Of ln fit, shape (b, p, n)."""
    run_weights: Floats | None
    """Shape (b, n); None is 1 for all."""
    damping: Floats
    newton: Floats
    """mu, shape (b,)."""

    def keep(self, kept: np.ndarray) -> None:
        """Drop the members that are not `kept`."""
        for name in self.__slots__:
            column = getattr(self, name)
            if column is not None:
                setattr(self, name, column[kept])


def make_problem(
    family: Family,
    features: Features,
    log_loss: Floats,
    *,
    ridge: float = 0.0,
    delta: float = DELTA,
) -> Problem[Family]:
    """The problem of a family with one strength of ridge on its exponents.

    Args:
        family: what is fitted.
        features: of n runs.
        log_loss: ln of the loss in nats per token, shape (n,).
        ridge: pull on each exponent of the family, 0 for none; 1 costs as much for a deviation
            of 1 as one run that is off by 1.0 delta does.
        delta: Huber's.
    """
    return Problem(
        family=family,
        features=features,
        log_loss=log_loss,
        ridge=np.array([ridge if name in family.exponents else 0.0 for name in family.names]),
        towards=np.array([family.towards.get(name, 0.0) for name in family.names]),
        delta=delta,
        # Chinchilla's five settle in as many steps without, at two thirds of the time.
        accelerate=len(family.names) > 5,
    )


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
        shape = (len(free), len(problem.log_loss))
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
    free, objective = start.copy(), np.empty(len(start))
    size = max(8, BLOCK_BYTES // (8 * start.shape[1] * len(problem.log_loss)))
    for first in range(0, len(start), size):
        block = slice(first, first + size)
        weights = None if run_weights is None else run_weights[block]
        free[block], objective[block] = solve_block(
            problem, start[block], weights, steps=steps, tolerance=tolerance
        )
    return Solution(free, objective * problem.delta**2)


def solve_block(
    problem: Problem[Any],
    start: Floats,
    run_weights: Floats | None,
    *,
    steps: int,
    tolerance: float,
) -> tuple[Floats, Floats]:
    """Free parameters and objective (over delta^2) of one block of `solve`."""
    members = Members(
        start.copy(),
        *evaluate(problem, start, run_weights),
        run_weights,
        np.full(len(start), 1e-2),
        np.ones(len(start)),
    )
    free, objective = members.free.copy(), members.objective.copy()
    moving = np.arange(len(start))
    for _ in range(steps):
        settled = take_step(problem, members, tolerance)
        free[moving], objective[moving] = members.free, members.objective
        if settled.any():
            moving = moving[~settled]
            members.keep(~settled)
        if len(moving) == 0:
            break
    return free, objective


def evaluate(
    problem: Problem[Any], free: Floats, run_weights: Floats | None
) -> tuple[Floats, Floats, Floats]:
    """Objective over delta^2, residuals over delta, and slopes of ln fit."""
    log_fit, slope = problem.family.evaluate(problem.features, free)
    residual = np.subtract(problem.log_loss, log_fit, out=log_fit)
    residual /= problem.delta
    # Huber's function is c (|u| - c / 2) with c = min(|u|, 1).
    size = np.abs(residual)
    capped = np.minimum(size, 1.0)
    size -= capped / 2
    size *= capped
    if run_weights is not None:
        size *= run_weights
    pull = ((free - problem.towards) ** 2 @ problem.ridge) / 2
    return size.sum(axis=1) + pull, residual, slope


def take_step(problem: Problem[Any], members: Members, tolerance: float) -> np.ndarray:
    """Move every member that a step improves; says which have settled."""
    step = damped_step(problem, members)
    trial = members.free + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
    objective, residual, slope = evaluate(problem, trial, members.run_weights)
    gain = members.objective - objective
    better = gain > 0
    small = gain < tolerance * members.objective
    settled: np.ndarray = (better & small) | (
        ~better & ((members.damping > DAMPED_OUT) | (gain > -1e-12 * members.objective))
    )
    members.damping = np.where(better, np.maximum(members.damping / 5, 1e-9), members.damping * 6)
    members.newton = np.where(
        better, np.maximum(members.newton / 2, 1e-3), np.minimum(members.newton * 3, 1.0)
    )
    stay = ~better
    for name, new in (
        ("free", trial),
        ("objective", objective),
        ("residual", residual),
        ("slope", slope),
    ):
        new[stay] = getattr(members, name)[stay]
        setattr(members, name, new)
    return settled


def damped_step(problem: Problem[Any], members: Members) -> Floats:
    """Solution of (H + damping diag H) step = -gradient for each member, bent along the valley.

    Half of the geodesic acceleration is added where it is shorter than the step (Transtrum and
    Sethna 2012, arXiv 1201.5885): the second derivative of ln fit along the step, by one more
    evaluation, says how the valley curves. Sums of three mixed terms then settle in 60 steps
    instead of more than 300.
    """
    size = np.abs(members.residual)
    curvature = members.newton[:, None] / np.maximum(size, 1.0)
    curvature[size <= 1] = 1.0
    pull = np.clip(members.residual, -1, 1)
    if members.run_weights is not None:
        pull *= members.run_weights
        curvature *= members.run_weights
    slope = members.slope
    downhill = np.matmul(slope, pull[..., None])[..., 0] / problem.delta
    downhill -= problem.ridge * (members.free - problem.towards)
    curvature /= problem.delta**2
    hessian = np.matmul(slope * curvature[:, None], slope.transpose(0, 2, 1))
    diagonal = np.einsum("bii->bi", hessian)
    diagonal += problem.ridge
    # The floor keeps a term that has vanished, whose slopes are 0, from making H singular.
    floor = 1e-9 * diagonal.max(axis=1, keepdims=True) + 1e-12
    diagonal += members.damping[:, None] * diagonal + floor
    step: Floats = np.linalg.solve(hessian, downhill[..., None])[..., 0]
    if not problem.accelerate:
        return step
    bend = second_derivative(problem, members, step) * curvature
    turn = -np.linalg.solve(hessian, np.matmul(slope, bend[..., None]))[..., 0] / 2
    short = np.linalg.norm(turn, axis=1) < np.linalg.norm(step, axis=1)
    step[short] += turn[short]
    return step


def second_derivative(problem: Problem[Any], members: Members, step: Floats) -> Floats:
    """d^2 ln fit / dt^2 along free + t step at t = 0, shape (b, n), by a forward difference."""
    t = 0.1
    ahead, _ = problem.family.evaluate(problem.features, members.free + t * step)
    gain = ahead - (problem.log_loss - members.residual * problem.delta)
    along = np.matmul(step[:, None], members.slope)[:, 0]
    found: Floats = (gain / t - along) * (2 / t)
    return found
