"""What stopping runs early saves and costs, replayed on recorded or made-up loss curves.

usage: python -m tests.benchmarks.pruning_replay [DIR] [--cells 40]

Runs come in their recorded order, each pruner judging a run by the reports of those before it. A
good run ends within 1% of the best of its cell. With DIR, the folder of a sweep without a pruner,
the curves are those of its finished runs. Without, they are made up: 24 random
settings a cell, losses by the neutral three-term surface, WSD curves on which runs of high lr are
ahead or behind while it is high and lose more in the decay, noise 0.3% a report and 0.2% a run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, create_trial

from fitting.files import read_table
from proxies.sweep.folder.about import About, read_about, run_folder
from proxies.sweep.folder.records import read_records
from proxies.sweep.search.pruning import PRUNERS, REPORTS, WHOLE
from proxies.sweep.search.studies import open_storage, open_study
from proxies.sweep.spec_file import parse_spec
from tests.measured.pruning_replay import SPEC, make_runs, replay


def recorded_runs(folder: Path, about: About) -> dict[str, list[FrozenTrial]]:
    """The finished runs of every cell of a sweep, with the reports that they would have made."""
    storage = open_storage(folder, about.storage)
    found: dict[str, list[FrozenTrial]] = {}
    for record in read_records(folder):
        if record.status != "finished":
            continue
        trial = open_study(storage, about, record.cell).memory.get_trials()[record.number]
        curve = read_table(run_folder(folder, str(record.row["run_id"])) / "curve.csv")
        found.setdefault(record.cell, []).append(
            create_trial(
                params=trial.params,
                distributions=trial.distributions,
                value=record.loss,
                intermediate_values=reports_of(curve[["tokens", "loss"]].astype(float)),
            )
        )
    return found


def reports_of(curve: pd.DataFrame) -> dict[int, float]:
    """The mean loss of the last 5% of the tokens at each 5% of a run."""
    tokens, losses = curve["tokens"].to_numpy(), curve["loss"].to_numpy()
    found = {}
    for step in range(REPORTS, WHOLE, REPORTS):
        # A run reports at its first update past the mark.
        now = tokens[np.searchsorted(tokens, tokens[-1] * step / WHOLE)]
        window = (tokens <= now) & (tokens > now - tokens[-1] * REPORTS / WHOLE)
        found[step] = float(losses[window].mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR")
    parser.add_argument("--cells", type=int, default=40)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if args.folder is None:
        spec = parse_spec(SPEC, where="spec")
        cells = {f"cell-{seed}": make_runs(seed) for seed in range(args.cells)}
    else:
        about = read_about(args.folder)
        assert about is not None, f"{args.folder}: no sweep there"
        spec, cells = about.spec, recorded_runs(args.folder, about)
    print(f"{len(cells)} cells, {sum(map(len, cells.values()))} runs")
    print(f"{'pruner':16}{'saved':>7}{'good runs stopped':>20}{'best runs stopped':>20}")
    for pruner in PRUNERS:
        make = PRUNERS[pruner]
        found = [replay(make(spec), runs, name=name) for name, runs in cells.items()]
        stopped, good = sum(one.good_stopped for one in found), sum(one.good for one in found)
        best = sum(one.best_stopped for one in found)
        print(
            f"{pruner:16}{np.mean([one.saved for one in found]):7.1%}"
            f"{f'{stopped} of {good}':>20}{f'{best} of {len(found)}':>20}"
        )


if __name__ == "__main__":
    main()
