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
from fitting.cells.optimum import drawn_polynomial
from fitting.cells.polynomial import (
    LogPolynomial,
    evaluate_monomials,
)
from fitting.cells.spline import SmoothCell, smooth_cell, smooth_minimum
from fitting.runs.tuned import TunedRuns

FEWEST_RUNS = 6
"""Runs below which a polynomial in lr and batch is its prior."""

FEWEST_VALUES = 3
"""Distinct lrs and batches below which it is that in one of them."""

VARIED = ("lr", "batch_tokens")

EDGE = 1e-6
"""Distance from the box in ln, under which a minimum lies on its edge."""


@dataclass(frozen=True, slots=True)
class MeasuredCell:
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


def measure_cell(runs: TunedRuns) -> MeasuredCell | None:
    """What the runs of one cell say of it; None where they are too few."""
    smooth = smooth_cell(runs)
    return few_runs(runs) if smooth is None else many_runs(smooth, runs)


def many_runs(smooth: SmoothCell, runs: TunedRuns) -> MeasuredCell:
    """The spline's cell; its grid is in powers of 2."""
    octave = math.log(2)
    optimum = smooth_minimum(smooth, float(runs.params[0]), float(runs.tokens[0]), len(runs.loss))
    place = np.log([optimum.lr, optimum.batch_tokens])
    return MeasuredCell(
        loss_at=lambda at: float(smooth.spline(at[None] / octave)[0]),
        low=smooth.low * octave,
        high=smooth.high * octave,
        best=smooth.best,
        place=None if optimum.edge else place,
        sd=np.zeros(2),
        runs=len(runs.loss),
    )


def few_runs(runs: TunedRuns) -> MeasuredCell | None:
    """The polynomial's cell; None where it would be its prior."""
    at = np.log(np.column_stack([runs.lr, runs.batch_tokens]))
    if len(at) < FEWEST_RUNS or min(len(np.unique(column)) for column in at.T) < FEWEST_VALUES:
        return None
    fit, centre, minima = drawn_polynomial(
        at, np.log(runs.loss), names=VARIED, rng=np.random.default_rng(0)
    )
    low, high = at.min(axis=0), at.max(axis=0)
    place = fit.minimum + centre
    inside = bool(((place > low + EDGE) & (place < high - EDGE)).all())
    return MeasuredCell(
        loss_at=lambda at: loss_by(fit, at - centre),
        low=low,
        high=high,
        best=math.exp(fit.value),
        place=place if inside else None,
        sd=minima.std(axis=0),
        runs=len(at),
    )


def loss_by(fit: LogPolynomial, place: Floats) -> float:
    """The polynomial's loss at a place, from its lowest value up."""
    rise = (evaluate_monomials(np.stack([place, fit.minimum]), fit.powers) @ fit.theta).tolist()
    return math.exp(fit.value + max(rise[0] - rise[1], 0.0))
