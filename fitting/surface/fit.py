"""Fit the three-term surface to runs, with the covariance of its weights.

Each (params, tokens) cell has a free offset, so what is learnt about lr and batch does not
depend on a loss law. See `fitting.laws.surface` for the form and `fitting.surface.solver` for the
objective and how it is minimised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.cells.spline import measured_optima
from fitting.errors import FitError, InputError
from fitting.laws.law import Covariance, Quantity
from fitting.laws.surface import COEFFICIENTS, REFERENCE, Surface, best_point, surface_of
from fitting.robust import Solution, look, solve
from fitting.surface.line import Line, combine, line_gradient, optimum_lines, shift_line
from fitting.surface.prior import neutral_prior
from fitting.surface.solver import (
    FREE,
    NOISE,
    Runs,
    SurfaceProblem,
    basis,
    prepare,
)

NEAR = 0.03
"""Gap of ln loss to the cell's best at which a run's weight is half. A compromise: held out
inside Step Law's runs, 1% extrapolates best up to 268M and 4% to 429M, by 0.04% of the loss each
(tests/benchmarks/surface_choices.py)."""

REACH = 1.5
"""Distance in (ln N, ln D) from the target at which a run's weight is half (fitting-notes)."""

FEWEST_CELLS = 8
"""Cells from which drawing cells alone gives their spread."""

SCATTER = 0.2
"""sd of ln of a cell's measured optimum over the fitted one, in lr and in batch, where no cell
has runs enough to measure it. *Assumed*: Step Law's cells of up to 268M scatter by 0.1 about
their own best line and by 0.3 about the surface."""

SCATTER_CELLS = 10
"""How many measured cells that assumption weighs as much as. *Assumed*."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """Standard deviations of ln of cells' measured optima over the fitted ones."""

    lr: float
    batch_tokens: float
    cells: int
    """Cells it was measured on."""


@dataclass(frozen=True, slots=True)
class SurfaceFit:
    """A fitted surface and how well it is known."""

    surface: Surface
    """With the covariance of all fifteen weights; a line prior's shift included."""
    runs_line: Line | None
    """The optimum's line by the runs alone; None without bootstraps."""
    line: Line | None
    """The same with the line prior, where one was given."""
    scatter: Scatter
    cells: Floats
    """(params, tokens) of each cell, shape (cells, 2)."""
    offsets: Floats
    """ln of the loss level of each cell, shape (cells,)."""
    residual_scale: float
    """Robust standard deviation of ln(loss / fit) over runs within 3% of their cell's best."""
    r2: float
    """Share of the variance of ln loss within cells that the fit explains, weighted as fitted."""
    n: int
    """Runs used."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a fit does."""

    starts: int = 4
    """Minima to compare, >= 1; the first start is the prior mean."""
    bootstraps: int = 200
    """Refits for the covariance; 0 leaves it unknown."""
    seed: int = 0
    """Of starts and bootstraps."""


EFFORT = Effort()
"""The work of an ordinary fit."""


def fit_surface(
    runs: Runs,
    *,
    line_prior: Line | None = None,
    target: tuple[float, float] | None = None,
    effort: Effort = EFFORT,
) -> SurfaceFit:
    """Fit the surface to runs.

    A run weighs 1 / (1 + (gap / 3%)^2), gap its ln loss over its cell's best, and with a target
    also 1 / (1 + (d / 1.5)^2), d its distance to the target in (ln N, ln D), over the largest.
    The covariance is that of refits to cells drawn with replacement (see `resampled`), plus that
    of the ridge: what no run speaks of is as wide as its prior.

    Args:
        runs: finished runs, no diverged ones; at least one cell of 3 or more.
        line_prior: where the optimum lies by other knowledge; needs bootstraps.
        target: params and tokens that the fit is for; None is for all sizes alike.
        effort: starts, bootstraps and seed.

    Raises:
        InputError: a value is not finite and above 0, or columns differ in length.
        FitError: the fitted terms enclose no optimum, or no cell has 3 runs.
    """
    check_runs(runs)
    known = neutral_prior()
    precision: Floats = np.linalg.inv(known.covariance).astype(np.float64)
    problem = prepare(runs, mean=known.mean, precision=precision)
    cell = problem.cells.of_run
    if np.bincount(cell).max() < 3:
        raise FitError("surface: no (params, tokens) cell has 3 runs; add runs at one size")
    weight = nearness(problem)
    if target is not None:
        weight = weight * closeness(problem.model.sizes, target)[cell]
    rng = np.random.default_rng(effort.seed)
    found = best_start(problem, weight, rng=rng, starts=effort.starts)
    free = found.free[0]
    plain = surface_of((basis() @ free).tolist())
    best_point(plain, REFERENCE.params, REFERENCE.tokens)
    view = look(problem, found.free, run_weights=weight[None], level=found.level)
    spread = free_covariance(
        problem, weight, free, view.curvature[0], rng=rng, count=effort.bootstraps
    )
    residual = view.residual[0] * NOISE
    surface, runs_line, line = with_prior(free, spread, line_prior)
    return SurfaceFit(
        surface=surface,
        runs_line=runs_line,
        line=line,
        scatter=measured_scatter(runs, surface, target),
        cells=problem.model.sizes,
        offsets=view.level[0],
        residual_scale=residual_scale(problem, residual),
        r2=explained(problem, residual, weight),
        n=len(problem.observed),
    )


