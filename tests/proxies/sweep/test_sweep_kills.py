"""A sweep that is killed at random moments loses no run and makes none twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from proxies.sweep.folder.records import RESULTS, TABLE, read_records
from tests.fixtures.sweeps import tiny_sweep

PLAN = "import sys; from planner.cli import main; sys.exit(main())"


def start(spec: Path, folder: Path, executor: str) -> subprocess.Popen[bytes]:
    command = ["sweep", "run", str(spec), "--out", str(folder), "--executor", executor]
    return subprocess.Popen(
        [sys.executable, "-c", PLAN, *command, "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def kill_at_random(process: subprocess.Popen[bytes], folder: Path, rng: random.Random) -> bool:
    """Kill the sweep up to 0.3 s after the studies grew by up to five runs; whether it lived."""
    journal = folder / "study.log"
    enough = size(journal) + rng.randrange(1, 5000)
    while process.poll() is None and size(journal) < enough:
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
    try:
        process.wait(rng.uniform(0, 0.3))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def check_killed(tmp_path: Path, *, executor: str, kills: int, lrs: int, tokens: int) -> None:
    spec = tmp_path / "SPEC.toml"
    spec.write_text(
        tiny_sweep(
            d_model="[16, 32]", tokens=f"[{tokens}]", lr=str([1e-3 * 1.3**i for i in range(lrs)])
        )
    )
    finish(start(spec, tmp_path / "whole", executor))
    rng, folder, killed = random.Random(0), tmp_path / "broken", 0
    before: list[str] = []
    for _ in range(kills):
        killed += kill_at_random(start(spec, folder, executor), folder, rng)
        done = [str(record.row["run_id"]) for record in read_records(folder)]
        assert done[: len(before)] == before
        assert len(done) == len(set(done))
        before = done
    finish(start(spec, folder, executor))
    assert killed > kills / 2
    whole, broken = (
        pd.read_parquet(tmp_path / name / TABLE).drop(columns="seconds")
        for name in ("whole", "broken")
    )
    assert len(whole) == 4 * lrs
    pd.testing.assert_frame_equal(whole, broken, check_exact=True)
    lines = (folder / RESULTS).read_text().splitlines()
    assert len({json.loads(line)["row"]["run_id"] for line in lines}) == len(lines) == len(whole)
    print(f"{killed} of {kills} kills hit a running sweep; {len(broken)} runs, each once")


def test_three_kills_change_nothing_in_the_table(tmp_path: Path) -> None:
    check_killed(tmp_path, executor="sequential", kills=3, lrs=5, tokens=2048)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["sequential", "processes", "ensemble"])
def test_twenty_kills_change_nothing_in_the_table(tmp_path: Path, executor: str) -> None:
    check_killed(tmp_path, executor=executor, kills=20, lrs=20, tokens=8192)
