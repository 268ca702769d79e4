"""Laws of lr and batch from smaller models, judged on the larger ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.cells.spline import Optimum
from fitting.intervals import Z80
from fitting.laws.file import read_law
from fitting.laws.surface import best_point
from fitting.surface.fit import Effort, SurfaceFit, fit_surface
from fitting.surface.interval import surface_log_sd
from fitting.surface.line import Line
from fitting.surface.prior import line_from_law
from tests.measured.step_law_cells import Cell, columns, read_cells, read_table, step_law

LAW = Path(__file__).parents[2] / "data" / "laws" / "step-law.toml"

DRAWS = 20
"""Random tenths of the runs."""


@dataclass(frozen=True, slots=True)
class Split:
    """Runs to fit and the cells to predict."""

    name: str
    runs: pd.DataFrame
    targets: list[Cell]


@dataclass(frozen=True, slots=True)
class Score:
    """How a fit did on the targets of a split."""

    regret: float
    """Mean over the targets, percent."""
    held: int = 0
    """Measured optima inside their 80% intervals, lr and batch counted apart."""
    asked: int = 0


def splits(shared: Path) -> list[Split]:
    """The four splits by size."""
    table = read_table(shared)
    cells = read_cells(shared)
    largest = [cell for cell in cells if cell.params > 5e8]
    two_largest = [cell for cell in cells if cell.params > 4e8]
    smallest = table[(table["params"] < 1.3e8) & (table["tokens"] < 8.1e9)]
    return [
        Split("537M (7) from N <= 429M", table[table["params"] < 4.5e8], largest),
        Split("537M (7) from N <= 268M", table[table["params"] < 3e8], largest),
        Split("429M, 537M (15) from N <= 215M", table[table["params"] < 2.2e8], two_largest),
        Split("429M, 537M (15) from N <= 120M", smallest, two_largest),
    ]


def tenth(shared: Path, seed: int) -> Split:
    """A random tenth of the runs up to 429M, for 537M."""
    table = read_table(shared)
    runs = table[table["params"] < 4.5e8]
    pick = np.random.default_rng(seed).choice(len(runs), size=round(0.1 * len(runs)), replace=False)
    targets = [cell for cell in read_cells(shared) if cell.params > 5e8]
    return Split("537M (7) from 10% up to 429M", runs.iloc[pick], targets)


def step_law_line() -> Line:
    """The default prior: Step Law as published, widened for another setting."""
    law = read_law(LAW)
    return line_from_law(law.quantities["lr"], law.quantities["batch_tokens"])


def published(split: Split) -> Score:
    """Step Law as published, whose authors saw these cells."""
    costs = [cell.regret(*step_law(cell.params, cell.tokens)) for cell in split.targets]
    return Score(float(np.mean(costs)))


def one_fit(split: Split, prior: Line | None, optima: list[Optimum], effort: Effort) -> Score:
    """One surface for all targets."""
    fit = fit_surface(columns(split.runs), line_prior=prior, effort=effort)
    return total([judge(fit, cell, optima) for cell in split.targets])


def per_target(split: Split, prior: Line | None, optima: list[Optimum], effort: Effort) -> Score:
    """A surface for each target."""
    scores = []
    for cell in split.targets:
        fit = fit_surface(
            columns(split.runs),
            line_prior=prior,
            target=(cell.params, cell.tokens),
            effort=effort,
        )
        scores.append(judge(fit, cell, optima))
    return total(scores)


def judge(fit: SurfaceFit, cell: Cell, optima: list[Optimum]) -> Score:
    """Regret at one target, and whether the intervals hold its measured optimum."""
    predicted = best_point(fit.surface, cell.params, cell.tokens)
    regret = cell.regret(*predicted)
    known = surface_log_sd(fit.surface, cell.params, cell.tokens)
    inside = [
        o for o in optima if (o.params, o.tokens) == (cell.params, cell.tokens) and not o.edge
    ]
    if known is None or not inside:
        return Score(regret)
    scatter = (fit.scatter.lr, fit.scatter.batch_tokens)
    measured = (inside[0].lr, inside[0].batch_tokens)
    held = sum(
        abs(math.log(found / at)) <= Z80 * math.hypot(sd, spread)
        for found, at, sd, spread in zip(measured, predicted, known, scatter, strict=True)
    )
    return Score(regret, held, 2)


def total(scores: list[Score]) -> Score:
    """Mean regret, summed counts."""
    return Score(
        float(np.mean([score.regret for score in scores])),
        sum(score.held for score in scores),
        sum(score.asked for score in scores),
    )
