"""Fit the three-term surface to runs, with the covariance of its weights.

Each (params, tokens) cell has a free offset, so what is learnt about lr and batch does not
depend on a loss law. See `fitting.surface` for the form and `fitting.surface_solver` for the
objective and how it is minimised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.errors import FitError, InputError
from fitting.laws import Covariance
from fitting.surface import COEFFICIENTS, Surface, best_point, surface_of
from fitting.surface_solver import (
    FREE,
    NOISE,
    Floats,
    Problem,
    Runs,
    State,
    basis,
    prepare,
    solve,
)

NEAR = 0.02
"""Gap of ln loss to the cell's best at which a run's weight is half."""

NEUTRAL: dict[str, tuple[float, float]] = {
    "progress_const": (-4.0, 1.0),
    "progress_params": (0.1, 1.0),
    "progress_lr": (-0.8, 1.0),
    "noise_const": (-4.5, 1.0),
    "noise_params": (0.2, 1.0),
    "noise_tokens": (0.2, 1.0),
    "noise_lr": (0.5, 1.0),
    "noise_batch_tokens": (-1.0, 1.0),
    "heat_const": (-5.5, 1.0),
    "heat_params": (0.5, 1.0),
    "heat_tokens": (0.0, 1.0),
    "heat_lr": (1.5, 1.0),
}
"""Start value and standard deviation of each free weight when nothing else is known: the
published theory's signs and sizes, nothing from Step Law. *Assumed.*"""


@dataclass(frozen=True, slots=True)
class WeightPrior:
    """What is known of the free weights before the runs."""

    mean: Floats
    """In the order of `FREE`, shape (12,)."""
    covariance: Floats
    """Shape (12, 12), positive definite."""


@dataclass(frozen=True, slots=True)
class SurfaceFit:
    """A fitted surface and how well it is known."""

    surface: Surface
    """With the covariance of all fifteen weights."""
    samples: Floats
    """Free weights of each bootstrap, shape (bootstraps, 12)."""
    cells: Floats
    """(params, tokens) of each cell, shape (cells, 2)."""
    offsets: Floats
    """ln of the loss level of each cell, shape (cells,)."""
    residual_scale: float
    """Robust standard deviation of ln(loss / fit) over runs within 2% of their cell's best."""
    r2: float
    """Share of the variance of ln loss within cells that the fit explains, weighted as fitted."""
    n: int
    """Runs used."""


def neutral_prior() -> WeightPrior:
    """The prior of a fit that is told nothing."""
    values = np.array([NEUTRAL[name] for name in FREE])
    return WeightPrior(mean=values[:, 0], covariance=np.diag(values[:, 1] ** 2))


def fit_surface(
    runs: Runs,
    *,
    prior: WeightPrior | None = None,
    starts: int = 4,
    bootstraps: int = 200,
    seed: int = 0,
) -> SurfaceFit:
    """Fit the surface to runs.

    A run weighs 1 / (1 + (gap / 2%)^2), gap its ln loss over its cell's best. The best of
    `starts` minima is kept. The covariance is that of `bootstraps` refits in which cells are
    drawn with replacement and, within each drawn cell, runs.

    Args:
        runs: finished runs, no diverged ones; at least one cell of 3 or more.
        prior: of the free weights; None is `neutral_prior`.
        starts: minima to compare, >= 1; the first start is the prior mean.
        bootstraps: refits for the covariance; 0 leaves it unknown.
        seed: of starts and bootstraps.

    Raises:
        InputError: a value is not finite and above 0, or columns differ in length.
        FitError: the fitted terms enclose no optimum, or no cell has 3 runs.
    """
    check_runs(runs)
    known = neutral_prior() if prior is None else prior
    precision: Floats = np.linalg.inv(known.covariance).astype(np.float64)
    problem = prepare(runs, mean=known.mean, precision=precision)
    if np.bincount(problem.cell).max() < 3:
        raise FitError("surface: no (params, tokens) cell has 3 runs; add runs at one size")
    weight = nearness(problem)
    rng = np.random.default_rng(seed)
    state = best_start(problem, weight, rng=rng, starts=starts)
    samples = bootstrap(problem, weight, state.weights[0], rng=rng, count=bootstraps)
    surface = to_surface(state.weights[0], samples)
    best_point(surface, *problem.cells[0])
    return SurfaceFit(
        surface=surface,
        samples=samples,
        cells=problem.cells,
        offsets=state.offset[0],
        residual_scale=residual_scale(problem, state),
        r2=explained(problem, state, weight),
        n=len(problem.log_loss),
    )


