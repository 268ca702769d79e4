"""`plan schema`: schemas that hold what the files hold, and refuse what the readers refuse."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from planner.cli import main

jsonschema = pytest.importorskip("jsonschema")

LAWS = sorted((Path(__file__).parents[3] / "data" / "laws").glob("*.toml"))
SWEEPS = sorted((Path(__file__).parents[3] / "data" / "sweeps").glob("*.toml"))

PLANS = (
    ("--params", "1B", "--tokens", "20B"),
    ("--model", "llama-3.2-1b", "--tokens", "100B", "--batch", "1M", "--gpus", "8xH100"),
    (
        *("--params", "1B", "--tokens", "20B", "--optimizer", "lion"),
        *("--parametrization", "completep", "--base-layers", "8"),
    ),
    ("--params", "200M", "--checkpoints", "2B,4B", "--unique-tokens", "1B", "--explain"),
    ("--params", "1B", "--tokens", "20B", "--anchor", "params=134M tokens=2.7B lr=8e-3 batch=0.5M"),
)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON that a command prints."""
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def validator(capsys: pytest.CaptureFixture[str], name: str) -> Any:
    """A checker of one schema, itself checked."""
    schema = printed(capsys, "schema", name)
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    return kind(schema)


def test_every_shipped_law_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    check = validator(capsys, "law")
    for path in LAWS:
        errors = [error.message for error in check.iter_errors(tomllib.loads(path.read_text()))]
        assert errors == [], path.name


def test_a_law_of_an_unknown_form_or_table_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    check = validator(capsys, "law")
    law = tomllib.loads(next(path for path in LAWS if path.stem == "step-law").read_text())
    assert not check.is_valid(law | {"lr": law["lr"] | {"form": "powr"}})
    assert not check.is_valid(law | {"learning_rate": law["lr"]})
    assert not check.is_valid({"range": law["range"]})
    assert not check.is_valid(law | {"range": law["range"] | {"params": [1e9]}})


@pytest.mark.parametrize("arguments", PLANS)
def test_every_plan_is_valid(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    check = validator(capsys, "plan")
    plan = printed(capsys, *arguments, "--json")
    assert [error.message for error in check.iter_errors(plan)] == []
    assert not check.is_valid({key: part for key, part in plan.items() if key != "lr"})
    assert not check.is_valid(plan | {"steps": "many"})
    assert not check.is_valid(plan | {"schema": 2})


def test_the_schema_of_a_plan_says_what_its_keys_mean(capsys: pytest.CaptureFixture[str]) -> None:
    schema = printed(capsys, "schema", "plan")
    value = schema["$defs"]["Value"]["properties"]
    assert value["low"]["description"] == "Lower end of the 80% interval; None where none is known."


def test_rows_of_runs_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    check = validator(capsys, "runs")
    row = {"params": 1e8, "tokens": 2e9, "loss": 3.1, "lr": 1e-3, "status": "finished", "mine": "x"}
    assert check.is_valid([row, row | {"loss": None, "status": "diverged"}])
    for wrong in (
        {"params": 0},
        {"lr": "high"},
        {"beta1": 1.0},
        {"status": "odd"},
        {"tokens": None},
    ):
        assert not check.is_valid([row | wrong])
    assert not check.is_valid([{"params": 1e8, "tokens": 2e9}])


@pytest.mark.parametrize("name", ["lr_batch_runs_to_537M.csv", "data_constrained_train.csv"])
def test_measured_tables_are_valid(
    name: str, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(shared / "data" / name)
    rows = [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
        }
        for row in table.head(200).to_dict("records")
    ]
    assert [error.message for error in validator(capsys, "runs").iter_errors(rows)] == []


def test_every_shipped_sweep_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    check = validator(capsys, "spec")
    assert SWEEPS
    for path in SWEEPS:
        assert list(check.iter_errors(tomllib.loads(path.read_text()))) == [], path.name


def test_an_unknown_schema_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "plans"]) == 2
    assert capsys.readouterr().err == (
        "plan: schema 'plans': no such schema; nearest is 'plan'; known: plan, law, spec, runs\n"
    )
