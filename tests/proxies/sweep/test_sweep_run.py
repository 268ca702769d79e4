from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from fitting.errors import InputError
from fitting.runs.table import read_runs
from proxies.run.spec import RunSpec
from proxies.sweep.cells import settle_base
from proxies.sweep.executors.desk import Desk, Ended, Job, failed_row
from proxies.sweep.folder.about import hold_lock, read_about, run_folder
from proxies.sweep.folder.records import RESULTS, TABLE, Row, read_records
from proxies.sweep.run_sweep import Means, run_sweep
from proxies.sweep.search.target import FEWEST_RUNS
from proxies.sweep.spec import SweepSpec
from proxies.sweep.spec_file import parse_spec
from tests.fixtures.sweeps import tiny_sweep

SPEC = tiny_sweep(d_model="[16, 32]", lr="[1e-3, 4e-3]")
RUNS = 8
SEQUENTIAL = Means(executor="sequential")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def parsed(text: str = SPEC) -> SweepSpec:
    return parse_spec(text, where="SPEC.toml")


def changed(old: str, new: str) -> SweepSpec:
    assert old in SPEC
    return parsed(SPEC.replace(old, new))


def bowl(job: Job) -> Row:
    """A row with a loss that is lowest at lr 2e-3 and 192 tokens a batch."""
    spec = job.spec
    batch_tokens = spec.batching.sequences * spec.seq_len
    loss = 3 + 0.1 * (math.log(spec.lr / 2e-3) ** 2 + math.log(batch_tokens / 192) ** 2)
    return failed_row(spec) | {
        "status": "finished",
        "loss": loss,
        "tokens_seen": float(spec.total_tokens),
        "seconds": 0.0,
    }


def pretend(desk: Desk) -> Iterator[Ended]:
    """An executor that knows each loss without training."""
    while (job := desk.next_job()) is not None:
        yield Ended(run_id=job.run_id, row=bowl(job))


def without_times(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / TABLE).drop(columns="seconds")


def test_every_point_of_a_grid_is_trained_once_and_stands_in_the_table(tmp_path: Path) -> None:
    ending = run_sweep(parsed(), tmp_path / "a", means=SEQUENTIAL)
    assert (ending.runs, ending.stopped) == (RUNS, False)
    runs = read_runs(tmp_path / "a" / TABLE)
    assert len(runs.finished) == RUNS
    assert not runs.table.duplicated(["d_model", "lr", "batch_tokens"]).any()
    assert set(ending.reasons.values()) == {"4 runs made"}
    assert not list((tmp_path / "a").glob("runs/*/*.pt"))
    assert len(list((tmp_path / "a").glob("runs/*/curve.csv"))) == RUNS


def test_a_finished_sweep_makes_no_run_again(tmp_path: Path) -> None:
    run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    seen: list[str] = []
    ending = run_sweep(
        parsed(),
        tmp_path,
        execute=pretend,
        means=SEQUENTIAL,
        on_record=lambda record: seen.append(record.cell),
    )
    assert (ending.runs, seen) == (RUNS, [])


def test_a_sweep_that_is_stopped_goes_on_to_the_same_table(tmp_path: Path) -> None:
    run_sweep(parsed(), tmp_path / "whole", means=SEQUENTIAL)
    broken = tmp_path / "broken"
    for _ in range(RUNS + 1):
        stops: list[object] = []

        def stop_soon(desk: Desk) -> Iterator[Ended]:
            from proxies.sweep.executors.registry import run_sequential

            looks = iter(range(30))
            yield from run_sequential(
                replace(desk, stopping=lambda: desk.stopping() or next(looks, None) is None)
            )

        ending = run_sweep(parsed(), broken, execute=stop_soon, means=SEQUENTIAL)
        stops.append(ending)
        if ending.runs == RUNS:
            break
    assert ending.runs == RUNS
    pd.testing.assert_frame_equal(without_times(tmp_path / "whole"), without_times(broken))


def test_a_run_that_was_broken_off_is_made_again_under_its_number(tmp_path: Path) -> None:
    def die_at_third(desk: Desk) -> Iterator[Ended]:
        for count, ended in enumerate(pretend(desk)):
            if count == 2:
                raise RuntimeError("killed")
            yield ended

    with pytest.raises(RuntimeError, match="killed"):
        run_sweep(parsed(), tmp_path / "b", execute=die_at_third, means=SEQUENTIAL)
    assert len(without_times(tmp_path / "b")) == 2
    run_sweep(parsed(), tmp_path / "b", execute=pretend, means=SEQUENTIAL)
    run_sweep(parsed(), tmp_path / "a", execute=pretend, means=SEQUENTIAL)
    pd.testing.assert_frame_equal(without_times(tmp_path / "a"), without_times(tmp_path / "b"))


