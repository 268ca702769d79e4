"""A robust polynomial in logs through the runs of one cell, and where it is lowest.

    ln L = sum over monomials of degree <= 4 of theta_m prod x_i^k_i / k_i!,  x = ln(value / centre)

Weights are 1 / (1 + (gap / 1%)^2) times Tukey's bisquare of the residual, so that neither a far
run nor a wrong one pulls; gap is over the fitted minimum, not over the luckiest run. Weak priors
on second to fourth derivatives keep few runs stable. Degrees 3 and 4 matter: loss rises faster
above the best learning rate than below it. On simulated cells with a steep rise (exponent 1.5, 42
runs, noise 0.2%) a cubic finds an lr 10% too low, its 80% interval holding the truth in 55% of
them; degree 4 is 7% too low and holds it in 82%.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fitting.arrays import Floats

Powers = npt.NDArray[np.int64]

NEAR = 0.01
"""Gap of ln loss over the fitted minimum at which a run's weight is half. At 2% the errors on
simulated cells are the same, but 80% intervals hold the truth in 69% and 75% (lr, batch) of 186
instead of 74% and 82% (with degree 3): far runs speak of the form's error, not of the optimum."""

FAR = 0.02
"""The same for a second fit, whose shift measures the error of the polynomial itself."""

DEGREE = 4
"""Highest degree of the polynomial."""

CURVATURE = {"lr": 0.015, "batch_tokens": 0.013, "weight_decay": 0.01}
"""Prior mean of d2 ln L / d(ln x)2: medians of the 36 cells of `lr_batch_runs_to_537M.csv`
(10% to 90%: 0.009 to 0.025 and 0.011 to 0.017); weight decay *assumed*."""

CURVATURE_SD = 0.02
"""Prior standard deviation of each second derivative. *Assumed*: wider than the cells' spread."""

ASYMMETRY_SD = 0.02
"""Prior standard deviation of each third derivative, mean 0; at the optima of Step Law's surface
that in lr is 0.012 to 0.018. *Assumed.*"""

FOURTH_SD = 0.02
"""Prior standard deviation of each fourth derivative, mean 0. *Assumed*: 0.05 has less bias and
a root mean square error a fifth larger."""

NOISE = 0.002
"""Run-to-run standard deviation of ln loss before any is measured (0.2%, Step Law's runs)."""

NOISE_WEIGHT = 3.0
"""How many residuals the prior noise counts as. *Assumed.*"""

START_QUANTILE = 0.2
"""Quantile of a cell's losses that stands for its best before any fit."""

START_BELOW = 0.02
"""Gap of ln loss below that quantile at which a run's first weight is half; the best run of
the 36 cells is 0.3% to 1% below it."""

BISQUARE = 4.685
"""Residual, in standard deviations, at which a run's weight is 0; 95% efficient for a normal."""

OUTLIER_WEIGHT = 1e-3
"""Root of the weight that an outlier keeps, so that the normal equations stay regular."""

SWEEPS = 35
"""Rounds of reweighting."""

SOUND = 0.3
"""Bisquare weight above which a run may stand for the fitted minimum."""

ROBUST_SWEEPS = 10
"""Rounds in which residuals weigh by soft-L1, which has no wrong minimum to start in, and then
rounds of bisquare before weights follow the fitted minimum: one mistyped low loss must not draw
them to itself. The first also fix the noise: one that shrank along with the bisquare would make
outliers of sound runs."""

NEWTON_STEPS = 25
"""Most steps towards a minimum."""

SETTLED = 1e-7
"""Move, in ln units, below which a minimum is found."""

LARGEST_STEP = 0.5
"""Longest Newton step in each variable, in ln units."""

LEAST_CURVATURE = 1e-3
"""Curvature below this counts as this in a step, so that it always leads down."""


