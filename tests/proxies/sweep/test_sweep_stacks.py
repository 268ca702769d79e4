"""Runs of a sweep that are trained in stacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from proxies.run.shape import Shape
from proxies.sweep.cells import expand_cells
from proxies.sweep.executors import timing as choosing
from proxies.sweep.executors.desk import Desk, Ended, Job
from proxies.sweep.executors.ensembles import rows_together, run_ensembles
from proxies.sweep.executors.timing import choose_executor, estimate_cells
from proxies.sweep.folder.records import TABLE, Record, read_records
from proxies.sweep.run_sweep import Means, make_desk, run_sweep
from proxies.sweep.spec import SweepSpec
from proxies.sweep.spec_file import parse_spec
from proxies.train import ensemble
from tests.fixtures.sweeps import tiny_sweep

SPEC = tiny_sweep()
RUNS = 6


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def changed(**parts: str) -> SweepSpec:
    """The spec with some lines in the place of those that begin with their keys."""
    text = SPEC
    for name, line in parts.items():
        (old,) = (one for one in SPEC.splitlines() if one.startswith(f"{name} ="))
        text = text.replace(old, line)
    return parse_spec(text, where="SPEC.toml")


def table(spec: SweepSpec, folder: Path, executor: str) -> pd.DataFrame:
    run_sweep(spec, folder, means=Means(executor=executor))
    return pd.read_parquet(folder / TABLE).drop(columns="seconds")


def test_stacks_make_the_table_of_a_sequential_sweep(tmp_path: Path) -> None:
    spec = changed(model="model = { d_model = [16, 32], n_layers = [1], head_dim = 8 }")
    one, other = (table(spec, tmp_path / name, name) for name in ("sequential", "ensemble"))
    assert len(one) == 2 * RUNS
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)
    assert len(list((tmp_path / "ensemble").glob("runs/*/curve.csv"))) == 2 * RUNS


def test_a_search_takes_its_runs_one_after_the_other(tmp_path: Path) -> None:
    search = 'sampler = "tpe"\nruns_per_cell = 7'
    spec = changed(sampler=search, batch_tokens="batch_tokens = 128")
    one, other = (table(spec, tmp_path / name, name) for name in ("sequential", "ensemble"))
    assert len(one) == 7
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)


def test_a_search_of_cells_stacks_its_first_two_runs(tmp_path: Path) -> None:
    search = 'sampler = "cells"\nruns_per_cell = 5\nstart = { lr = 4e-3, batch_tokens = 256 }'
    spec = changed(sampler=search, lr="lr = { low = 1e-3, high = 1e-1 }")
    taken: list[list[str]] = [[]]

    def watch(desk: Desk) -> Iterator[Ended]:
        def next_job() -> Job | None:
            job = desk.next_job()
            taken[-1] += [job.run_id[-4:]] if job else []
            return job

        for ended in run_ensembles(replace(desk, next_job=next_job)):
            taken.append([])
            yield ended

    run_sweep(spec, tmp_path, execute=watch, means=Means(executor="ensemble"))
    assert [runs for runs in taken if runs] == [["0000", "0001"], ["0002"], ["0003"], ["0004"]]


def test_a_run_that_diverges_or_is_pruned_leaves_its_stack(tmp_path: Path) -> None:
    spec = changed(lr="lr = [1e-3, 2e-3, 1e4]", sampler='sampler = "grid"\npruner = "median"')
    seen: list[Record] = []

    def prune_one(desk: Desk) -> Iterator[Ended]:
        def report(run_id: str, step: int, loss: float) -> bool:
            desk.report(run_id, step, loss)
            return not (run_id.endswith("0002") and step >= 500)

        yield from run_ensembles(replace(desk, report=report))

    run_sweep(
        spec, tmp_path, execute=prune_one, on_record=seen.append, means=Means(executor="ensemble")
    )
    statuses = {str(record.row["run_id"])[-4:]: record.status for record in seen}
    assert statuses == {
        "0000": "finished",
        "0001": "finished",
        "0002": "pruned",
        "0003": "finished",
        "0004": "diverged",
        "0005": "diverged",
    }
    assert [r for r in statuses if statuses[r] == "finished"][-1] == list(statuses)[-1]


def test_a_stack_that_is_put_down_yields_nothing_and_is_made_again(tmp_path: Path) -> None:
    whole = table(changed(), tmp_path / "whole", "ensemble")

    def stop_soon(desk: Desk) -> Iterator[Ended]:
        looks = iter(range(16))
        yield from run_ensembles(
            replace(desk, stopping=lambda: desk.stopping() or next(looks, None) is None)
        )

    broken = tmp_path / "broken"
    first = run_sweep(changed(), broken, execute=stop_soon, means=Means(executor="ensemble"))
    assert first.runs < RUNS
    pd.testing.assert_frame_equal(table(changed(), broken, "ensemble"), whole)
    assert len({record.number for record in read_records(broken)}) == RUNS


def test_runs_of_other_optimizers_are_trained_alone(tmp_path: Path) -> None:
    spec = changed(seq_len='seq_len = 32\noptimizer = "lion"', batch_tokens="batch_tokens = 256")
    assert rows_together(make_desk(spec, Means()), spec) == 1
    one, other = (table(spec, tmp_path / name, name) for name in ("sequential", "ensemble"))
    pd.testing.assert_frame_equal(one, other)


def test_where_memory_runs_out_stacks_become_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    start = ensemble.start_ensemble

    def limited(specs, corpus, *, device):  # type: ignore[no-untyped-def]
        sizes.append(len(specs))
        if len(specs) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return start(specs, corpus, device=device)

    monkeypatch.setattr(ensemble, "start_ensemble", limited)
    spec = changed(lr="lr = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3]", batch_tokens="batch_tokens = 256")
    found = table(spec, tmp_path, "ensemble")
    assert (list(found["status"]), sizes) == (["finished"] * 5, [5, 2, 2, 1])


def test_runs_that_a_stack_has_are_those_of_one_batch() -> None:
    desk = make_desk(changed(), Means())
    assert rows_together(desk, changed()) == 3
    assert rows_together(replace(desk, workers=2), changed()) == 2
    random = changed(sampler='sampler = "random"\nruns_per_cell = 20')
    assert rows_together(desk, random) == 8
    anywhere = changed(
        sampler='sampler = "random"\nruns_per_cell = 20',
        batch_tokens="batch_tokens = { low = 128, high = 512 }",
    )
    assert rows_together(desk, anywhere) == 1
    assert rows_together(desk, changed(sampler='sampler = "gp"\nruns_per_cell = 20')) == 1


def test_time_that_is_up_leaves_the_runs_that_were_taken(tmp_path: Path) -> None:
    ended: list[Ended] = []

    def watch(desk: Desk) -> Iterator[Ended]:
        for one in run_ensembles(replace(desk, spent=lambda: bool(ended))):
            ended.append(one)
            yield one

    means = Means(executor="ensemble")
    assert run_sweep(changed(), tmp_path, execute=watch, means=means).runs == RUNS / 2
    assert run_sweep(changed(), tmp_path, means=means).runs == RUNS


@pytest.mark.parametrize(("worth", "chosen"), [(True, "ensemble"), (False, "sequential")])
def test_auto_stacks_only_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, *, worth: bool, chosen: str
) -> None:
    spec, desk = changed(), replace(make_desk(changed(), Means()), workers=3)
    cells = expand_cells(spec, vocab_size=64)
    rates = {"sequential": 1.0, "processes": 0.5, "ensemble": 2.0}

    def measure(
        spec: SweepSpec, shapes: list[Shape], desk: Desk, *, name: str
    ) -> dict[Shape, float]:
        return dict.fromkeys(shapes, rates[name])

    monkeypatch.setattr(choosing, "measure_rates", measure)
    monkeypatch.setattr(choosing, "is_worth_stacking", lambda *_: worth)
    assert choose_executor(spec, cells, desk) == chosen


def test_a_stack_is_timed_like_the_others() -> None:
    spec, desk = changed(), make_desk(changed(), Means())
    (cell,) = expand_cells(spec, vocab_size=64)
    (estimate,) = estimate_cells(spec, [cell], desk, name="ensemble")
    assert 0 < estimate.seconds < 60
    assert isinstance(choosing.is_worth_stacking(spec, cell, desk), bool)