def test_a_torn_last_line_is_no_record(tmp_path: Path) -> None:
    run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    whole = without_times(tmp_path)
    for name in (RESULTS, "study.log"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-20])
    assert len(read_records(tmp_path)) == RUNS - 1
    assert run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL).runs == RUNS
    pd.testing.assert_frame_equal(whole, without_times(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[128, 256]", "[128, 256, 512]", r"\[search\] batch_tokens = \[128.0, 256.0\], the spec"),
        ("seq_len = 32", "seq_len = 16", r"\[run\] seq_len = 32, the spec has 16"),
        ("d_model = [16, 32]", "d_model = [16]", r"\[model\] d_model = \[16, 32\]"),
    ],
)
def test_another_spec_is_refused_by_what_differs(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    with pytest.raises(InputError, match=said):
        run_sweep(changed(old, new), tmp_path, execute=pretend, means=SEQUENTIAL)


def test_extend_adds_runs_cells_and_points(tmp_path: Path) -> None:
    means = replace(SEQUENTIAL, extend=True)
    run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    wider = changed("[128, 256]", "[128, 256, 512]")
    assert run_sweep(wider, tmp_path, execute=pretend, means=means).runs == 12
    more = replace(wider, budget=replace(wider.budget, tokens=(2048, 4096)))
    assert run_sweep(more, tmp_path, execute=pretend, means=means).runs == 24
    assert run_sweep(more, tmp_path, execute=pretend, means=SEQUENTIAL).runs == 24
    assert not without_times(tmp_path).duplicated(["d_model", "tokens", "lr", "batch_tokens"]).any()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seq_len = 32", "seq_len = 16", "its runs would not compare"),
        ("[1e-3, 4e-3]", "1e-3", "only lists and ranges can be extended"),
    ],
)
def test_extend_refuses_what_would_not_compare(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    with pytest.raises(InputError, match=said):
        run_sweep(changed(old, new), tmp_path, means=replace(SEQUENTIAL, extend=True))


def test_a_second_writer_is_refused_with_the_first_ones_id(tmp_path: Path) -> None:
    with hold_lock(tmp_path), pytest.raises(InputError, match=r"process \d+ on .* is writing"):
        run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)


def test_a_lock_file_that_nobody_holds_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("process 999999 on gone")
    assert run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL).runs == RUNS


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="has files, and no sweep"):
        run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)


def test_flops_budget_starts_no_run_beyond_it(tmp_path: Path) -> None:
    spec = parsed()
    cost = run_cost(tmp_path / "all")
    spec = replace(spec, budget=replace(spec.budget, flops=2.5 * cost))
    ending = run_sweep(spec, tmp_path / "some", execute=pretend, means=SEQUENTIAL)
    assert ending.runs == 3
    assert ending.spent is not None


def run_cost(folder: Path) -> float:
    run_sweep(parsed(), folder, execute=pretend, means=SEQUENTIAL)
    return float(without_times(folder)["flops"].min())


def test_a_diverged_run_is_recorded_and_not_made_again(tmp_path: Path) -> None:
    def explode(desk: Desk) -> Iterator[Ended]:
        for ended in pretend(desk):
            if ended.row["lr"] == 4e-3:
                yield replace(ended, row=ended.row | {"status": "diverged", "loss": math.nan})
            else:
                yield ended

    assert run_sweep(parsed(), tmp_path, execute=explode, means=SEQUENTIAL).runs == RUNS
    assert len(read_runs(tmp_path / TABLE).diverged) == RUNS // 2


def test_a_cell_whose_runs_fail_is_left_and_tried_again_next_time(tmp_path: Path) -> None:
    def fail_wide(desk: Desk) -> Iterator[Ended]:
        while (job := desk.next_job()) is not None:
            if job.spec.shape.d_model == 32:
                yield Ended(run_id=job.run_id, row=failed_row(job.spec), error="no memory")
            else:
                yield Ended(run_id=job.run_id, row=bowl(job))

    ending = run_sweep(parsed(), tmp_path, execute=fail_wide, means=SEQUENTIAL)
    assert "2 runs failed (no memory)" in ending.reasons.values()
    assert ending.runs == 6
    ending = run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    assert len(read_runs(tmp_path / TABLE).finished) == RUNS


def test_every_record_names_its_run_and_its_folder(tmp_path: Path) -> None:
    run_sweep(parsed(), tmp_path, means=SEQUENTIAL)
    for record in read_records(tmp_path):
        assert (run_folder(tmp_path, str(record.row["run_id"])) / "curve.csv").exists()
    about = read_about(tmp_path)
    assert about is not None
    assert about.spec == settle_base(parsed(), like=None)


def test_a_sweep_from_before_the_base_settings_keeps_the_base_that_it_had(tmp_path: Path) -> None:
    mup = changed("head_dim = 8", 'head_dim = 8, parametrization = "mup"')
    seen: list[RunSpec] = []

    def noting(desk: Desk) -> Iterator[Ended]:
        while (job := desk.next_job()) is not None:
            seen.append(job.spec)
            yield Ended(run_id=job.run_id, row=bowl(job))

    run_sweep(mup, tmp_path, execute=noting, means=SEQUENTIAL)
    assert {spec.init_std for spec in seen} == {0.08}
    path = tmp_path / "sweep.json"
    about = json.loads(path.read_text())
    run = about["spec"]["run"]
    for name in ("embedding_multiplier", "head_init_std"):
        del run[name]
    run |= {"init_std": 0.02, "warmup_fraction": None}
    path.write_text(json.dumps(about))
    (tmp_path / RESULTS).unlink()
    (tmp_path / "study.log").unlink()
    seen.clear()
    run_sweep(mup, tmp_path, execute=noting, means=SEQUENTIAL)
    assert {spec.init_std for spec in seen} == {0.02}
    assert {spec.parametrization.embedding_multiplier for spec in seen} == {1.0}
    other = replace(mup, run=replace(mup.run, embedding_multiplier=10.0))
    with pytest.raises(InputError, match=r"made with \[run\] embedding_multiplier = 1\.0, the"):
        run_sweep(other, tmp_path, execute=noting, means=SEQUENTIAL)


