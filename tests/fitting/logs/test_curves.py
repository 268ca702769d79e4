"""What reading a curve refuses, each in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fitting.errors import InputError
from fitting.logs.series import read_curve, read_schedule

GOOD = [f"{100 * k},0.001,{4 - k / 100}" for k in range(1, 31)]


def write(tmp_path: Path, rows: list[str], header: str = "step,lr,loss") -> Path:
    path = tmp_path / "run.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def replaced(row: int, text: str) -> list[str]:
    return [*GOOD[:row], text, *GOOD[row + 1 :]]


ODD = {
    "nan": (replaced(4, "500,0.001,nan"), "row 6, column loss: 'nan' is not a number"),
    "empty cell": (replaced(4, "500,,3.9"), "row 6, column lr: '' is not a number"),
    "infinite": (replaced(4, "500,0.001,inf"), "row 6, column loss: 'inf' is not a number"),
    "zero loss": (replaced(4, "500,0.001,0"), "column loss: 0 is not above 0"),
    "negative lr": (replaced(4, "500,-1,3.9"), "column lr: -1 is below 0"),
    "unsorted": (
        replaced(4, "100,0.001,3.9"),
        "row 6: step 100 comes after 400; sort the rows by step",
    ),
    "repeated": (
        replaced(4, "400,0.001,3.9"),
        "row 6: step 400 is there twice; keep one row a step",
    ),
    "gap": ([*GOOD, "9000,0.001,3.5"], "no rows from step 3000 to 9000, where the others are 100"),
    "one point": (GOOD[:1], "1 row; a curve has 16 at least"),
    "no rows": ([], "has a header and no rows"),
    "no lr at all": ([row.replace("0.001", "0") for row in GOOD], "lr is 0 in every row"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_curve_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    rows, message = ODD[case]
    with pytest.raises(InputError) as caught:
        read_curve(write(tmp_path, rows))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "run.csv" in str(caught.value)


def test_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column lr; it has step, learning_rate, loss"):
        read_curve(write(tmp_path, GOOD, header="step,learning_rate,loss"))


def test_schedule_needs_no_loss_and_ignores_other_columns(tmp_path: Path) -> None:
    schedule = read_schedule(write(tmp_path, ["1,0.1,x", "2,0.2,y"], header="step,lr,note"))
    assert schedule.loss is None
    assert schedule.lr.tolist() == [0.1, 0.2]


def test_curve_is_read_as_written(tmp_path: Path) -> None:
    curve = read_curve(write(tmp_path, GOOD))
    assert curve.name == "run"
    assert len(curve.step) == 30
    assert curve.loss is not None
    assert curve.loss[0] == 3.99


def test_a_curve_may_be_json_lines(tmp_path: Path) -> None:
    rows = [
        dict(zip(("step", "lr", "loss"), map(float, row.split(",")), strict=True)) for row in GOOD
    ]
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    curve, same = read_curve(path), read_curve(write(tmp_path, GOOD))
    np.testing.assert_array_equal(curve.step, same.step)
    np.testing.assert_array_equal(curve.lr, same.lr)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InputError, match="row 30: not JSON"):
        read_curve(path)
