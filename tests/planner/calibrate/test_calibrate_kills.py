import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from planner.plan.file import load_plan

PLAN = "import sys; from planner.cli import main; sys.exit(main(sys.argv[1:]))"
ARGUMENTS = ("calibrate", "--params", "1B", "--tokens", "20B", "--budget", "8e12")
KILLS = 5


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PLAN, *ARGUMENTS, "--executor", "processes", "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_calibration_on_a_cpu_survives_five_kills_and_ends_with_a_plan(tmp_path: Path) -> None:
    rng, folder, trained = random.Random(0), tmp_path / "mine", 0.0
    for _ in range(KILLS):
        process, since = start(folder), time.monotonic()
        try:
            process.wait(timeout=rng.uniform(10, 60))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        trained += time.monotonic() - since
    since = time.monotonic()
    assert start(folder).wait() == 0
    print(f"{trained + time.monotonic() - since:.0f} s in all, {KILLS} kills")
    runs = pd.read_parquet(folder / "runs.parquet")
    assert runs["run_id"].is_unique
    assert (runs["status"] == "finished").sum() >= 20
    plan = load_plan(folder / "plan.json")
    assert plan.lr.law == "laws"
    assert plan.lr.low is not None
    assert plan.lr.high is not None
    assert plan.lr.low < plan.lr.value < plan.lr.high
    assert (folder / "laws.toml").exists()
    assert 1e6 < (folder / "report.html").stat().st_size < 5e6
