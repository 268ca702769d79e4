"""The surface of one cell from few runs, with a prior on where its optimum lies.

    ln loss = level + ln(1 + q(x)) + g(x) + noise,   x = (ln lr, ln batch_tokens) - start
    q = exp(a - p x1 + p x2) + exp(b + n x1 + m x2) + exp(c + h x1)

q is the three-term surface (`fitting.laws.surface`) at one (params, tokens): progress, noise, heat.
The prior's optimum is the start that was handed in, with sd 1.5 on a, b and c and 0.5 on the
exponents. g is a Gaussian process for what the form misses. Runs weigh 1 / (1 + (gap / 2%)^2), gap
their ln loss over the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fitting.arrays import Floats
from fitting.laws.surface import (
    Setting,
    Surface,
    best_point,
    log_terms,
    optimal_shares,
    terms_of,
)
from fitting.robust import SQUARE, STEADY, Evaluated, Problem, solve

CONST_SD = 1.5
"""Prior sd of the log of each term: the optimum may lie a factor 4 from the start."""

EXPONENT_SD = 0.5
"""Prior sd of each exponent."""

PRIOR_SD = np.repeat([CONST_SD, EXPONENT_SD], [3, 4])
"""In the order of `Start.weights`."""

NOISE = 0.002
"""Run-to-run sd of ln loss (0.2%, Step Law's runs)."""

FORM_SD = 0.0015
"""sd of ln loss that the three terms miss, correlated over a factor e in lr or batch."""

NEAR = 0.02
"""Gap of ln loss to the best at which the noise variance of a run counts twice."""

LEVEL_SD = 1.0
"""Prior sd of the level in ln loss: hardly any prior."""

DIVERGED_GAP = 0.1
"""A diverged run counts as at least this much of ln loss above the best. *Assumed.*"""

STEP = 0.05
"""Step of differences, in ln."""

STEPS = 60
"""Most Levenberg-Marquardt steps; about 10 are taken."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a cell's optimum is expected, and how the loss rises around it."""

    lr: float
    batch_tokens: float
    weights: tuple[float, ...]
    """Prior means of a, b, c at the start, then of the exponents p, n, m, h."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Runs of one cell as columns of equal length."""

    lr: Floats
    batch_tokens: Floats
    loss: Floats
    """Final loss, nats per token, > 0; infinite where the run diverged."""
    stopped: NDArray[np.bool_]
    """Whether the run was stopped early, its loss at least this."""


@dataclass(frozen=True, slots=True)
class LocalFit:
    """The fit of one cell; places are in ln over the start, shape (n, 2)."""

    at: Floats
    """Runs that the fit uses."""
    weights: Floats
    """Fitted, in the order of `Start.weights`."""
    noise: Floats
    """Covariance of ln loss but for level, form and weights, shape (n,): its diagonal."""
    pull: Floats
    """Residuals over their covariance, shape (n,)."""
    best: float
    """ln of the lowest loss, which the level is relative to."""


def start_at(
    surface: Surface, params: float, tokens: float, *, lr: float, batch_tokens: float
) -> Start:
    """The prior of a cell: a surface's rise around its optimum there, moved to a given point.

    Args:
        surface: its exponents, and its q at the optimum of this cell, are kept.
        params: N, > 0.
        tokens: D, > 0.
        lr: predicted best lr, > 0.
        batch_tokens: predicted best batch, > 0.

    Raises:
        FitError: the surface has no optimum.
    """
    at = Setting(params, tokens, *best_point(surface, params, tokens))
    total = math.log(math.fsum(math.exp(value) for value in log_terms(surface, at)))
    logs = [math.log(share) + total for share in optimal_shares(surface)]
    progress, noise, heat = terms_of(surface)
    exponents = (-progress.lr, noise.lr, noise.batch_tokens, heat.lr)
    return Start(lr, batch_tokens, (*logs, *exponents))


def places(start: Start, lr: Floats, batch_tokens: Floats) -> Floats:
    """(ln lr, ln batch) over the start, shape (n, 2)."""
    return np.column_stack([np.log(lr / start.lr), np.log(batch_tokens / start.batch_tokens)])


def fit_cell(start: Start, tried: Tried) -> LocalFit:
    """The most probable surface by the runs of one cell.

    A run without a final loss first counts for nothing; where the fit then goes below its bound,
    the bound is fitted as if measured.

    Args:
        start: prior of the cell.
        tried: at least one run with a loss of its own.
    """
    at = places(start, tried.lr, tried.batch_tokens)
    known = np.isfinite(tried.loss) & ~tried.stopped
    best = float(np.log(tried.loss[known].min()))
    log_loss = np.log(np.where(np.isinf(tried.loss), np.exp(best + DIVERGED_GAP), tried.loss))
    used = known.copy()
    while True:
        fit = solve_cell(start, at[used], log_loss[used] - best, best=best)
        broken = ~used & (predict(fit, at) < log_loss)
        if not broken.any():
            return fit
        used |= broken


def solve_cell(start: Start, at: Floats, gap: Floats, *, best: float) -> LocalFit:
    """The fit whose residuals, whitened by level, form and noise, are least with the prior."""
    noise = NOISE**2 * (1 + (np.maximum(gap, 0) / NEAR) ** 2)
    inverse = np.linalg.inv(smooth(at, at) + np.diag(noise))
    whiten = np.linalg.cholesky(inverse).T
    mean = np.array(start.weights)
    problem = Problem(
        model=LocalModel(),
        features=(at, whiten),
        observed=whiten @ gap,
        ridge=PRIOR_SD**-2,
        towards=mean,
        delta=1.0,
        norm=SQUARE,
        pace=STEADY,
    )
    weights = solve(problem, mean[None], steps=STEPS).free[0]
    return LocalFit(at, weights, noise, inverse @ (gap - rise(weights, at)[0]), best)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """ln(1 + q) of one cell, whitened."""

    def evaluate(self, features: tuple[Floats, Floats], free: Floats) -> Evaluated:
        """Values, shape (b, n), and their slopes, shape (b, 7, n), for weights of shape (b, 7)."""
        at, whiten = features
        found = [rise(weights, at) for weights in free]
        values, slopes = (np.stack(parts) for parts in zip(*found, strict=True))
        return values @ whiten.T, (whiten @ slopes).transpose(0, 2, 1)


def rise(weights: Floats, at: Floats) -> tuple[Floats, Floats]:
    """ln(1 + q) at places and its slope in the weights, shapes (n,) and (n, 7)."""
    p, n, m, h = weights[3:]
    x1, x2 = at.T
    logs = weights[:3] + np.column_stack([p * (x2 - x1), n * x1 + m * x2, h * x1])
    # A term above exp(20) is 1e8 times the level: no run is there, and exp must not overflow.
    terms = np.exp(np.minimum(logs, 20))
    scale = 1 + terms.sum(axis=1)
    share = terms / scale[:, None]
    inner = (share[:, 0] * (x2 - x1), share[:, 1] * x1, share[:, 1] * x2, share[:, 2] * x1)
    return np.log(scale), np.column_stack([share, *inner])


def smooth(first: Floats, second: Floats) -> Floats:
    """Covariance of level and form between places, shape (n, m)."""
    distance = np.sum((first[:, None] - second) ** 2, axis=2)
    covariance: Floats = LEVEL_SD**2 + FORM_SD**2 * np.exp(-distance / 2)
    return covariance


def predict(fit: LocalFit, at: Floats) -> Floats:
    """Fitted ln loss at places, shape (n,)."""
    predicted: Floats = fit.best + rise(fit.weights, at)[0] + smooth(at, fit.at) @ fit.pull
    return predicted


def optimum_variance(fit: LocalFit, place: Floats, varied: NDArray[np.bool_]) -> Floats:
    """Variance of ln lr and ln batch of the lowest loss, about a place inside the box, shape (2,).

    With s the slope of ln loss at the place and H its curvature, the optimum moves by -H^-1 s, so
    its covariance is H^-1 cov(s) H^-1; cov(s) is that of a Gaussian process whose kernel has the
    level, the form and the weights, given the runs.

    Args:
        fit: of the cell.
        place: its lowest place, in ln over the start, shape (2,).
        varied: which of lr and batch were searched; 0 is returned for the other.

    Returns:
        Variances; infinite where the fit has no lowest point.
    """
    units = np.eye(2)[varied]
    around = place + STEP * np.concatenate([units, -units])
    slopes = rise(fit.weights, around)[1]
    runs_slope = rise(fit.weights, fit.at)[1]
    prior = PRIOR_SD**2
    total = smooth(fit.at, fit.at) + np.diag(fit.noise) + (runs_slope * prior) @ runs_slope.T
    across = smooth(around, fit.at) + (slopes * prior) @ runs_slope.T
    own = smooth(around, around) + (slopes * prior) @ slopes.T
    posterior = own - across @ np.linalg.solve(total, across.T)
    difference = np.hstack([np.eye(len(units)), -np.eye(len(units))]) / (2 * STEP)
    bend = curvature(fit, place, units)
    variance = np.zeros(2)
    if len(units) and np.linalg.eigvalsh(bend).min() <= 0:
        variance[varied] = np.inf
    else:
        moves = np.linalg.solve(bend, difference)
        variance[varied] = np.einsum("ij,jk,ik->i", moves, posterior, moves)
    return variance


def curvature(fit: LocalFit, place: Floats, units: Floats) -> Floats:
    """Second derivatives of fitted ln loss along each pair of units, by differences."""

    def corner(first: int, second: int) -> Floats:
        moved = place + STEP * (first * units[:, None] + second * units)
        return predict(fit, moved.reshape(-1, 2)).reshape(len(units), len(units))

    mixed = corner(1, 1) - corner(1, -1) - corner(-1, 1) + corner(-1, -1)
    bend: Floats = mixed / (4 * STEP**2)
    return bend
