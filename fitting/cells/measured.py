"""What the runs of one cell say themselves, without a law: the loss about its best, and the best.

From 20 runs near the best, the spline of `surface_optima`, whose optimum counts as exact. From 6,
the robust polynomial of `cell_fit`, whose optimum has an error; fewer say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.cells.optimum import draw_minima
from fitting.cells.polynomial import (
    FAR,
    LogPolynomial,
    evaluate_monomials,
    fit_polynomial,
    start_weight,
)
from fitting.cells.spline import SmoothCell, lowest, smooth_cell
from fitting.surface.solver import Runs

FEWEST_RUNS = 6
"""Runs below which a polynomial in lr and batch is its prior."""

FEWEST_VALUES = 3
"""Distinct lrs and batches below which it is that in one of them."""

VARIED = ("lr", "batch_tokens")

EDGE = 1e-6
"""Distance from the box in ln, under which a minimum lies on its edge."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell as its runs have it; places are (ln lr, ln batch_tokens)."""

    loss_at: Callable[[Floats], float]
    """Loss at a place inside the box, nats per token."""
    low: Floats
    high: Floats
    best: float
    """Loss that a place's is compared with, nats per token."""
    place: Floats | None
    """Of the lowest loss; None where it lies on the edge of the runs."""
    sd: Floats
    """Standard deviation of `place`."""
    runs: int


def measure_cell(runs: Runs) -> Measured | None:
    """What the runs of one cell say of it; None where they are too few."""
    smooth = smooth_cell(runs)
    return few_runs(runs) if smooth is None else many_runs(smooth, runs)


def many_runs(smooth: SmoothCell, runs: Runs) -> Measured:
    """The spline's cell; its grid is in powers of 2."""
    octave = math.log(2)
    optimum = lowest(smooth, float(runs.params[0]), float(runs.tokens[0]), len(runs.loss))
    place = np.log([optimum.lr, optimum.batch_tokens])
    return Measured(
        loss_at=lambda at: float(smooth.spline(at[None] / octave)[0]),
        low=smooth.low * octave,
        high=smooth.high * octave,
        best=smooth.best,
        place=None if optimum.edge else place,
        sd=np.zeros(2),
        runs=len(runs.loss),
    )


def few_runs(runs: Runs) -> Measured | None:
    """The polynomial's cell; None where it would be its prior."""
    at = np.log(np.column_stack([runs.lr, runs.batch_tokens]))
    if len(at) < FEWEST_RUNS or min(len(np.unique(column)) for column in at.T) < FEWEST_VALUES:
        return None
    log_loss = np.log(runs.loss)
    centre = np.average(at, axis=0, weights=start_weight(log_loss))
    fit = fit_polynomial(at - centre, log_loss, names=VARIED)
    farther = fit_polynomial(at - centre, log_loss, names=VARIED, near_gap=FAR)
    box = np.stack([at.min(axis=0), at.max(axis=0)]) - centre
    minima = draw_minima(
        fit, box, shift=farther.minimum - fit.minimum, rng=np.random.default_rng(0)
    )
    inside = bool(((fit.minimum > box[0] + EDGE) & (fit.minimum < box[1] - EDGE)).all())
    return Measured(
        loss_at=lambda place: loss_by(fit, place - centre),
        low=box[0] + centre,
        high=box[1] + centre,
        best=math.exp(fit.value),
        place=fit.minimum + centre if inside else None,
        sd=minima.std(axis=0),
        runs=len(at),
    )


def loss_by(fit: LogPolynomial, place: Floats) -> float:
    """The polynomial's loss at a place, from its lowest value up."""
    rise = (evaluate_monomials(np.stack([place, fit.minimum]), fit.powers) @ fit.theta).tolist()
    return math.exp(fit.value + max(rise[0] - rise[1], 0.0))