def check_runs(runs: Runs) -> None:
    """Refuse columns that no log can be taken of.

    Raises:
        InputError: the column and the first row that is not finite and above 0.
    """
    columns = {name: getattr(runs, name) for name in Runs.__slots__}
    for name, column in columns.items():
        if len(column) != len(runs.loss):
            raise InputError(f"runs: {name} has {len(column)} rows, loss has {len(runs.loss)}")
        bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
        if len(bad):
            raise InputError(
                f"runs row {bad[0] + 1}, column {name}: {column[bad[0]]} is not above 0"
            )
    if len(runs.loss) == 0:
        raise FitError("surface: no runs to fit")


def nearness(problem: Problem) -> Floats:
    """Weight of each run: 1 / (1 + (gap / NEAR)^2), gap its ln loss over its cell's best."""
    best = np.minimum.reduceat(problem.log_loss, problem.start)
    weight: Floats = 1 / (1 + ((problem.log_loss - best[problem.cell]) / NEAR) ** 2)
    return weight


def best_start(problem: Problem, weight: Floats, *, rng: np.random.Generator, starts: int) -> State:
    """The lowest of the minima from the prior mean and from draws around it; one member."""
    spread = rng.normal(scale=0.3, size=(starts, len(FREE)))
    spread[0] = 0
    state = solve(problem, problem.mean + spread, np.broadcast_to(weight, (starts, len(weight))))
    lowest = int(np.argmin(state.objective))
    return solve(problem, state.weights[[lowest]], weight[None])


def bootstrap(
    problem: Problem, weight: Floats, start: Floats, *, rng: np.random.Generator, count: int
) -> Floats:
    """Free weights of `count` refits to resampled cells and runs, shape (count, 12)."""
    sizes = np.bincount(problem.cell)
    blocks = []
    # Blocks of 25 keep the slopes of 2,000 runs under 10 MB, which stays in cache.
    for first in range(0, count, 25):
        members = min(25, count - first)
        drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=members)
        repeats = np.concatenate(
            [rng.multinomial(size, np.full(size, 1 / size), size=members) for size in sizes],
            axis=1,
        )
        weights = weight * repeats * drawn[:, problem.cell]
        state = solve(problem, np.tile(start, (members, 1)), weights, steps=20)
        blocks.append(state.weights)
    return np.concatenate(blocks) if blocks else np.empty((0, len(FREE)))


def to_surface(free: Floats, samples: Floats) -> Surface:
    """The surface of free weights, with the covariance of their samples where there are any."""
    matrix = basis()
    covariance = None
    if len(samples) > 1:
        spread = matrix @ np.cov(samples.T) @ matrix.T
        covariance = Covariance(names=list(COEFFICIENTS), matrix=((spread + spread.T) / 2).tolist())
    return surface_of((matrix @ free).tolist(), covariance=covariance)


def residual_scale(problem: Problem, state: State) -> float:
    """1.4826 times the median absolute residual of ln loss within NEAR of the cell's best."""
    best = np.minimum.reduceat(problem.log_loss, problem.start)
    near = problem.log_loss - best[problem.cell] < NEAR
    return float(1.4826 * np.median(np.abs(state.residual[0, near])) * NOISE)


def explained(problem: Problem, state: State, weight: Floats) -> float:
    """1 - weighted residual variance / weighted variance of ln loss within cells."""
    total = np.add.reduceat(weight, problem.start)
    mean = np.add.reduceat(weight * problem.log_loss, problem.start) / total
    spread = np.sum(weight * (problem.log_loss - mean[problem.cell]) ** 2)
    left = np.sum(weight * (state.residual[0] * NOISE) ** 2)
    return float(1 - left / spread)
