from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from fitting.cells.few_runs import Start, places, rise, start_at
from fitting.errors import InputError
from fitting.surface.prior import neutral_surface
from proxies.sweep.axes import lattice_points
from proxies.sweep.cells import TrialSetting
from proxies.sweep.search.samplers import (
    SAMPLERS,
    SpecSampler,
    distributions,
    from_the_middle,
    local_optimum,
    read_setting,
    save_start,
    tried_runs,
    why_done,
)
from proxies.sweep.spec import AxisRange, SearchSpec, StartSpec, SweepSpec
from proxies.sweep.spec_file import parse_spec

BEST = (2e-3, 16_384.0)
NEEDS = {"gp": "torch", "cma": "cmaes"}
"""Packages of the extra `proxies` that samplers of Optuna's import."""

TEXT = """
model = { d_model = [64], n_layers = [2], head_dim = 32 }
budget = { tokens = ["100M"] }
corpus = { source = "python" }

[search]
lr = { low = 1e-4, high = 4e-2 }
batch_tokens = { low = 1024, high = 262144 }
start = { lr = 8e-3, batch_tokens = 4096 }

[run]
seq_len = 128
"""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def spec_with(**search: Any) -> SweepSpec:
    spec = parse_spec(TEXT, where="SPEC.toml")
    return replace(spec, search=replace(spec.search, **search))


def loss_at(setting: TrialSetting) -> float:
    cell = start_at(neutral_surface(), 1e5, 1e8, lr=BEST[0], batch_tokens=BEST[1])
    at = places(cell, np.array([setting.lr]), np.array([setting.batch_sequences * 128.0]))
    return float(2.5 * np.exp(rise(np.array(cell.weights), at)[0][0]))


def first_start() -> Start:
    return start_at(neutral_surface(), 1e5, 1e8, lr=8e-3, batch_tokens=4096.0)


def open_study(spec: SweepSpec, path: Path | None = None) -> optuna.Study:
    storage = None if path is None else JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(
        storage=storage, study_name="cell", sampler=SpecSampler(spec), load_if_exists=True
    )
    if "start" not in study.user_attrs:
        save_start(study, first_start())
    return study


def run(spec: SweepSpec, study: optuna.Study, count: int) -> list[TrialSetting]:
    """Settings of the next runs, each told its loss."""
    done = []
    for _ in range(count):
        trial = study.ask(distributions(spec))
        setting = read_setting(spec, frozen(study, trial))
        study.tell(trial, loss_at(setting))
        done.append(setting)
    return done


