"""A loss-curve law fitted to several curves at once: many starts, an honest interval.

Three things make the interval. Neighbouring rows of a curve share their batches and their mood,
so blocks of rows are resampled. What the curves do not tell, as annealing where no lr ever fell,
is held by the pull alone, and is as uncertain as what it pulls to. And no resample knows the
form's own error: each curve is held out in turn, and the interval is scaled to cover it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.forms import CURVE_FORMS, Paths
from fitting.curves.problem import BLOCKS, PULL, assemble, block_means, gather, pose
from fitting.intervals import COVERED, Z80
from fitting.robust import search, solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.arrays import Floats
    from fitting.curves.forms import CurveForm, Reference
    from fitting.curves.problem import Data
    from fitting.logs.series import Curve
    from fitting.robust import Problem

STARTS = 48
RESAMPLES = 40
RESAMPLE_STEPS = 30
"""Most steps of a resample, which starts at the best fit."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What is known of a fit before any curve is held out."""

    covariance: Floats
    """Of all parameters of the form, 0 for held ones, shape (p, p)."""
    scatter: float
    """Root mean square of the blocks' mean residuals of ln loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFit:
    """A law fitted to curves."""

    form: CurveForm
    free: Floats
    """Free parameters at the best fit, held ones included, shape (p,)."""
    covariance: Floats
    """Of the free parameters, `inflation` squared included, shape (p, p)."""
    scatter: float
    """Standard deviation of ln(measured / law) of a block, `inflation` included."""
    inflation: float
    """Times that curves held out lay further off than resampled blocks say; at least 1."""
    log_residual: Floats
    """ln loss - ln law at the rows used, shape (n,)."""
    data: Data
    """The rows used."""
    r2: float
    """Share of the variance of the loss that the law explains, over all rows used."""

    @property
    def reference(self) -> Reference:
        """The run that the free parameters are scaled by."""
        return self.data.paths.reference


def fit_curves(
    curves: Sequence[Curve], *, form: CurveForm | None = None, warmup_steps: float = 0.0
) -> CurveFit:
    """The law that fits several curves of one model together, with honest intervals.

    Args:
        curves: with their losses; curves that differ in schedule tell most.
        form: what is fitted, as in `CURVE_FORMS`; None for the extended form.
        warmup_steps: of every curve, see `fitting.curves.path.make_path`.

    Raises:
        InputError: a curve has too few rows after its warmup.
    """
    shape = form or CURVE_FORMS["extended"]
    data = gather(curves, warmup_steps)
    best = fit_best(shape, data)
    spread = find_spread(shape, data, best)
    missed = [misses(shape, part, fit_best(shape, part), held) for part, held in folds(data)]
    inflation = inflation_of(np.concatenate(missed))
    residual = data.log_loss - shape.evaluate(data.paths, best[None])[0][0]
    loss = np.exp(data.log_loss)
    squares = ((loss - np.exp(data.log_loss - residual)) ** 2).sum()
    return CurveFit(
        form=shape.released(),
        free=shape.whole(best[None])[0],
        covariance=spread.covariance * inflation**2,
        scatter=spread.scatter * inflation,
        inflation=inflation,
        log_residual=residual,
        data=data,
        r2=float(1 - squares / ((loss - loss.mean()) ** 2).sum()),
    )


def fit_best(shape: CurveForm, data: Data) -> Floats:
    """The best of many starts, parameters that are not held, shape (p,)."""
    problem = pose(shape, data)
    return search(problem, draw_starts(problem)).best()


def draw_starts(problem: Problem[CurveForm]) -> Floats:
    """Random starts about the usual values, the first at them."""
    rng = np.random.default_rng(0)
    spread = np.sqrt(PULL / problem.ridge)
    noise = rng.normal(size=(STARTS, len(spread)))
    noise[0] = 0.0
    return problem.towards + noise * spread


def find_spread(shape: CurveForm, data: Data, best: Floats) -> Spread:
    """Covariance and scatter of a fit.

    Args:
        shape: what was fitted.
        data: what to.
        best: parameters that are not held, shape (p,).
    """
    problem = pose(shape, data)
    moved = solve(
        replace(problem, accelerate=False),
        np.repeat(best[None], RESAMPLES, 0),
        run_weights=resample_blocks(data, RESAMPLES),
        steps=RESAMPLE_STEPS,
    )
    log_loss, slope = shape.evaluate(data.paths, best[None])
    residual = data.log_loss - log_loss[0]
    found = np.atleast_2d(np.cov(moved.free.T)) + pulled(problem, residual, slope[0])
    free = [shape.parameters.index(name) for name in shape.names]
    covariance = np.zeros((len(shape.parameters),) * 2)
    covariance[np.ix_(free, free)] = found
    return Spread(covariance, float(np.sqrt(np.mean(block_means(residual, data) ** 2))))


def pulled(problem: Problem[CurveForm], residual: Floats, slope: Floats) -> Floats:
    """Covariance that comes from not knowing what to pull towards, shape (p, p).

    A move d of the target moves the fit by (H + R)^-1 R d, with H the curvature of the data and R
    the pull's: by nothing where the data are clear, by d where they are silent.
    """
    curvature = 1 / np.maximum(np.abs(residual), problem.delta) / problem.delta
    data = (slope * curvature) @ slope.T
    moved = np.linalg.solve(data + np.diag(problem.ridge), np.diag(problem.ridge))
    found: Floats = (moved * (PULL / problem.ridge)) @ moved.T
    return found


def inflation_of(missed: Floats) -> float:
    """What an interval is scaled by, at least 1, for it to cover 80% of the blocks held out.

    Args:
        missed: of each block held out, its distance from the forecast in standard deviations.
    """
    # The conformal quantile: of n blocks held out and one to come, 80% lie within it.
    level = min(1.0, COVERED * (1 + 1 / len(missed)))
    return max(1.0, float(np.quantile(np.abs(missed), level)) / Z80)


def folds(data: Data) -> list[tuple[Data, Data]]:
    """What is fitted and what is held out: each curve in turn, or the half of a lone curve."""
    paths = data.paths.paths
    losses = [data.log_loss[data.run == i] for i in range(len(paths))]
    if len(paths) > 1:
        return [
            (
                assemble([*paths[:i], *paths[i + 1 :]], [*losses[:i], *losses[i + 1 :]]),
                assemble(paths[i : i + 1], losses[i : i + 1]),
            )
            for i in range(len(paths))
        ]
    early = np.arange(len(losses[0])) < len(losses[0]) / 2
    return [
        (
            assemble([paths[0].at_rows(early)], [losses[0][early]]),
            assemble([paths[0].at_rows(~early)], [losses[0][~early]]),
        )
    ]


def misses(shape: CurveForm, fitted: Data, best: Floats, held: Data) -> Floats:
    """How far each block held out lies off, in standard deviations of its forecast.

    Args:
        shape: what was fitted.
        fitted: what to.
        best: parameters that are not held, shape (p,).
        held: what was held out.
    """
    spread = find_spread(shape, fitted, best)
    paths = Paths(held.paths.paths, fitted.paths.reference)
    log_loss, slope = shape.loss(paths, shape.whole(best[None]))
    variance = np.einsum("pn,pq,qn->n", slope[0], spread.covariance, slope[0])
    sd = block_means(np.sqrt(np.maximum(variance, 0.0)), held)
    return block_means(held.log_loss - log_loss[0], held) / np.hypot(sd, spread.scatter)


def resample_blocks(data: Data, count: int) -> Floats:
    """Weights of the rows: how often their block was drawn, shape (count, n).

    Blocks are drawn within their curve, so that no resample lacks a schedule.
    """
    rng = np.random.default_rng(0)
    runs = len(data.paths.paths)
    drawn = rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), size=(count, runs))
    weights: Floats = drawn.reshape(count, -1)[:, data.block].astype(float)
    return weights