@dataclass(frozen=True, slots=True)
class LogPolynomial:
    """A polynomial in ln(value / centre) and how well its coefficients are known."""

    powers: Powers
    """Power of each variable in each monomial, shape (terms, variables)."""
    theta: Floats
    """Coefficients, shape (terms,)."""
    covariance: Floats
    """Of `theta`, shape (terms, terms)."""
    noise: float
    """Standard deviation of ln loss of one run near the minimum."""
    weight: Floats
    """Bisquare weight of each run's residual, 0 (an outlier) to 1, shape (runs,)."""
    minimum: Floats
    """Where it is lowest within the box of the runs, shape (variables,)."""
    value: float
    """ln loss there."""
    value_sd: float
    """Standard deviation of `value`."""


def fit_polynomial(
    x: Floats, log_loss: Floats, *, names: tuple[str, ...], near_gap: float = NEAR
) -> LogPolynomial:
    """The polynomial through the runs of a cell.

    Args:
        x: ln of what was varied, over a centre near the best, shape (runs, variables).
        log_loss: ln of the losses, shape (runs,).
        names: the variables, keys of `CURVATURE`.
        near_gap: gap of ln loss at which a run's weight is half, > 0.

    Returns:
        The fit; its minimum may lie on the edge of the box that the runs span.
    """
    powers = monomials(x.shape[1])
    design = evaluate_monomials(x, powers)
    mean, precision = prior(powers, names)
    near, tukey, noise = start_weight(log_loss), np.ones(len(x)), NOISE
    level = float(np.average(log_loss, weights=near))
    theta = mean
    for sweep in range(SWEEPS):
        weighted = design * (near * tukey)[:, None]
        normal = design.T @ weighted + noise**2 * np.diag(precision)
        pull = weighted.T @ (log_loss - level) + noise**2 * precision * mean
        theta = np.asarray(np.linalg.solve(normal, pull), dtype=np.float64)
        fitted = design @ theta
        residual = log_loss - level - fitted
        if sweep < ROBUST_SWEEPS:
            noise = estimate_noise(residual, near, normal=normal, weighted=weighted)
        if sweep >= 2 * ROBUST_SWEEPS:
            sound = fitted[tukey > SOUND].min(initial=float(fitted.max()))
            gap = np.maximum(fitted, log_loss - level) - sound
            near = 1 / (1 + (np.maximum(gap, 0) / near_gap) ** 2)
        tukey = residual_weight(residual / noise, bisquare=sweep >= ROBUST_SWEEPS)
    covariance: Floats = np.asarray(noise**2 * np.linalg.inv(normal), dtype=np.float64)
    start = x[np.where(tukey > SOUND, design @ theta, np.inf).argmin()]
    box = np.stack([x.min(axis=0), x.max(axis=0)])
    minimum = descend(theta[None], powers, start[None], box)
    at_minimum = evaluate_monomials(minimum, powers)[0]
    return LogPolynomial(
        powers=powers,
        theta=theta,
        covariance=covariance,
        noise=noise,
        weight=tukey,
        minimum=minimum[0],
        value=level + float(at_minimum @ theta),
        value_sd=math.sqrt(float(at_minimum @ covariance @ at_minimum)),
    )


def descend(theta: Floats, powers: Powers, start: Floats, box: Floats) -> Floats:
    """Minima of polynomials within a box, by Newton steps from `start` that only lead down.

    Args:
        theta: coefficients of each polynomial, shape (polynomials, terms).
        powers: of each monomial, shape (terms, variables).
        start: shape (polynomials, variables).
        box: lowest and highest value of each variable, shape (2, variables).
    """
    point = np.clip(start, box[0], box[1])
    for _ in range(NEWTON_STEPS):
        slope, curvature = derivatives(theta, powers, point)
        # A variable held at the edge by its slope takes no part in the step.
        held = ((point <= box[0]) & (slope > 0)) | ((point >= box[1]) & (slope < 0))
        free = ~held
        curvature = curvature * (free[:, :, None] & free[:, None, :])
        values, vectors = np.linalg.eigh(curvature)
        inverse = 1 / np.maximum(np.abs(values), LEAST_CURVATURE)
        downhill = np.einsum("sij,sj,skj,sk->si", vectors, inverse, vectors, slope * free)
        step = np.clip(downhill, -LARGEST_STEP, LARGEST_STEP)
        moved = np.clip(point - step, box[0], box[1])
        settled = np.abs(moved - point).max(initial=0.0) < SETTLED
        point = moved
        if settled:
            break
    return point


