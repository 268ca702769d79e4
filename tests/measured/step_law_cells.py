"""Step Law's measured cells, for benchmarks: their runs, their smoothed losses, their optima.

Regret is that of `tools/regret.py` in the shared folder, on the same smoothed loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.cells.spline import SmoothCell, smooth_cell
from fitting.runs.tuned import TunedRuns

TABLE = "lr_batch_runs_to_537M.csv"


@dataclass(frozen=True, slots=True)
class Cell:
    """One (params, tokens) cell and its smoothed loss over lr and batch."""

    params: float
    tokens: float
    smooth: SmoothCell

    def loss(self, lr: float, batch_tokens: float) -> float:
        """Smoothed loss; a point outside the grid is moved to its edge."""
        point = [math.log2(lr), math.log2(batch_tokens)]
        return float(self.smooth.spline(np.clip(point, self.smooth.low, self.smooth.high)[None])[0])

    def regret(self, lr: float, batch_tokens: float) -> float:
        """Loss over the best measured, percent."""
        return 100 * (self.loss(lr, batch_tokens) / self.smooth.best - 1)

    def covers(self, batch_tokens: float) -> bool:
        """Whether a batch lies inside the grid."""
        return bool(self.smooth.low[1] <= math.log2(batch_tokens) <= self.smooth.high[1])

    def lowest_at(self, batch_tokens: float) -> float:
        """Lowest smoothed loss over the grid's lr at one batch."""
        lr = np.linspace(self.smooth.low[0], self.smooth.high[0], 241)
        points = np.column_stack([lr, np.full_like(lr, math.log2(batch_tokens))])
        return float(self.smooth.spline(points).min())


def read_table(shared: Path) -> pd.DataFrame:
    """The 2,438 runs of 36 cells."""
    return pd.read_csv(shared / "data" / TABLE)


def columns(table: pd.DataFrame) -> TunedRuns:
    """The columns that a surface is fitted to."""
    names = ("params", "tokens", "lr", "batch_tokens", "loss")
    return TunedRuns(*(table[name].to_numpy(float) for name in names))


@cache
def read_cells(shared: Path) -> list[Cell]:
    """Every cell with its smoothed loss."""
    table = read_table(shared)
    cells = table[["params", "tokens"]].drop_duplicates().to_numpy(float)
    return [
        smoothed(params, tokens, table[(table["params"] == params) & (table["tokens"] == tokens)])
        for params, tokens in cells
    ]


def smoothed(params: float, tokens: float, runs: pd.DataFrame) -> Cell:
    """A cell's runs as a spline; every cell of the table has runs enough."""
    smooth = smooth_cell(columns(runs))
    assert smooth is not None
    return Cell(params, tokens, smooth)


def step_law(params: float, tokens: float) -> tuple[float, float]:
    """lr and batch of Step Law as published (arXiv 2503.04715)."""
    return 1.79 * params**-0.713 * tokens**0.307, 0.58 * tokens**0.571
