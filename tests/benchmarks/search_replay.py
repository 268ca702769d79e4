"""How many runs a cell's search needs, replayed on Step Law's dense cells.

usage: python -m tests.benchmarks.search_replay SHARED [--seeds 10] [--gp-seeds 2]

Oracles are the 15 cells of `lr_batch_runs_to_537M.csv` with 88 runs or more; a proposal becomes
the nearest run (in log lr and log batch) that was not used yet. Searches start 4 times off Step
Law's lr or batch along each axis, or off both (corners), clipped to the grid; every sampler runs
the start first. cells recommends the optimum of its fit, others the best run seen (its own lucky
noise included) or, in the rows "fitted", what the same fit makes of their runs. Regret is that of
`tools/regret.py --table lr_batch_runs_to_537M.csv`, percent of the loss: mean over cells, starts
and seeds. cells draws no random numbers, so that it has one seed. The law was made from these
cells, by its authors; the search was tuned on the other 21 cells.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import TrialState, create_trial

from fitting.arrays import Floats
from fitting.cells.few_runs import Start, start_at
from fitting.surface.prior import neutral_surface
from proxies.sweep.search.samplers import SpecSampler, distributions, local_optimum, save_start
from proxies.sweep.spec import SweepSpec
from proxies.sweep.spec_file import parse_spec
from tests.measured.step_law_cells import Cell, read_cells, read_table, step_law

SEQ_LEN = 2048
RUNS = 20
DENSE = 88
STARTS = {
    "axes": ((4, 1), (1 / 4, 1), (1, 4), (1, 1 / 4)),
    "corners": ((4, 4), (4, 1 / 4), (1 / 4, 4), (1 / 4, 1 / 4)),
}
BAR = 0.10
FITTED_SEEDS = 2
"""The fit of every other sampler's runs takes longer than the sampler."""
SHOWN = (5, 8, 10, 12, 14, 17, 20)
SPEC = """
model = { d_model = [64], n_layers = [1], head_dim = 64 }
budget = { tokens = ["1T"] }
corpus = { source = "python" }
run = { seq_len = 2048 }
"""


@dataclass(frozen=True, slots=True)
class Oracle:
    """One measured cell."""

    cell: Cell
    runs: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Replay:
    """One search: regret of two recommendations after each run, percent."""

    best: Floats
    """Of the best run seen, shape (runs,)."""
    fitted: Floats
    """Of the optimum of the cell's fit; empty from seed `FITTED_SEEDS` on."""
    seconds: float
    """Longest proposal."""


def read_oracles(shared: Path) -> list[Oracle]:
    """The dense cells with their runs."""
    table = read_table(shared)
    found = []
    for cell in read_cells(shared):
        runs = table[(table["params"] == cell.params) & (table["tokens"] == cell.tokens)]
        if len(runs) >= DENSE:
            found.append(Oracle(cell, runs.reset_index(drop=True)))
    return found


def spec_of(oracle: Oracle, sampler: str, seed: int) -> SweepSpec:
    """A search over the grid's box: its own values for cells, ranges for Optuna's samplers."""
    axes = []
    for name in ("lr", "batch_tokens"):
        values = np.unique(oracle.runs[name]).tolist()
        between = f"{{ low = {values[0]}, high = {values[-1]} }}"
        axes.append(f"{name} = {values if sampler == 'cells' else between}")
    start = "start = { lr = 1e-3, batch_tokens = 1e5 }"
    search = ["[search]", f"sampler = '{sampler}'", f"seed = {seed}", start, *axes]
    return parse_spec(SPEC + "\n".join(search), where="spec")


def replay(oracle: Oracle, sampler: str, factors: tuple[float, float], seed: int) -> Replay:
    """One search of one cell from one start."""
    cell, spec = oracle.cell, spec_of(oracle, sampler, seed)
    law = step_law(cell.params, cell.tokens)
    limits = np.exp2([cell.smooth.low, cell.smooth.high])
    lr, batch = np.clip(np.multiply(law, factors), *limits)
    start = start_at(neutral_surface(), cell.params, cell.tokens, lr=lr, batch_tokens=batch)
    study = open_study(oracle, spec, start)
    free = np.ones(len(oracle.runs), dtype=bool)
    best, fitted, seconds = [], [], []
    for _ in range(RUNS):
        seconds.append(run_next(oracle, spec, study, free))
        lucky = study.best_params
        best.append(cell.regret(lucky["lr"], SEQ_LEN * lucky["batch_sequences"]))
        if seed < FITTED_SEEDS:
            found = local_optimum(spec, study)
            assert found is not None
            fitted.append(cell.regret(found.lr, found.batch_tokens))
    return Replay(np.array(best), np.array(fitted), max(seconds))


