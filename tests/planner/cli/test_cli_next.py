"""`plan next`: proposals as CSV, and what it refuses."""

import io
import math
from pathlib import Path

import pandas as pd
import pytest

from planner.cli import main
from tests.fixtures.runs import LRS, SIZES, TOKENS, tuned_table

COLUMNS = ["params", "tokens", "lr", "batch_tokens", "flops", "reason"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small = tuned_table(sizes=SIZES[:2], tokens=TOKENS[:2], lrs=LRS[::2])
    small.to_csv(tmp_path / "runs.csv", index=False)
    tuned_table().drop(columns="loss").assign(note="a").to_csv(tmp_path / "pool.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[pd.DataFrame, str]:
    assert main(["next", *words, "--target", "1B:20B"]) == 0
    out, err = capsys.readouterr()
    return pd.read_csv(io.StringIO(out)), err


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["next", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_without_runs_the_prior_places_the_first_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, said = ask(capsys, "--budget", "3e18", "--seq-len", "2048")
    assert list(table.columns) == COLUMNS
    assert len(table) == 8
    assert table["flops"].sum() <= 3e18
    assert (table["batch_tokens"] % 2048 == 0).all()
    assert "by the prior alone" in said
    assert "placed by step-law" in said
    assert "weight decay is not designed for" in said


def test_candidates_keep_their_columns_and_lose_none(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, said = ask(
        capsys, "runs.csv", "--budget", "2e20", "--candidates", "pool.csv", "--prior", "none"
    )
    assert set(COLUMNS) | {"note"} == set(table.columns)
    assert table.columns[-1] == "reason"
    assert "loss" not in table
    runs = pd.read_csv("runs.csv")
    names = ["params", "tokens", "lr", "batch_tokens"]
    assert len(table.merge(runs, on=names)) == 0
    assert f"by {len(runs)} runs" in said


def test_a_candidates_own_flops_are_its_cost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_csv("pool.csv").assign(flops=1.0).to_csv("cheap.csv", index=False)
    table, _ = ask(capsys, "--budget", "100", "--candidates", "cheap.csv", "-n", "5")
    assert table["flops"].tolist() == [1.0] * 5


def test_runs_beyond_the_target_are_remarked_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["next", "runs.csv", "--target", "1M:20M", "--budget", "1e20", "-n", "1"]) == 2
    assert "allow smaller runs" in capsys.readouterr().err
    words = ["--target", "60M:1B", "--budget", "1e20", "-n", "1", "--candidates", "pool.csv"]
    assert main(["next", "runs.csv", *words]) == 0
    assert "runs take as many FLOPs as the target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "1B", "--budget", "1e18"], "is not PARAMS:TOKENS"),
        (["--target", "1B:20B", "--budget", "cheap"], "not a number"),
        (["--target", "1B:20B", "--budget", "1e18", "-n", "0"], "at least 1"),
        (["--target", "1B:20B", "--budget", "1e18", "--lr", "0.1:0.01"], "the first is above"),
        (["--target", "1B:20B", "--budget", "1e18", "--prior", "step-lwa"], "nearest is"),
        (["--target", "1B:20B", "--budget", "1e10", "--params", "10M:1B"], "allow smaller runs"),
        (["--target", "1B:20B", "--budget", "1e15", "--candidates", "pool.csv"], "are too few"),
        (["--target", "1B:20B", "--budget", "1e18", "--candidates", "gone.csv"], "gone.csv"),
        (["--target", "1B:20B", "--budget", "1e18", "--candidates", "odd.csv"], "lr: is empty"),
        (["bare.csv", "--target", "1B:20B", "--budget", "1e18"], "batch_tokens missing"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = pd.read_csv("pool.csv").head(3)
    pool.assign(lr=[0.001, math.nan, 0.002]).to_csv("odd.csv", index=False)
    pd.read_csv("runs.csv")[["params", "tokens", "loss"]].to_csv("bare.csv", index=False)
    assert said in refusal(capsys, *words)
