"""Runs in processes, runs that are stopped early, and machines that are full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from proxies.corpus import open_corpus
from proxies.sweep.cells import TrialSetting, expand_cells, make_run_spec
from proxies.sweep.executors.desk import Ended, Job, can_halve, halved, job_folder
from proxies.sweep.executors.train_job import is_out_of_memory, train_job
from proxies.sweep.folder.records import TABLE, read_records
from proxies.sweep.folder.trackers import open_loggers
from proxies.sweep.run_sweep import Means, run_sweep
from proxies.sweep.spec_file import parse_spec
from tests.fixtures.sweeps import tiny_sweep

SPEC = tiny_sweep()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def make_job(directory: Path | None, *, halvings: int = 0) -> Job:
    spec = parse_spec(SPEC, where="SPEC.toml")
    corpus = open_corpus(spec.corpus.source)
    (cell,) = expand_cells(spec, vocab_size=corpus.vocab_size)
    setting = TrialSetting(lr=1e-3, batch_sequences=8, weight_decay=0.1, seed=0)
    run = make_run_spec(spec, cell, setting)
    return Job(run_id="run", spec=run, directory=directory, halvings=halvings)


def train(job: Job, **changes: object) -> Ended | None:
    calls = {"report": lambda run_id, step, loss: True, "stopping": lambda: False} | changes
    return train_job(job, open_corpus("zipf:vocab=64"), device="cpu", **calls)  # type: ignore[arg-type]  # either of the two


def test_processes_make_the_table_of_a_sequential_sweep(tmp_path: Path) -> None:
    spec = parse_spec(SPEC, where="SPEC.toml")
    for name in ("sequential", "processes"):
        run_sweep(spec, tmp_path / name, means=Means(executor=name, workers=2))
    one, other = (
        pd.read_parquet(tmp_path / name / TABLE).drop(columns="seconds")
        for name in ("sequential", "processes")
    )
    pd.testing.assert_frame_equal(one, other)


def test_a_run_with_half_the_micro_batch_has_the_same_loss(tmp_path: Path) -> None:
    whole, half = (train(make_job(tmp_path / str(n), halvings=n)) for n in (0, 2))
    assert whole is not None
    assert half is not None
    assert half.row["loss"] == pytest.approx(whole.row["loss"], rel=1e-4)
    assert (half.row["micro_batch_sequences"], half.row["out_of_memory"]) == (2, 2)


def test_micro_batches_halve_down_to_one_sequence(tmp_path: Path) -> None:
    sizes = [halved(make_job(tmp_path, halvings=n)).micro_sequences for n in (1, 2, 3)]
    assert sizes == [4, 2, 1]
    assert can_halve(make_job(tmp_path, halvings=2))
    assert not can_halve(make_job(tmp_path, halvings=3))
    assert job_folder(make_job(tmp_path)) == tmp_path
    assert job_folder(make_job(tmp_path, halvings=1)) == tmp_path / "micro-4"


def test_torch_and_python_say_that_memory_is_out_in_ways_that_are_known() -> None:
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_reports_come_at_each_twentieth_and_false_stops_the_run(tmp_path: Path) -> None:
    job = replace(make_job(tmp_path / "a"), reports=True)
    told: list[int] = []

    def note(run_id: str, step: int, loss: float) -> bool:
        told.append(step)
        return step < 500

    ended = train(job, report=note)
    assert ended is not None
    assert ended.row["status"] == "pruned"
    assert told == [125 // 50 * 50, 250, 375 // 50 * 50, 500]


def test_a_run_that_is_put_down_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    looks = iter(range(3))
    assert train(make_job(tmp_path / "a"), stopping=lambda: next(looks, None) is None) is None
    broken, whole = train(make_job(tmp_path / "a")), train(make_job(tmp_path / "b"))
    assert broken is not None
    assert whole is not None
    assert broken.row["loss"] == whole.row["loss"]


def test_tensorboard_has_each_run_with_its_curve(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = parse_spec(SPEC.replace("[1e-3, 2e-3, 4e-3]", "1e-3"), where="SPEC.toml")
    with open_loggers(["tensorboard"], tmp_path) as log:
        run_sweep(spec, tmp_path, means=Means(executor="sequential"), on_record=log)
    for record in read_records(tmp_path):
        events = EventAccumulator(str(tmp_path / "tensorboard" / str(record.row["run_id"])))
        events.Reload()
        losses = [event.value for event in events.Scalars("train/loss")]
        assert len(losses) == 2048 / float(record.row["batch_tokens"])
        assert events.Scalars("final/loss")[-1].value == pytest.approx(record.loss, rel=1e-6)


FULL = """
import resource, sys
from planner.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
sys.exit(main(sys.argv[2:]))
"""


def test_a_full_disk_stops_with_one_line_and_a_consistent_table(tmp_path: Path) -> None:
    path, folder = tmp_path / "SPEC.toml", tmp_path / "out"
    path.write_text(SPEC)
    arguments = ["sweep", "run", str(path), "--out", str(folder), "--executor", "sequential"]
    done = [
        subprocess.run(
            [sys.executable, "-c", FULL, limit, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        for limit in ("40000", "-1")
    ]
    assert done[0].returncode == 2
    (line,) = done[0].stderr.splitlines()
    assert "cannot be written (File too large)" in line
    assert done[1].returncode == 0, done[1].stderr
    assert len(pd.read_parquet(folder / TABLE)) == 6


LITTLE_MEMORY = """
import resource
from proxies.sweep.executors.train_job import train_job
from proxies.sweep.executors.desk import Job
from tests.fixtures.tiny_run import tiny_corpus, tiny_spec

corpus = tiny_corpus(tokens=500_000)


def train(sequences):
    job = Job(run_id="run", spec=tiny_spec(steps=2, sequences=sequences), directory=None)
    answers = {"report": lambda *said: True, "stopping": lambda: False}
    return train_job(job, corpus, device="cpu", **answers)


train(64)
with open("/proc/self/status") as file:
    used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
row = train(8192).row
print(row["status"], row["out_of_memory"] > 0, row["micro_batch_sequences"] < 8192)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does")
def test_a_run_that_is_too_big_for_the_memory_is_made_in_smaller_micro_batches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.stdout.split() == ["finished", "True", "True"], done.stderr
