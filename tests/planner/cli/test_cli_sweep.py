"""`plan sweep` and `plan schema` as a user types them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.capture import CaptureFixture

from fitting.runs.table import read_runs
from planner.cli import main
from tests.fixtures.sweeps import tiny_sweep

SPEC = tiny_sweep(tokens="[2048, 4096]")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "SPEC.toml"
    path.write_text(SPEC)
    return path


def plan(capsys: CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_run_prints_the_cells_and_the_table_and_status_says_the_same(
    capsys: CaptureFixture[str], spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said, err = plan(capsys, "sweep", "run", spec, "--out", out, "--executor", "sequential")
    assert (code, err) == (0, "")
    assert f"{out / 'runs.parquet'}: 12 runs" in said
    assert "d16-l1-ff32-2048: 6 runs made" in said
    code, status, err = plan(capsys, "sweep", "status", out)
    assert (code, err) == (0, "")
    assert said.count("6/6") == status.count("6/6") == 2
    assert "12 of at most 12 runs" in status
    assert "not running" in status


def test_dry_run_prints_cells_runs_flops_and_time_and_writes_nothing(
    capsys: CaptureFixture[str], spec: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, said, err = plan(
        capsys, "sweep", "run", spec, "--out", out, "--dry-run", "--executor", "sequential"
    )
    assert (code, err) == (0, "")
    assert "d16-l1-ff32-2048" in said
    assert "12 runs, " in said
    assert "by sequential (1 at once, from a few timed steps)" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "SPEC", "--out", "OUT", "--executor", "slurm"), "--executor 'slurm': no such"),
        (("run", "SPEC", "--out", "OUT", "--workers", "0"), "--workers 0: at least 1"),
        (("run", "SPEC", "--out", "OUT", "--log", "tensorbord"), "nearest is 'tensorboard'"),
        (("run", "missing.toml", "--out", "OUT"), "missing.toml: cannot be read"),
        (("status", "OUT"), "no sweep there"),
    ],
)
def test_what_cannot_be_is_one_line(
    capsys: CaptureFixture[str], spec: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    names = {"SPEC": str(spec), "OUT": str(tmp_path / "out")}
    code, out, err = plan(capsys, "sweep", *(names.get(a, a) for a in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_schema_of_a_spec_is_json_with_meanings(capsys: CaptureFixture[str]) -> None:
    code, said, _ = plan(capsys, "schema", "spec")
    assert code == 0
    assert set(json.loads(said)["properties"]) == {"model", "budget", "search", "corpus", "run"}
    code, _, err = plan(capsys, "schema", "specs")
    assert (code, "nearest is 'spec'" in err) == (2, True)


def test_ctrl_c_leaves_a_table_and_the_same_command_goes_on(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import sys; from planner.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "sweep", "run", str(spec), "--out", str(out)]
    command += ["--executor", "sequential"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (out / "results.jsonl").exists():
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGINT)
    said, err = process.communicate()
    assert (process.returncode, err) == (130, "plan: stopped\n")
    assert "stopped; the same command goes on" in said
    done = len(read_runs(out / "runs.parquet").table)
    assert 0 < done < 12
    subprocess.run(command, check=True, capture_output=True)
    assert len(read_runs(out / "runs.parquet").table) == 12