def check_runs(runs: Runs) -> None:
    """Refuse columns that no log can be taken of.

    Raises:
        InputError: the column and the first row that is not finite and above 0.
        FitError: there are no rows.
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


def nearness(problem: SurfaceProblem, near: float = NEAR) -> Floats:
    """Weight of each run: 1 / (1 + (gap / near)^2), gap its ln loss over its cell's best."""
    weight: Floats = 1 / (1 + (gap_to_best(problem) / near) ** 2)
    return weight


def gap_to_best(problem: SurfaceProblem) -> Floats:
    """ln loss of each run over the best of its cell."""
    cells = problem.cells
    best = np.minimum.reduceat(problem.observed, cells.start)
    gap: Floats = problem.observed - best[cells.of_run]
    return gap


def closeness(cells: Floats, target: tuple[float, float]) -> Floats:
    """Weight of each cell for a target, 1 for the nearest."""
    distance = np.sum(np.log(cells / np.array(target)) ** 2, axis=1)
    weight = 1 / (1 + distance / REACH**2)
    relative: Floats = weight / weight.max()
    return relative


def best_start(
    problem: SurfaceProblem, weight: Floats, *, rng: np.random.Generator, starts: int
) -> Solution:
    """The lowest of the minima from the prior mean and from draws around it; one member."""
    spread = rng.normal(scale=0.3, size=(starts, len(FREE)))
    spread[0] = 0
    weights = np.broadcast_to(weight, (starts, len(weight)))
    found = solve(problem, problem.towards + spread, run_weights=weights, steps=100, tolerance=1e-6)
    return solve(problem, found.best()[None], run_weights=weight[None], steps=100, tolerance=1e-6)


def free_covariance(
    problem: SurfaceProblem,
    weight: Floats,
    free: Floats,
    curvature: Floats,
    *,
    rng: np.random.Generator,
    count: int,
) -> Floats | None:
    """Covariance of the free weights: of bootstraps, plus what the ridge's own sd adds.

    With H half the Hessian and P the ridge's precision, a prior mean that is off by its own
    covariance moves the minimum by H^-1 P H^-1: all of the prior where no run speaks, next to
    nothing where many do.
    """
    if count < 2:
        return None
    samples = bootstrap(problem, weight, free, rng=rng, count=count)
    inverse = np.linalg.inv(curvature + problem.precision)
    ridge = inverse @ problem.precision @ inverse
    covariance: Floats = np.cov(samples.T) + (ridge + ridge.T) / 2
    return covariance


def bootstrap(
    problem: SurfaceProblem,
    weight: Floats,
    start: Floats,
    *,
    rng: np.random.Generator,
    count: int,
) -> Floats:
    """Free weights of `count` refits to resampled runs, shape (count, 12)."""
    blocks = []
    # Blocks of 25 keep the slopes of 2,000 runs under 10 MB, which stays in cache.
    for first in range(0, count, 25):
        members = min(25, count - first)
        weights = weight * resampled(problem, rng=rng, members=members)
        # Refits differ by far more than what a looser tolerance leaves.
        starts = np.tile(start, (members, 1))
        blocks.append(solve(problem, starts, run_weights=weights, steps=15, tolerance=1e-4).free)
    return np.concatenate(blocks)


def resampled(problem: SurfaceProblem, *, rng: np.random.Generator, members: int) -> Floats:
    """How often each run is drawn, shape (members, n).

    Whole cells are drawn, so that what a cell's runs share is counted as error once. Fewer than
    `FEWEST_CELLS` say too little of how cells differ: then runs are drawn too, within cells.
    """
    cell = problem.cells.of_run
    sizes = np.bincount(cell)
    cells = len(sizes)
    drawn = rng.multinomial(cells, np.full(cells, 1 / cells), size=members)[:, cell]
    if cells >= FEWEST_CELLS:
        return drawn.astype(np.float64)
    repeats = [rng.multinomial(size, np.full(size, 1 / size), size=members) for size in sizes]
    return (drawn * np.concatenate(repeats, axis=1)).astype(np.float64)


