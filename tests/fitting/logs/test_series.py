"""Logs as trainers leave them, whole or while they are written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from fitting.logs.series import read_growing, read_log

TEXT = "step,loss,lr\n1,5.5,0.001\n2,5.25,0.002\n3,5.125,0.003\n"


def written(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_columns_are_read_under_the_names_trainers_give_them(tmp_path: Path) -> None:
    text = "global_step;train/loss;train/learning_rate\n10;3.5;0.1\n"
    log = read_log(written(tmp_path, text))
    assert log.step.tolist() == [10]
    assert log.loss.tolist() == [3.5]
    assert log.others["lr"].tolist() == [0.1]


def test_a_wandb_chart_is_a_log(tmp_path: Path) -> None:
    text = '"Step","run-1 - train/loss","run-1 - train/loss__MIN"\n"1","4","3"\n"2","3.5","3"\n'
    assert read_log(written(tmp_path, text)).loss.tolist() == [4, 3.5]


def test_json_lines_and_the_transformers_state_are_logs(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 4.0, "learning_rate": 1e-3}, {"step": 1, "eval_loss": 3.0},
            {"step": 2, "loss": math.nan}]  # fmt: skip
    lines = written(tmp_path, "\n".join(map(json.dumps, rows)), "log.jsonl")
    state = written(tmp_path, json.dumps({"log_history": rows}), "trainer_state.json")
    for path in (lines, state):
        log = read_log(path)
        assert log.step.tolist() == [1, 2]
        assert math.isnan(log.loss[1])
        assert log.others["lr"][0] == 1e-3


def test_parquet_is_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pd.DataFrame({"step": [1, 2], "loss": [4.0, 3.0]}).to_parquet(path)
    assert read_log(path).loss.tolist() == [4, 3]


def test_rows_of_before_a_restart_are_replaced(tmp_path: Path) -> None:
    text = "step,loss\n1,5\n2,4\n3,9\n2,4.5\n3,4.25\n"
    log = read_log(written(tmp_path, text))
    assert log.step.tolist() == [1, 2, 3]
    assert log.loss.tolist() == [5, 4.5, 4.25]


@given(cut=st.integers(0, len(TEXT)))
def test_a_growing_log_cut_anywhere_has_only_whole_rows(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    log = read_growing(written(tmp_path_factory.mktemp("cut"), TEXT[:cut]))
    whole = max(0, TEXT[:cut].count("\n") - 1)
    if log is None:
        assert whole == 0
    else:
        assert log.loss.tolist() == [5.5, 5.25, 5.125][:whole]


def test_nan_is_read_and_an_empty_cell_is_no_row(tmp_path: Path) -> None:
    log = read_log(written(tmp_path, "step,loss\n1,5\n2,\n3,nan\n4,inf\n"))
    assert log.step.tolist() == [1, 3, 4]
    assert np.isfinite(log.loss).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step,perplexity\n1,5\n", "no column loss; it has step, perplexity"),
        ("step,loss\n1,five\n", "column loss: 'five' is not a number"),
        ("step,loss\n", "no row has a loss yet"),
        ("", "no row has a loss yet"),
        ("step,loss\n1\n2,3\n", "row 2: 1 cells"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_log(written(tmp_path, text))
