"""Chinchilla's 240 runs and the starts of its replication (arXiv 2404.10102)."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.arrays import Floats
from fitting.loss.families import Family
from fitting.robust import Problem


def read_runs(shared: Path) -> tuple[Floats, Floats, Floats]:
    """params, tokens and loss of the 240 runs."""
    rows = pd.read_csv(shared / "data" / "chinchilla_figure4.csv").iloc[5:]
    params = rows["Model Size"].to_numpy(dtype=np.float64)
    flops = rows["Training FLOP"].to_numpy(dtype=np.float64)
    return params, flops / (6 * params), rows["loss"].to_numpy(dtype=np.float64)


def start_grid() -> Floats:
    """The 4,500 starts as rows of (a, b, e, alpha, beta)."""
    log_scale, exponent = np.arange(0, 30, 5.0), np.arange(0, 2.5, 0.5)
    grid = itertools.product(log_scale, log_scale, np.arange(-1, 1.5, 0.5), exponent, exponent)
    return np.array(list(grid))


def to_free(grid: Floats, problem: Problem[Family]) -> Floats:
    """Rows of (a, b, e, alpha, beta) as our free parameters."""
    a, b, e, alpha, beta = grid.T
    centre = problem.features.centre
    columns = [e, a - alpha * centre.params, -alpha, b - beta * centre.tokens, -beta]
    return np.stack(columns, axis=1)