def with_prior(
    free: Floats, spread: Floats | None, prior: Line | None
) -> tuple[Surface, Line | None, Line | None]:
    """The surface with its covariance, and its line before and after the prior.

    The prior moves the surface in ln lr and ln B until its optimum lies on the combined line;
    terms keep their exponents of lr and B. The covariance is that of a linear update.

    Raises:
        FitError: a prior without bootstraps: nothing says how much the runs weigh.
    """
    weights = basis() @ free
    if spread is None:
        if prior is not None:
            raise FitError("surface: a prior needs the runs' covariance; use 100 bootstraps")
        return surface_of(weights.tolist()), None, None
    gradient = line_gradient(free)
    runs_line = Line(mean=optimum_lines(free[None])[0], covariance=gradient @ spread @ gradient.T)
    line = runs_line
    if prior is not None:
        line = combine(runs_line, prior)
        weights = shift_line(weights, line.mean - runs_line.mean)
        reach = spread @ gradient.T
        spread -= reach @ np.linalg.solve(runs_line.covariance + prior.covariance, reach.T)
    return surface_of(weights.tolist(), covariance=to_covariance(spread)), runs_line, line


def to_covariance(spread: Floats) -> Covariance:
    """The covariance of the fifteen weights from that of the free ones."""
    full = basis() @ spread @ basis().T
    return Covariance(names=list(COEFFICIENTS), matrix=((full + full.T) / 2).tolist())


def measured_scatter(runs: Runs, surface: Surface, target: tuple[float, float] | None) -> Scatter:
    """Root mean square of ln(measured / fitted optimum) over cells, about 0: bias is scatter too.

    Cells on the edge of their grid are left out. `SCATTER` counts as `SCATTER_CELLS` more cells;
    for a target, near cells count for more.
    """
    optima = [optimum for optimum in measured_optima(runs) if not optimum.edge]
    squares = np.full(2, SCATTER_CELLS * SCATTER**2)
    if not optima:
        return Scatter(lr=SCATTER, batch_tokens=SCATTER, cells=0)
    at = np.array([(optimum.params, optimum.tokens) for optimum in optima])
    share = np.ones(len(at)) if target is None else closeness(at, target)
    fitted = np.array([best_point(surface, *cell) for cell in at])
    measured = np.array([(optimum.lr, optimum.batch_tokens) for optimum in optima])
    squares += share @ np.log(measured / fitted) ** 2
    lr, batch_tokens = np.sqrt(squares / (share.sum() + SCATTER_CELLS))
    return Scatter(lr=float(lr), batch_tokens=float(batch_tokens), cells=len(at))


def power_laws(fit: SurfaceFit) -> tuple[Quantity, Quantity]:
    """The optimum as the `[lr]` and `[batch_tokens]` of a law file: powers of N and D."""
    lr, batch_tokens = best_point(fit.surface, REFERENCE.params, REFERENCE.tokens)
    more_params = best_point(fit.surface, REFERENCE.params * np.e, REFERENCE.tokens)
    more_tokens = best_point(fit.surface, REFERENCE.params, REFERENCE.tokens * np.e)
    laws = []
    for row, (scale, scatter) in enumerate(
        ((lr, fit.scatter.lr), (batch_tokens, fit.scatter.batch_tokens))
    ):
        block = slice(3 * row, 3 * row + 3)
        covariance = None
        if fit.line is not None:
            covariance = Covariance(
                names=["log_scale", "params", "tokens"],
                matrix=fit.line.covariance[block, block].tolist(),
            )
        laws.append(
            Quantity(
                form="power",
                coefficients={
                    "scale": scale,
                    "params": float(np.log(more_params[row] / scale)),
                    "tokens": float(np.log(more_tokens[row] / scale)),
                },
                reference={"params": REFERENCE.params, "tokens": REFERENCE.tokens},
                covariance=covariance,
                scatter=scatter,
                n=fit.n,
            )
        )
    return laws[0], laws[1]


def residual_scale(problem: SurfaceProblem, residual: Floats) -> float:
    """1.4826 times the median absolute residual of ln loss within NEAR of the cell's best."""
    near = gap_to_best(problem) < NEAR
    return float(1.4826 * np.median(np.abs(residual[near])))


def explained(problem: SurfaceProblem, residual: Floats, weight: Floats) -> float:
    """1 - weighted residual variance / weighted variance of ln loss within cells."""
    cells = problem.cells
    mean = cells.means(problem.observed, weight)
    spread = np.sum(weight * (problem.observed - mean[cells.of_run]) ** 2)
    return float(1 - np.sum(weight * residual**2) / spread)
