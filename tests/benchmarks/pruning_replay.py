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
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from fitting.cells.few_runs import places, rise, start_at
from fitting.files import read_table
from fitting.surface.prior import neutral_surface
from proxies.sweep.folder.about import About, read_about, run_folder
from proxies.sweep.folder.records import read_records
from proxies.sweep.search.pruning import PRUNERS, REPORTS, WHOLE
from proxies.sweep.search.samplers import STOPPED_GAP, SpecSampler, distributions, read_setting
from proxies.sweep.search.studies import open_storage, open_study
from proxies.sweep.spec_file import parse_spec

SPEC = """
model = { d_model = [64], n_layers = [2], head_dim = 32 }
budget = { tokens = ["100M"] }
corpus = { source = "python" }

[search]
sampler = "random"
lr = { low = 1e-4, high = 4e-2 }
batch_tokens = { low = 1024, high = 262144 }

[run]
seq_len = 128
"""
START = start_at(neutral_surface(), 1e5, 1e8, lr=2e-3, batch_tokens=16_384.0)
"""Where the made-up cells are best."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pruner did in one cell."""

    saved: float
    """Share of the training that was not done."""
    good: int
    """Runs within 1% of the best."""
    good_stopped: int
    best_stopped: bool


def replay(pruner: BasePruner, runs: list[FrozenTrial], *, name: str) -> Outcome:
    """One cell's finished runs, in order, under a pruner."""
    study = optuna.create_study(study_name=name, pruner=pruner)
    best = min(final(run) for run in runs)
    done, good, good_stopped, best_stopped = 0.0, 0, 0, False
    for run in runs:
        study.enqueue_trial(run.params)
        trial = study.ask(run.distributions)
        is_good = final(run) < best * math.exp(STOPPED_GAP)
        good += is_good
        for step, loss in sorted(run.intermediate_values.items()):
            trial.report(loss, step)
            if step < WHOLE and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                done += step / WHOLE
                good_stopped += is_good
                best_stopped |= final(run) == best
                break
        else:
            study.tell(trial, final(run))
            done += 1
    return Outcome(1 - done / len(runs), good, good_stopped, best_stopped)


def final(run: FrozenTrial) -> float:
    """The loss that a finished run ended at."""
    assert run.value is not None
    return run.value


def make_runs(seed: int, count: int = 24) -> list[FrozenTrial]:
    """Made-up runs of one cell."""
    spec = parse_spec(SPEC, where="spec")
    spec = replace(spec, search=replace(spec.search, seed=seed))
    study = optuna.create_study(study_name="cell", sampler=SpecSampler(spec))
    rng = np.random.default_rng(seed)
    for number in range(count):
        trial = study.ask(distributions(spec))
        setting = read_setting(spec, study.get_trials(deepcopy=False)[number])
        losses, last = make_curve(setting.lr, setting.batch_sequences * 128.0, rng)
        for index, loss in enumerate(losses):
            trial.report(loss, REPORTS * (index + 1))
        study.tell(trial, last)
    return study.trials


def make_curve(
    lr: float, batch_tokens: float, rng: np.random.Generator
) -> tuple[list[float], float]:
    """Losses at each twentieth of a made-up run, and at its end."""
    at = places(START, np.array([lr]), np.array([batch_tokens]))
    last = 1.0 + float(rise(np.array(START.weights), at)[0][0]) + rng.normal(scale=0.002)
    progress = np.arange(1, 20) / 20
    hot = 0.08 * (lr / START.lr) ** 0.4 * np.minimum(1, (1 - progress) / 0.2)
    slow = 0.15 * (START.lr / lr) ** 0.2 * (progress**-0.4 - 1)
    noise = rng.normal(scale=0.003, size=len(progress))
    return [float(loss) for loss in np.exp(last + hot + slow + noise)], math.exp(last)


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
