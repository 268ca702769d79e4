from __future__ import annotations

from collections.abc import Iterator
from typing import get_args, get_type_hints

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from proxies.sweep.search.pruning import CHECKS, PRUNERS, REPORTS, WHOLE, make_pruner, report_step
from proxies.sweep.search.samplers import SpecSampler, distributions, read_setting, save_start
from proxies.sweep.spec import SearchSpec, SweepSpec
from proxies.sweep.spec_file import parse_spec
from tests.measured.pruning_replay import SPEC, START, make_curve, make_runs, replay


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def spec_with(*, pruner: str, sampler: str = "random") -> SweepSpec:
    text = SPEC.replace('"random"', f'"{sampler}"\npruner = "{pruner}"')
    if sampler == "cells":
        text = text.replace("[search]", "[search]\nstart = { lr = 8e-3, batch_tokens = 4096 }")
    return parse_spec(text, where="SPEC.toml")


def test_names_in_the_spec_are_those_of_the_registry() -> None:
    assert set(get_args(get_type_hints(SearchSpec)["pruner"])) == set(PRUNERS)


def test_extrapolation_saves_a_third_and_stops_no_good_run() -> None:
    pruner = make_pruner(spec_with(pruner="extrapolation"))
    found = [replay(pruner, make_runs(seed), name="cell") for seed in range(4)]
    assert np.mean([one.saved for one in found]) > 0.33
    assert sum(one.good for one in found) >= 8
    assert sum(one.good_stopped for one in found) == 0


def test_nothing_is_stopped_before_there_are_peers() -> None:
    pruner = make_pruner(spec_with(pruner="extrapolation"))
    assert replay(pruner, make_runs(0, 4), name="cell").saved == 0


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", ["grid", "cells", "random", "tpe"])
def test_every_sampler_takes_its_own_path_under_every_pruner(pruner: str, sampler: str) -> None:
    spec = spec_with(pruner=pruner, sampler=sampler)
    study = optuna.create_study(
        study_name="cell", sampler=SpecSampler(spec), pruner=make_pruner(spec)
    )
    save_start(study, START)
    rng = np.random.default_rng(0)
    for number in range(10):
        trial = study.ask(distributions(spec))
        setting = read_setting(spec, study.get_trials(deepcopy=False)[number])
        losses, final = make_curve(setting.lr, setting.batch_sequences * 128.0, rng)
        for index, loss in enumerate(losses):
            trial.report(loss, REPORTS * (index + 1))
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, final)
    points = [tuple(sorted(trial.params.items())) for trial in study.trials]
    assert len(set(points)) == 10
    if pruner == "none":
        assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


def test_reports_fall_due_at_every_twentieth_whatever_the_batch() -> None:
    for batch in (1_000, 7_000, 50_000):
        seen = [report_step(min(k * batch, 10**6), 10**6) for k in range(1, 10**6 // batch + 2)]
        due = {step for step in seen if step is not None}
        assert due == set(range(50, WHOLE + 1, 50))
        assert set(CHECKS) <= due
