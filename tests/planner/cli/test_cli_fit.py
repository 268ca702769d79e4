import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest_regressions.file_regression import FileRegressionFixture

from fitting.laws.file import read_law
from planner.cli import main
from tests.fixtures.runs import BATCHES, LRS, SIZES, TOKENS, loss_table, tuned_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    tables = {
        "good": tuned_table(),
        "few": few_runs(),
        "loss": loss_table(),
        "one-cell": tuned_table(sizes=SIZES[:1], tokens=TOKENS[:1]),
        "one-lr": tuned_table(lrs=LRS[4:5]),
        "mixed": mixed(),
        "bad": good_with_bad_rows(),
        "negative": tuned_table().assign(loss=-1.0),
    }
    for name, table in tables.items():
        table.to_csv(path / f"{name}.csv", index=False)
    return path


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Paths in golden texts are then those of any machine.
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")


def few_runs() -> pd.DataFrame:
    return tuned_table(sizes=SIZES[:2], tokens=TOKENS[:2], lrs=LRS[::2], batches=BATCHES[::2])


def mixed() -> pd.DataFrame:
    table = tuned_table()
    return table.assign(parametrization=np.where(table["params"] > 1e8, "mup", "sp"))


def good_with_bad_rows() -> pd.DataFrame:
    table = tuned_table().assign(status="finished")
    table.loc[:2, "status"] = "failed"
    high = table["lr"] == table["lr"].max()
    table.loc[high, "status"] = "diverged"
    table.loc[high, "loss"] = np.nan
    return pd.concat([table, table.iloc[10:12]], ignore_index=True)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", ["good", "few", "bad"])
def test_the_summary_of_a_fit(
    name: str, capsys: pytest.CaptureFixture[str], file_regression: FileRegressionFixture
) -> None:
    code, out, err = run(capsys, "fit", f"{name}.csv")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    file_regression.check(out)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("one-cell", 1, "no law of lr and batch: 1 (params, tokens) cell, 2 needed"),
        ("mixed", 2, "2 groups that no law may pool: mup with adamw (288 runs), sp with adamw"),
        ("negative", 2, "negative.csv row 2, column loss: -1"),
        ("absent", 2, "absent.csv: cannot be read"),
    ],
)
def test_a_table_that_cannot_be_fitted_is_one_line(
    name: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = run(capsys, "fit", f"{name}.csv")
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert said in err


def test_one_lr_gives_no_law_of_lr_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "fit", "one-lr.csv", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["lr"] is None
    assert any("lr takes fewer than 3 values" in note for note in found["notes"])


def test_the_law_file_plans_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.toml"
    assert run(capsys, "fit", "good.csv", "--prior", "none", "--out", str(out))[0] == 0
    law = read_law(out)
    assert law.source.evidence == "fitted"
    assert law.source.command == f"plan fit good.csv --prior none --out {out}"
    size = ("--params", "300M", "--tokens", "20B")
    code, text, err = run(capsys, "--laws", str(out), *size, "--json")
    assert code == 0, err
    plan = json.loads(text)
    assert plan["lr"]["law"].startswith("mine")
    assert plan["loss"]["law"] == "mine"
    assert plan["lr"]["low"] < plan["lr"]["value"] < plan["lr"]["high"]
    code, text, _ = run(capsys, "predict", str(out), "good.csv", "--json")
    lines = [json.loads(line) for line in text.splitlines()]
    assert code == 0
    assert len(lines) == len(tuned_table())
    assert all(line["low"] < line["loss"] < line["high"] for line in lines)
    assert list(lines[0]) == ["loss", "low", "high"]


def test_several_tables_are_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tuned_table()
    halves = [tmp_path / "small.csv", tmp_path / "large.parquet"]
    table[table["params"] < 2e8].to_csv(halves[0], index=False)
    table[table["params"] > 2e8].to_parquet(halves[1], index=False)
    _, both, _ = run(capsys, "fit", *map(str, halves), "--json")
    _, whole, _ = run(capsys, "fit", "good.csv", "--json")
    assert json.loads(both)["runs"]["used"] == 432
    assert json.loads(both)["lr"] == json.loads(whole)["lr"]


def test_a_file_is_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("mine")
    code, _, err = run(capsys, "fit", "loss.csv", "--out", str(out))
    assert code == 2
    assert err == f"plan: {out}: exists already; name another file or pass --force\n"
    assert out.read_text() == "mine"
    assert run(capsys, "fit", "loss.csv", "--out", str(out), "--force")[0] == 0
    assert read_law(out).quantities.keys() == {"loss"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prior", "steplaw"), "--prior 'steplaw': no such law; nearest is 'step-law'"),
        (("--target", "1B"), "--target '1B': is not PARAMS:TOKENS; write 1B:20B"),
        (("--target", "1B:2X"), "--target '2X': 'X' is not a unit"),
        (("--out", "no/such/mine.toml"), "no/such/mine.toml: no such folder 'no/such'"),
        (("--plot", "fit.gif"), "fit.gif: ends in '.gif'"),
        (("--prior", "power-lines"), "--prior power-lines: gives no"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line(
    options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "fit", "good.csv", *options)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


def test_an_own_law_file_can_be_the_prior(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.toml"
    run(capsys, "fit", "good.csv", "--out", str(out))
    _, text, _ = run(capsys, "fit", "few.csv", "--laws", str(out), "--prior", "mine", "--json")
    assert json.loads(text)["prior"]["name"] == "mine"


def test_a_plot_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fit.png"
    code, out, _ = run(capsys, "fit", "loss.csv", "--plot", str(path))
    assert code == 0
    assert out.splitlines()[-1] == f"written: {path}"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_progress_is_silent_where_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", terminal := io.StringIO())
    assert main(["fit", "loss.csv"]) == 0
    assert terminal.getvalue() == ""


def test_predictions_are_a_table_without_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file_regression: FileRegressionFixture
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("params,tokens,lr,batch_tokens\n1e9,2e10,,\n1e8,2e9,2e-3,131072\n")
    out = tmp_path / "mine.toml"
    run(capsys, "fit", "good.csv", "--out", str(out))
    code, text, err = run(capsys, "predict", str(out), str(rows))
    assert code == 0
    assert err.startswith("warning: 1 of 2 rows lie outside the range of mine")
    file_regression.check(text)


def test_unique_tokens_are_shown_where_rows_give_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "mine.toml"
    rows.write_text("params,tokens,unique_tokens\n1e9,2e10,5e9\n1e9,3e10,\n")
    run(capsys, "fit", "loss.csv", "--out", str(out))
    _, text, _ = run(capsys, "predict", str(out), str(rows))
    header, _, first, second = text.split("\n")[1:5]
    assert header.split()[:3] == ["params", "tokens", "unique"]
    assert first.split()[:3] == ["1B", "20B", "5B"]
    assert second.split()[:3] == ["1B", "30B", "30B"]


def test_a_law_without_a_surface_warns_that_lr_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.toml"
    run(capsys, "fit", "loss.csv", "--out", str(out))
    code, text, err = run(capsys, "predict", str(out), "few.csv", "--json")
    assert code == 0
    assert len(text.splitlines()) == len(few_runs())
    assert err == "warning: mine has no surface: every row is predicted at its best lr and batch\n"


def test_a_row_that_cannot_be_predicted_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "mine.toml"
    rows.write_text("params,tokens\n1e9,2e10\n,2e10\n")
    run(capsys, "fit", "loss.csv", "--out", str(out))
    code, text, err = run(capsys, "predict", str(out), str(rows))
    assert (code, text) == (2, "")
    assert err == f"plan: {rows} row 3, column params: is empty or NaN\n"