def test_a_damaged_record_is_named_by_its_line(tmp_path: Path) -> None:
    run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)
    lines = (tmp_path / RESULTS).read_text().splitlines()
    lines[1] = json.dumps({"cell": "x"})
    (tmp_path / RESULTS).write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"results.jsonl line 2: no record"):
        run_sweep(parsed(), tmp_path, execute=pretend, means=SEQUENTIAL)


TARGETED = (
    SPEC.replace("tokens = [2048]", "tokens = [2048, 8192]")
    .replace('"grid"', '"target"\ntarget = { params = "1M", tokens = "1M" }\nruns_per_cell = 6')
    .replace(
        "lr = [1e-3, 4e-3]\nbatch_tokens = [128, 256]",
        "lr = { low = 1e-4, high = 1e-2 }\nbatch_tokens = { low = 64, high = 1024 }\n",
    )
)


def test_a_sweep_for_a_target_goes_from_cell_to_cell_and_over_again(tmp_path: Path) -> None:
    ending = run_sweep(parsed(TARGETED), tmp_path, execute=pretend, means=SEQUENTIAL)
    cells = [record.cell for record in read_records(tmp_path)]
    assert len(set(cells)) >= 2
    assert len(set(cells[:5])) == 1
    assert max(cells.count(cell) for cell in cells) <= 6
    assert set(ending.reasons.values()) <= {"6 runs made", "what is left buys no further design"}
    runs = read_runs(tmp_path / TABLE).table
    assert not runs.duplicated(["params", "tokens", "lr", "batch_tokens"]).any()


def test_a_sweep_for_a_target_ends_when_the_target_is_known(tmp_path: Path) -> None:
    loose = TARGETED.replace("[2048, 8192] }", "[2048, 8192], interval_width = 1e9 }")
    loose = re.sub(r"runs_per_cell = \d+", "runs_per_cell = 40", loose)
    ending = run_sweep(parsed(loose), tmp_path, execute=pretend, means=SEQUENTIAL)
    assert FEWEST_RUNS <= ending.runs <= FEWEST_RUNS + 5
    assert any("at the target known within" in why for why in ending.reasons.values())


@pytest.mark.parametrize("sampler", ["random", "cells", "target", "tpe", "cma"])
def test_a_searching_sweep_goes_on_to_the_same_runs(tmp_path: Path, sampler: str) -> None:
    text = SPEC.replace('"grid"', f'"{sampler}"\nruns_per_cell = 5').replace(
        "lr = [1e-3, 4e-3]\nbatch_tokens = [128, 256]",
        "lr = { low = 1e-4, high = 1e-2 }\nbatch_tokens = { low = 64, high = 1024 }\n"
        "start = { lr = 2e-3, batch_tokens = 256 }",
    )
    text = TARGETED if sampler == "target" else text

    def die_at_third(desk: Desk) -> Iterator[Ended]:
        for count, ended in enumerate(pretend(desk)):
            if count == 2:
                raise RuntimeError("killed")
            yield ended

    run_sweep(parsed(text), tmp_path / "a", execute=pretend, means=SEQUENTIAL)
    for _ in range(4):
        with pytest.raises(RuntimeError, match="killed"):
            run_sweep(parsed(text), tmp_path / "b", execute=die_at_third, means=SEQUENTIAL)
    run_sweep(parsed(text), tmp_path / "b", execute=pretend, means=SEQUENTIAL)
    assert len(without_times(tmp_path / "a")) >= 10
    pd.testing.assert_frame_equal(without_times(tmp_path / "a"), without_times(tmp_path / "b"))


def test_probes_that_a_spec_names_are_columns_of_the_table(tmp_path: Path) -> None:
    spec = changed("seq_len = 32", 'seq_len = 32\nprobes = ["max_attention_logit"]')
    run_sweep(spec, tmp_path, means=SEQUENTIAL)
    table = read_runs(tmp_path / TABLE).table
    assert (table["max_attention_logit"] > 0).all()
    assert (table["attention_entropy"] > 0).all()
    assert "grad_rms" not in table


def test_runs_with_probes_are_measured_by_the_stacking_executor_too(tmp_path: Path) -> None:
    spec = changed("seq_len = 32", 'seq_len = 32\nprobes = ["grad_rms"]')
    run_sweep(spec, tmp_path, means=Means(executor="ensemble"))
    assert (read_runs(tmp_path / TABLE).table["grad_rms"] > 0).all()
