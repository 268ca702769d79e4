"""The measured optimum of one (params, tokens) cell, without a form.

A thin-plate spline in (log2 lr, log2 batch) through the runs within 8% of the cell's best; the
optimum is its minimum on the grid's box. On the box's edge it is a bound, not a point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats, Integers
from fitting.surface.solver import Runs

if TYPE_CHECKING:
    from scipy.interpolate import RBFInterpolator

NEAR_BEST = 1.08
"""Loss over the cell's best up to which a run shapes the spline."""

SMOOTHING = 1e-4
"""Of the spline, in squared nats; run-to-run noise is about 0.2% of the loss."""

FEWEST_RUNS = 20
"""Runs near the best below which a spline follows noise."""

FEWEST_VALUES = 4
"""Distinct lrs and batches below which it has no curvature to follow."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where the smoothed loss of one cell is lowest."""

    params: float
    tokens: float
    lr: float
    batch_tokens: float
    loss: float
    """Smoothed, nats per token."""
    edge: bool
    """Whether it lies on the edge of the grid: a bound, not a point."""
    runs: int


@dataclass(frozen=True, slots=True)
class SmoothCell:
    """The smoothed loss of one cell."""

    spline: RBFInterpolator
    low: Floats
    """Lowest log2 lr and log2 batch of the runs."""
    high: Floats
    best: float
    """Lowest measured loss."""


def smooth_cell(runs: Runs) -> SmoothCell | None:
    """The smoothed loss of the runs of one cell; None where they are too few to smooth."""
    from scipy.interpolate import RBFInterpolator

    at = np.column_stack([np.log2(runs.lr), np.log2(runs.batch_tokens)])
    near = runs.loss < NEAR_BEST * runs.loss.min()
    values = min(len(np.unique(column)) for column in at[near].T)
    if near.sum() < FEWEST_RUNS or values < FEWEST_VALUES:
        return None
    spline = RBFInterpolator(
        at[near], runs.loss[near], smoothing=SMOOTHING, kernel="thin_plate_spline"
    )
    return SmoothCell(spline, at.min(axis=0), at.max(axis=0), float(runs.loss.min()))


def measured_optima(runs: Runs) -> list[Optimum]:
    """The measured optimum of every cell that has runs enough, ordered by params and tokens."""
    cells = np.unique(np.column_stack([runs.params, runs.tokens]), axis=0)
    found = []
    for params, tokens in cells:
        here = (runs.params == params) & (runs.tokens == tokens)
        cell = Runs(*(getattr(runs, name)[here] for name in Runs.__slots__))
        smooth = smooth_cell(cell)
        if smooth is not None:
            found.append(lowest(smooth, float(params), float(tokens), len(cell.loss)))
    return found


def lowest(smooth: SmoothCell, params: float, tokens: float, runs: int) -> Optimum:
    """The minimum of a smoothed cell over a grid of 121 x 121 points, every third first."""
    axes = [np.linspace(low, high, 121) for low, high in zip(smooth.low, smooth.high, strict=True)]
    every = np.arange(0, 121, 3)
    coarse, _ = lowest_of(smooth, axes, every, every)
    near = [np.arange(max(i - 3, 0), min(i + 4, 121)) for i in coarse]
    place, loss = lowest_of(smooth, axes, *near)
    return Optimum(
        params=params,
        tokens=tokens,
        lr=float(2 ** axes[0][place[0]]),
        batch_tokens=float(2 ** axes[1][place[1]]),
        loss=loss,
        edge=any(i in (0, 120) for i in place),
        runs=runs,
    )


def lowest_of(
    smooth: SmoothCell, axes: list[Floats], rows: Integers, columns: Integers
) -> tuple[tuple[int, int], float]:
    """Place on the grid and loss of the lowest of some of its rows and columns."""
    lr, batch = np.meshgrid(axes[0][rows], axes[1][columns], indexing="ij")
    loss = smooth.spline(np.column_stack([lr.ravel(), batch.ravel()]))
    row, column = divmod(int(loss.argmin()), len(columns))
    return (int(rows[row]), int(columns[column])), float(loss.min())
