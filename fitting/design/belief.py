"""What is believed of the surface: a prior and the runs so far, as one fast fit.

It is the fit of `fitting.surface.fit` without intervals, its ridge widened or narrowed by a law's
line. It only says where to look next; what is reported comes from `fit_surface` itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats
from fitting.errors import FitError
from fitting.fit.enough import tuned_columns
from fitting.laws.surface import REFERENCE, Surface, best_point, surface_of
from fitting.robust import solve
from fitting.surface.fit import closeness, nearness
from fitting.surface.line import Line, line_gradient, optimum_lines
from fitting.surface.prior import WeightPrior, neutral_prior
from fitting.surface.solver import Runs, basis, prepare

if TYPE_CHECKING:
    from fitting.runs.table import Runs as Table

NEAR = 0.02
"""Gap of ln loss to its cell's best at which a run counts half (fitting-notes, section 4)."""

STEPS = 40
"""Most steps of a fit; a design needs no last digit."""


@dataclass(frozen=True, slots=True)
class Done:
    """Runs that are made, or under way."""

    params: Floats
    tokens: Floats
    lr: Floats
    batch_tokens: Floats
    loss: Floats
    """Final loss, nats per token; infinite where the run diverged, NaN where it has none yet."""


NOTHING = Done(np.empty(0), np.empty(0), np.empty(0), np.empty(0), np.empty(0))
"""No run at all."""


def done_from(runs: Table | None) -> Done:
    """The runs of a table that say their lr and batch, diverged ones with loss infinity."""
    if runs is None:
        return NOTHING
    tuned = tuned_columns(runs)
    diverged = runs.diverged
    wanted = ["params", "tokens", "lr", "batch_tokens"]
    if not set(wanted) <= set(diverged.columns):
        return Done(tuned.params, tuned.tokens, tuned.lr, tuned.batch_tokens, tuned.loss)
    lost = diverged[wanted].dropna().to_numpy(float).T
    params, tokens, lr, batch_tokens = (
        np.concatenate([getattr(tuned, name), column])
        for name, column in zip(wanted, lost, strict=True)
    )
    loss = np.concatenate([tuned.loss, np.full(lost.shape[1], np.inf)])
    return Done(params, tokens, lr, batch_tokens, loss)


def finished(done: Done) -> Runs:
    """The runs that have a loss."""
    known = np.isfinite(done.loss)
    return Runs(*(getattr(done, name)[known] for name in Runs.__slots__))


def weight_prior(line: Line | None) -> WeightPrior:
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
    runs: Runs, *, prior: WeightPrior, target: tuple[float, float] | None = None
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
