"""What is believed of the surface: a prior and the runs so far, as one fast fit.

It is the fit of `fitting.surface.fit` without intervals, its ridge widened or narrowed by a law's
line. It only says where to look next; what is reported comes from `fit_surface` itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.errors import FitError
from fitting.laws.plateau import surface_log_sd
from fitting.laws.surface import REFERENCE, Surface, best_point, surface_of
from fitting.robust import solve
from fitting.runs.tuned import TunedRuns
from fitting.surface.fit import Effort, closeness, fit_surface, nearness, to_covariance
from fitting.surface.line import OptimumLine, line_gradient, optimum_lines
from fitting.surface.prior import WeightPrior, neutral_prior
from fitting.surface.solver import basis, prepare

NEAR = 0.02
"""Gap of ln loss to its cell's best at which a run counts half (fitting-notes, section 4)."""

STEPS = 40
"""Most steps of a fit; a design needs no last digit."""


BOOTSTRAPS = 60
"""Refits behind the intervals: enough for a tenth of their width, fewer for a thousand runs."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The best lr and batch at the target by the runs so far."""

    lr: float
    batch_tokens: float
    lr_log_sd: float
    """sd of ln lr: how well the average cell's optimum is known there."""
    batch_log_sd: float
    """The same for the batch."""
    runs: int
    """Finished runs that it rests on; 0 is the prior alone."""


def weight_prior(line: OptimumLine | None) -> WeightPrior:
    """The neutral prior of the free weights, pulled towards a law's line where one is given.

    The line is a power law each for lr* and B*, curved in the weights: Gauss-Newton on
    (v - neutral)' P (v - neutral) + (line(v) - mean)' C^-1 (line(v) - mean).
    """
    neutral = neutral_prior()
    if line is None:
        return neutral
    ridge, pull = np.linalg.inv(neutral.covariance), np.linalg.inv(line.covariance)
    free = neutral.mean
    for _ in range(20):
        slope = line_gradient(free)
        precision = ridge + slope.T @ pull @ slope
        miss = slope.T @ pull @ (optimum_lines(free[None])[0] - line.mean)
        free = free - np.linalg.solve(precision, miss + ridge @ (free - neutral.mean))
    slope = line_gradient(free)
    covariance: Floats = np.linalg.inv(ridge + slope.T @ pull @ slope).astype(np.float64)
    return WeightPrior(mean=free, covariance=covariance)


def believed_surface(
    runs: TunedRuns, *, prior: WeightPrior, target: tuple[float, float] | None = None
) -> Surface:
    """The most probable surface; the prior's own where the runs have no optimum.

    Args:
        runs: finished ones, any number.
        prior: of the free weights.
        target: params and tokens near which cells count for more.
    """
    start = surface_of((basis() @ prior.mean).tolist())
    if len(runs.loss) == 0:
        return start
    precision: Floats = np.linalg.inv(prior.covariance).astype(np.float64)
    problem = prepare(runs, mean=prior.mean, precision=precision)
    weight = nearness(problem, NEAR)
    if target is not None:
        cells = problem.cells.of_run
        weight = weight * closeness(problem.model.sizes, target)[cells]
    free = solve(problem, prior.mean[None], run_weights=weight[None], steps=STEPS, tolerance=1e-5)
    found = surface_of((basis() @ free.best()).tolist())
    try:
        best_point(found, REFERENCE.params, REFERENCE.tokens)
    except FitError:
        return start
    return found


def known_at(
    done: TunedRuns, *, target: tuple[float, float], prior: OptimumLine | None = None, seed: int = 0
) -> Knowledge:
    """The optimum at the target with its intervals, by the fit that `plan fit --target` makes.

    A search may stop when `lr_log_sd` and `batch_log_sd` are small; fewer runs than a fit needs
    leave the prior alone.

    Args:
        done: runs made so far; may be empty.
        target: params and tokens, > 0.
        prior: where the optimum lies by a law; None for published theory's signs alone.
        seed: of the refits.

    Raises:
        FitError: the prior has no optimum.
    """
    runs = done.finished()
    try:
        fit = fit_surface(
            runs,
            line_prior=prior,
            target=target,
            effort=Effort(
                bootstraps=max(20, min(BOOTSTRAPS, 60_000 // max(len(runs.loss), 1))), seed=seed
            ),
        )
    except FitError:
        alone = weight_prior(prior)
        surface = surface_of(
            (basis() @ alone.mean).tolist(), covariance=to_covariance(alone.covariance)
        )
        return knowledge(surface, target, runs=0)
    return knowledge(fit.surface, target, runs=fit.n)


def knowledge(surface: Surface, target: tuple[float, float], *, runs: int) -> Knowledge:
    """What a surface with its covariance says of the target."""
    known = surface_log_sd(surface, *target)
    assert known is not None
    lr, batch_tokens = best_point(surface, *target)
    return Knowledge(lr, batch_tokens, *known, runs)
