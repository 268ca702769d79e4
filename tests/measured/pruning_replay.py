"""Recorded curves replayed through a pruner."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from fitting.cells.few_runs import places, rise, start_at
from fitting.surface.prior import neutral_surface
from proxies.sweep.search.pruning import REPORTS, WHOLE
from proxies.sweep.search.samplers import STOPPED_GAP, SpecSampler, distributions, read_setting
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