def open_study(oracle: Oracle, spec: SweepSpec, start: Start) -> optuna.Study:
    """An empty study of one cell that keeps its start."""
    name = f"{oracle.cell.params}-{oracle.cell.tokens}"
    study = optuna.create_study(sampler=SpecSampler(spec), study_name=name)
    save_start(study, start)
    return study


def run_next(
    oracle: Oracle, spec: SweepSpec, study: optuna.Study, free: NDArray[np.bool_]
) -> float:
    """Tell the study of the unused run nearest to its next proposal; seconds that this took it."""
    before = time.perf_counter()
    trial = study.ask(distributions(spec))
    seconds = time.perf_counter() - before
    wanted = np.log([trial.params["lr"], SEQ_LEN * trial.params["batch_sequences"]])
    study.tell(trial, state=TrialState.FAIL)
    places = np.log(oracle.runs[["lr", "batch_tokens"]].to_numpy())
    row = int(np.where(free, np.sum((places - wanted) ** 2, axis=1), np.inf).argmin())
    free[row] = False
    run = oracle.runs.iloc[row]
    study.add_trial(
        create_trial(
            params={"lr": run.lr, "batch_sequences": int(run.batch_tokens) // SEQ_LEN},
            distributions=distributions(spec),
            value=run.loss,
        )
    )
    return seconds


def runs_to(bar: float, regret: Floats) -> str:
    """The first run from which the mean regret stays at the bar or below."""
    above = np.flatnonzero(regret > bar)
    first = above[-1] + 2 if len(above) else 1
    return str(first) if first <= len(regret) else f"over {len(regret)}"


def print_row(name: str, kind: str, seeds: int, regret: Floats) -> None:
    """One row: mean regret after some runs, and runs to the bar; regret is (searches, runs)."""
    mean = regret.mean(axis=0)
    shown = "".join(f"{mean[count - 1]:7.3f}" for count in SHOWN)
    worst = regret[:, SHOWN[2] - 1].max()
    print(f"{name:18}{kind:9}{seeds:5}{shown}{runs_to(BAR, mean):>9}{worst:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--gp-seeds", type=int, default=2)
    parser.add_argument("--times", action="store_true", help="also print the slowest proposals")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    oracles = read_oracles(args.shared)
    seeds = {"cells": 1, "gp": args.gp_seeds, "tpe": args.seeds, "random": args.seeds}
    print(f"{len(oracles)} cells; mean regret, %, after that many runs")
    heads = "".join(f"{count:7}" for count in SHOWN)
    print(f"{'sampler':18}{'start':9}{'seeds':>5}{heads}{f'to {BAR:.2f}':>9}{'worst':>8} (at 10)")
    seeds = {sampler: count for sampler, count in seeds.items() if count}
    slowest = dict.fromkeys(seeds, 0.0)
    for kind, starts in STARTS.items():
        for sampler, count in seeds.items():
            made = [
                replay(oracle, sampler, factors, seed)
                for seed in range(count)
                for oracle in oracles
                for factors in starts
            ]
            slowest[sampler] = max([slowest[sampler], *(one.seconds for one in made)])
            if sampler != "cells":
                print_row(f"{sampler}, best seen", kind, count, np.array([r.best for r in made]))
            name = sampler if sampler == "cells" else f"{sampler}, fitted"
            fitted = np.array([one.fitted for one in made if len(one.fitted)])
            print_row(name, kind, min(count, FITTED_SEEDS), fitted)
    if args.times:
        said = ", ".join(f"{name} {1000 * value:.0f}" for name, value in slowest.items())
        print(f"slowest proposal, ms: {said}")


if __name__ == "__main__":
    main()