def frozen(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[trial.number]


def test_names_in_the_spec_are_those_of_the_registry() -> None:
    assert set(get_args(get_type_hints(SearchSpec)["sampler"])) == set(SAMPLERS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n == "gp" else ())
        for n in SAMPLERS
        # The session asks for the points of `target`.
        if n != "target"
    ],
)
def test_every_sampler_stays_in_range_and_is_fixed_by_its_seed(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    spec = spec_with(sampler=name, seed=3)
    runs = run(spec, open_study(spec), 7)
    assert runs == run(spec, open_study(spec), 7)
    for setting in runs:
        assert 1e-4 <= setting.lr <= 4e-2
        assert 1024 <= setting.batch_sequences * 128 <= 262144
        assert setting.weight_decay == 0.1


@pytest.mark.parametrize("name", ["cells", "grid", "random", "tpe"])
def test_a_search_that_was_broken_off_goes_on_as_if_it_had_not_been(
    name: str, tmp_path: Path
) -> None:
    spec = spec_with(sampler=name)
    unbroken = run(spec, open_study(spec), 8)
    resumed = []
    for _ in range(8):
        resumed += run(spec, open_study(spec, tmp_path / "journal.log"), 1)
    assert resumed == unbroken


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_samplers_of_optuna_begin_with_the_start(name: str) -> None:
    spec = spec_with(sampler=name)
    first = run(spec, open_study(spec), 2)
    assert first[0] == TrialSetting(lr=8e-3, batch_sequences=32, weight_decay=0.1, seed=0)
    assert first[1].lr != first[0].lr


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_lr_and_weight_decay_are_drawn_apart(name: str) -> None:
    axis = AxisRange(low=1e-3, high=1.0)
    spec = spec_with(sampler=name, lr=axis, weight_decay=axis)
    drawn = run(spec, open_study(spec), 4)[1:]
    assert all(abs(math.log(s.lr / s.weight_decay)) > 1e-3 for s in drawn)


def test_grid_runs_every_point_once_with_every_seed_in_order() -> None:
    spec = spec_with(
        sampler="grid", lr=(1e-3, 2e-3), batch_tokens=(1024.0, 2048.0), weight_decay=(0.0, 0.1)
    )
    spec = replace(spec, run=replace(spec.run, seeds=(5, 6)))
    study = open_study(spec)
    runs = run(spec, study, 16)
    points = [(s.lr, s.batch_sequences, s.weight_decay) for s in runs]
    assert points == lattice_points(spec) * 2
    assert [s.seed for s in runs] == [5] * 8 + [6] * 8
    assert why_done(spec, study, most_runs=16) == "16 runs made"
    with pytest.raises(InputError, match="no point of its grid is left"):
        study.ask(distributions(spec))


def test_a_failed_trial_is_run_again() -> None:
    spec = spec_with(sampler="grid", lr=(1e-3, 2e-3), batch_tokens=1024.0)
    study = open_study(spec)
    trial = study.ask(distributions(spec))
    study.tell(trial, state=TrialState.FAIL)
    assert run(spec, study, 2)[0].lr == trial.params["lr"]


def test_cells_finds_the_optimum_from_four_times_off_and_says_when_it_knows() -> None:
    spec = spec_with()
    spec = replace(spec, budget=replace(spec.budget, interval_width=2.0))
    study = open_study(spec)
    made = 0
    while (why := why_done(spec, study, most_runs=30)) is None:
        run(spec, study, 1)
        made += 1
    assert "within a factor" in why
    assert 6 <= made <= 16
    found = local_optimum(spec, study)
    assert found is not None
    assert found.lr == pytest.approx(BEST[0], rel=0.25)
    assert found.batch_tokens == pytest.approx(BEST[1], rel=0.25)


def test_cells_gives_workers_that_ask_at_once_different_points() -> None:
    spec = spec_with()
    study = open_study(spec)
    run(spec, study, 4)
    asked = [study.ask(distributions(spec)).params for _ in range(6)]
    assert len({tuple(sorted(params.items())) for params in asked}) == 6


def test_cells_moves_down_from_runs_that_diverged() -> None:
    spec = spec_with(start=StartSpec(lr=2e-2, batch_tokens=4096))
    study = open_study(spec)
    for ending in ("value", "pruned"):
        trial = study.ask(distributions(spec))
        trial.set_user_attr("status", "diverged")
        if ending == "value":
            study.tell(trial, math.inf)
        else:
            trial.report(9.0, step=1)
            study.tell(trial, state=TrialState.PRUNED)
    assert np.isinf(tried_runs(spec, study).loss).all()
    assert run(spec, study, 1)[0].lr < 3e-3


def test_a_stopped_run_is_bounded_by_the_best_of_its_cell() -> None:
    spec = spec_with()
    study = open_study(spec)
    run(spec, study, 3)
    trial = study.ask(distributions(spec))
    trial.report(9.0, step=1)
    study.tell(trial, state=TrialState.PRUNED)
    tried = tried_runs(spec, study)
    assert tried.stopped.tolist() == [False, False, False, True]
    assert tried.loss[3] == pytest.approx(tried.loss[:3].min() * math.exp(0.01))


def test_seeds_take_turns() -> None:
    spec = spec_with()
    spec = replace(spec, run=replace(spec.run, seeds=(7, 8)))
    assert [s.seed for s in run(spec, open_study(spec), 4)] == [7, 8, 7, 8]


def test_a_point_outside_the_lattice_is_never_proposed() -> None:
    spec = spec_with(lr=(1e-3, 2e-3, 4e-3), batch_tokens=(4096.0, 8192.0))
    study = open_study(spec)
    runs = run(spec, study, 6)
    assert {(s.lr, s.batch_sequences) for s in runs} == {p[:2] for p in lattice_points(spec)}
    assert why_done(spec, study, most_runs=20) == "no point of its lattice is left to run"
    with pytest.raises(InputError, match="no point of its lattice is left"):
        study.ask(distributions(spec))


def test_the_grid_starts_in_its_middle_and_ends_in_its_corners() -> None:
    lrs, batches = (1.0, 2.0, 4.0, 8.0, 16.0), (1, 2, 4)
    found = from_the_middle([(lr, batch, 0.1) for lr in lrs for batch in batches])
    assert found[0] == (4.0, 2, 0.1)
    assert {point[:2] for point in found[-4:]} == {(1.0, 1), (1.0, 4), (16.0, 1), (16.0, 4)}
    assert len(set(found)) == 15
