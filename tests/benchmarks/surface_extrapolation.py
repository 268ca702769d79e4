"""What a law from smaller models costs at larger ones, by prior, against Step Law as published.

usage: python -m tests.benchmarks.surface_extrapolation SHARED [--quick]

Regret is that of `tools/regret.py --table lr_batch_runs_to_537M.csv`: mean over all cells named.
"one fit" is one surface for every size, "per target" weighs cells by their distance to the
target. Coverage counts measured optima inside 80% intervals of lr and of batch (per target, no
prior), cells with an optimum on the edge of their grid left out. The 10% rows are means over
random draws of the runs up to 429M, a seed each. Settings were chosen on splits inside the
training sets, see `surface_choices`. --quick: no intervals, 4 draws.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.cells.spline import Optimum, measured_optima
from fitting.intervals import Z80
from fitting.laws.file import read_law
from fitting.laws.surface import best_point
from fitting.surface.fit import Effort, SurfaceFit, fit_surface
from fitting.surface.interval import surface_log_sd
from fitting.surface.line import Line
from fitting.surface.prior import line_from_law
from tests.benchmarks.step_law_cells import Cell, columns, read_cells, read_table, step_law

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


def row(
    cases: list[Split], optima: list[Optimum], effort: Effort
) -> tuple[Score, Score, Score, Score, Score]:
    """Scores of one row of the table, over its draws: none and prior, one fit and per target."""
    prior = step_law_line()
    some = Effort(bootstraps=max(effort.bootstraps, 50))
    return (
        total([one_fit(case, None, optima, effort) for case in cases]),
        total([per_target(case, None, optima, effort) for case in cases]),
        total([one_fit(case, prior, optima, some) for case in cases]),
        total([per_target(case, prior, optima, some) for case in cases]),
        total([published(case) for case in cases]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    effort = Effort(bootstraps=0 if args.quick else 100)
    optima = measured_optima(columns(read_table(args.shared)))
    rows = [[split] for split in splits(args.shared)]
    rows.append([tenth(args.shared, seed) for seed in range(4 if args.quick else DRAWS)])
    print(f"{'regret, %':32}{'':5}{'prior none':>16}{'prior step-law':>16}{'Step Law':>11}")
    heads = "".join(f"{head:>8}" for head in ("one fit", "target") * 2)
    print(f"{'':32}{'runs':>5}{heads}{'published':>11}   optima held")
    held = asked = 0
    for cases in rows:
        none, near, prior, prior_near, law = row(cases, optima, effort)
        held, asked = held + near.held, asked + near.asked
        means = "".join(f"{score.regret:8.3f}" for score in (none, near, prior, prior_near))
        print(
            f"{cases[0].name:32}{len(cases[0].runs):5}{means}{law.regret:11.3f}"
            f"   {near.held} of {near.asked}",
            flush=True,
        )
    if asked:
        print(f"intervals hold {held} of {asked}: {100 * held / asked:.0f}%")


if __name__ == "__main__":
    main()
