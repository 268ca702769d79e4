from __future__ import annotations

from pathlib import Path

import pytest

from fitting.runs.table import read_runs
from planner.cli import main

SWEEP = "n,d,learning_rate,bs,final,seed_name\n" + "".join(
    f"{n},2000000000,{lr},32,{loss},x\n"
    for n, lr, loss in (
        (60000000, 0.001, 2.9),
        (60000000, 0.002, 2.8),
        (60000000, 0.004, "nan"),
        (60000000, -1, 2.8),
    )
)
MAP = "params=n,tokens=d,lr=learning_rate,batch_tokens=bs,loss=final"


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("sweep.csv").write_text(SWEEP)
    return tmp_path


@pytest.mark.parametrize("out", ["runs.csv", "runs.parquet"])
def test_import_says_what_was_read_mapped_left_out_and_rejected(
    sweep: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    code = main(["import", "sweep.csv", "--map", MAP, "--seq-len", "2048", "-o", out])
    printed = capsys.readouterr()
    assert code == 0
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[:5] == [
        "read: 4 runs from sweep.csv (csv)",
        "mapped: params = n, tokens = d, lr = learning_rate, batch_tokens = bs x 2048, "
        "loss = final, seq_len = 2048 for every run",
        "left out: 1 columns (seed_name)",
        "rejected: 1 rows (sweep.csv row 5, column lr: -1 is not above 0)",
        "runs: 2 runs used, 1 diverged, 0 rejected",
    ]
    assert lines[-1] == f"wrote: {out}"
    assert read_runs(out).table["batch_tokens"].to_list() == [65536.0] * 3


def test_import_replaces_a_file_only_with_force(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs.csv").write_text("mine")
    command = ["import", "sweep.csv", "--map", MAP, "--seq-len", "2048", "-o", "runs.csv"]
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("runs.csv").read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert len(read_runs("runs.csv").table) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv", "-o", "r.csv"], "plan: none.csv: no such file or folder"),
        (["sweep.csv", "-o", "r.csv"], "nothing gives params, tokens, loss"),
        (["sweep.csv", "--map", MAP, "-o", "r.csv"], "it counts sequences"),
        (["sweep.csv", "--map", MAP, "--seq-len", "2048", "-o", "r.txt"], "is .csv or .parquet"),
        (["sweep.csv", "--from", "excel", "-o", "r.csv"], "no such reader"),
        (["sweep.csv", "--map", MAP, "--seq-len", "-1", "-o", "r.csv"], "must be above 0"),
    ],
)
def test_a_bad_import_is_one_line_and_writes_nothing(
    sweep: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["import", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert sorted(file.name for file in sweep.iterdir()) == ["sweep.csv"]


def test_an_imported_table_imports_as_itself(sweep: Path) -> None:
    assert main(["import", "sweep.csv", "--map", MAP, "--seq-len", "2048", "-o", "a.csv"]) == 0
    assert main(["import", "a.csv", "-o", "b.csv"]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
