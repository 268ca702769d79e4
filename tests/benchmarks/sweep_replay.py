"""A whole sweep of Step Law's dense cells by the sampler cells, cheapest first, with its stop rule.

usage: python -m tests.benchmarks.sweep_replay SHARED

Each cell starts from the surface fitted to the runs of the cells before it, with the law as its
prior: Step Law as published, or with its lr or batch 4 times off everywhere. A cell is done when
the 80% intervals of its best lr and batch span less than a factor 2, or after 15 runs. Regret is
that of `tools/regret.py --table lr_batch_runs_to_537M.csv` at starts and at recommendations, mean
over the 15 cells; "held" counts measured optima (not on the grid's edge) inside those intervals.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna

from fitting.cells.spline import lowest
from fitting.intervals import Z80
from fitting.laws.file import read_law
from fitting.laws.law import Law, Quantity
from fitting.surface.solver import Runs
from proxies.sweep.cells import SweepCell, expand_cells
from proxies.sweep.search.samplers import local_optimum, tried_runs, why_done
from proxies.sweep.search.starts import predict_start
from tests.benchmarks.search_replay import Oracle, open_study, read_oracles, run_next, spec_of

LAW = Path(__file__).parents[2] / "data" / "laws" / "step-law.toml"
MOST_RUNS = 15
WIDTH = 2.0


@dataclass(frozen=True, slots=True)
class Searched:
    """What came of one cell."""

    runs: int
    start_regret: float
    regret: float
    held: int
    asked: int


def search(oracle: Oracle, law: Law, before: Runs | None) -> tuple[Searched, Runs]:
    """One cell, and its runs."""
    spec = spec_of(oracle, "cells", 0)
    spec = replace(spec, budget=replace(spec.budget, interval_width=WIDTH))
    cell = oracle.cell
    start = predict_start(spec, sweep_cell(oracle), law=law, runs=before)
    assert start is not None
    study = open_study(oracle, spec, start)
    free = np.ones(len(oracle.runs), dtype=bool)
    while why_done(spec, study, most_runs=MOST_RUNS) is None:
        run_next(oracle, spec, study, free)
    found, tried = local_optimum(spec, study), tried_runs(spec, study)
    assert found is not None
    measured = lowest(cell.smooth, cell.params, cell.tokens, len(oracle.runs))
    held = [
        abs(math.log(at / truth)) <= Z80 * sd
        for at, truth, sd in (
            (found.lr, measured.lr, found.lr_log_sd),
            (found.batch_tokens, measured.batch_tokens, found.batch_log_sd),
        )
    ]
    size = np.ones(len(tried.loss))
    made = Runs(cell.params * size, cell.tokens * size, tried.lr, tried.batch_tokens, tried.loss)
    searched = Searched(
        runs=len(size),
        start_regret=cell.regret(start.lr, start.batch_tokens),
        regret=cell.regret(found.lr, found.batch_tokens),
        held=0 if measured.edge else sum(held),
        asked=0 if measured.edge else 2,
    )
    return searched, made


def sweep_cell(oracle: Oracle) -> SweepCell:
    """The measured cell as a sweep has it; its shape counts for nothing here."""
    any_cell = expand_cells(spec_of(oracle, "cells", 0), vocab_size=256)[0]
    return replace(any_cell, params=int(oracle.cell.params), tokens=int(oracle.cell.tokens))


def moved(law: Law, factors: tuple[float, float]) -> Law:
    """A law whose lr and batch are off by factors."""

    def scaled(quantity: Quantity, factor: float) -> Quantity:
        scale = quantity.coefficients["scale"] * factor
        return replace(quantity, coefficients=quantity.coefficients | {"scale": scale})

    lr, batch_tokens = law.quantities["lr"], law.quantities["batch_tokens"]
    parts = {"lr": scaled(lr, factors[0]), "batch_tokens": scaled(batch_tokens, factors[1])}
    return replace(law, quantities=parts)


def join(first: Runs | None, second: Runs) -> Runs:
    """Runs of both."""
    if first is None:
        return second
    pairs = ((getattr(first, name), getattr(second, name)) for name in Runs.__slots__)
    return Runs(*(np.concatenate(pair) for pair in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    oracles = sorted(read_oracles(args.shared), key=lambda one: one.cell.params * one.cell.tokens)
    print(f"{'law':22}{'runs a cell':>12}{'start, %':>10}{'found, %':>10}{'worst':>8}{'held':>10}")
    for factors in ((1, 1), (4, 1), (1 / 4, 1), (1, 4), (1, 1 / 4), (4, 4), (1 / 4, 1 / 4)):
        law, before, cells = moved(read_law(LAW), factors), None, []
        for oracle in oracles:
            searched, made = search(oracle, law, before)
            before = join(before, made)
            cells.append(searched)
        held, asked = sum(cell.held for cell in cells), sum(cell.asked for cell in cells)
        print(
            f"{f'lr x {factors[0]:g}, batch x {factors[1]:g}':22}"
            f"{np.mean([cell.runs for cell in cells]):12.1f}"
            f"{np.mean([cell.start_regret for cell in cells]):10.3f}"
            f"{np.mean([cell.regret for cell in cells]):10.3f}"
            f"{max(cell.regret for cell in cells):8.3f}{f'{held} of {asked}':>10}",
            flush=True,
        )


if __name__ == "__main__":
    main()