def monomials(variables: int) -> Powers:
    """Powers of every monomial of degree 0 to 4, shape (terms, variables)."""
    every = itertools.product(range(DEGREE + 1), repeat=variables)
    return np.array([powers for powers in every if sum(powers) <= DEGREE], dtype=np.int64)


def evaluate_monomials(x: Floats, powers: Powers) -> Floats:
    """Each monomial prod x_i^k_i / k_i! at each point, shape (points, terms)."""
    by_power = np.stack([x**power / math.factorial(power) for power in range(DEGREE + 1)])
    terms = np.ones((len(x), len(powers)))
    for variable in range(x.shape[1]):
        terms *= by_power[powers[:, variable], :, variable].T
    return terms


def derivatives(theta: Floats, powers: Powers, point: Floats) -> tuple[Floats, Floats]:
    """Gradient and Hessian of each polynomial at its own point, by lowering powers.

    The derivative of x^k / k! is x^(k-1) / (k-1)!, so each derivative is a sum of monomials.
    """
    variables = powers.shape[1]

    def lowered(lower: npt.NDArray[np.int64]) -> Floats:
        left = powers - lower
        kept = (left >= 0).all(axis=1)
        return np.asarray((evaluate_monomials(point, left[kept]) * theta[:, kept]).sum(axis=1))

    unit = np.eye(variables, dtype=np.int64)
    gradient = np.stack([lowered(unit[i]) for i in range(variables)], axis=-1)
    rows = [[lowered(unit[i] + unit[j]) for j in range(variables)] for i in range(variables)]
    hessian = np.moveaxis(np.array(rows), -1, 0)
    return gradient, hessian


def prior(powers: Powers, names: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Mean and precision of each coefficient: none for level and slopes, weak above."""
    degree = powers.sum(axis=1)
    curved = np.array([CURVATURE[name] for name in names])
    mean = np.where(powers.max(axis=1, initial=0) == 2, (powers == 2) @ curved, 0.0)
    mean = np.where(degree == 2, mean, 0.0)
    precision = np.zeros(len(powers))
    precision[degree == 2] = CURVATURE_SD**-2
    precision[degree == 3] = ASYMMETRY_SD**-2
    precision[degree == 4] = FOURTH_SD**-2
    return mean, precision


def start_weight(log_loss: Floats) -> Floats:
    """Weights before any fit, by the gap to a low quantile that 10% of wrong runs cannot move."""
    gap = log_loss - np.quantile(log_loss, START_QUANTILE)
    return 1 / (1 + (gap / np.where(gap > 0, NEAR, START_BELOW)) ** 2)


def estimate_noise(residual: Floats, near: Floats, *, normal: Floats, weighted: Floats) -> float:
    """Standard deviation of a run near the minimum: weighted MAD, pooled with the prior's.

    Degrees of freedom are what the fit leaves: sum of weights less the trace of the hat matrix
    over the unpenalised coefficients.
    """
    order = np.argsort(np.abs(residual))
    share = np.cumsum(near[order])
    median = np.abs(residual)[order][np.searchsorted(share, 0.5 * share[-1])]
    used = float(np.trace(np.linalg.solve(normal, weighted.T @ weighted)))
    total = float(near.sum())
    left = max(total - used, 0.0)
    scale = (1.4826 * median) ** 2 * total / max(left, 1.0)
    return math.sqrt((NOISE_WEIGHT * NOISE**2 + left * scale) / (NOISE_WEIGHT + left))


def residual_weight(residual: Floats, *, bisquare: bool) -> Floats:
    """Weight of residuals in standard deviations: Tukey's bisquare, or soft-L1."""
    if bisquare:
        return np.clip(1 - (residual / BISQUARE) ** 2, OUTLIER_WEIGHT, None) ** 2
    return 1 / np.sqrt(1 + residual**2)
