"""The files in `tests/fixtures/wild` are what their tables say: none is missing, all fit together.

What readers make of them is tested where the readers are.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.fixtures.wild.make_logs import make_logs
from tests.measured.healthy_logs import FAULTS, faulty_log, healthy_log

WILD = Path(__file__).parent / "fixtures" / "wild"

RUN = ("params", "seq_len", "batch_sequences", "steps", "tokens", "lr", "schedule", "warmup_steps")
"""Numbers that every readable config is to give."""

ACTIONS = {"read", "note", "refuse", "ignore"}


def load(name: str, key: str) -> list[dict[str, Any]]:
    """Entries of a table of expectations."""
    found: list[dict[str, Any]] = tomllib.loads((WILD / name).read_text())[key]
    return found


CONFIGS = load("expected.toml", "config")
LOGS = load("expected_logs.toml", "log")
TABLES = load("expected_tables.toml", "table")
OPTIONS = sorted(
    path.name
    for path in (WILD / "options").glob("*.toml")
    if "option" in tomllib.loads(path.read_text())
)


def files_of(entry: dict[str, Any]) -> list[Path]:
    """The files of a config, which may be a folder."""
    path = WILD / "configs" / entry["file"]
    return sorted(path.iterdir()) if path.is_dir() else [path]


def by_file(entries: list[dict[str, Any]]) -> pytest.MarkDecorator:
    """A parameter for each entry, named by its file."""
    return pytest.mark.parametrize("entry", entries, ids=[entry["file"] for entry in entries])


def test_every_config_has_one_expectation_and_is_there() -> None:
    said = [entry["file"] for entry in CONFIGS]
    assert sorted(said) == sorted(path.name for path in (WILD / "configs").iterdir())
    assert len(said) == len(set(said))
    assert sum("refused" not in entry for entry in CONFIGS) >= 40


@by_file(CONFIGS)
def test_a_config_says_where_its_form_was_seen(entry: dict[str, Any]) -> None:
    assert any(re.search(r"^(# )?seen: .{20}", path.read_text(), re.M) for path in files_of(entry))


@by_file(CONFIGS)
def test_a_config_is_of_the_language_that_its_name_says(entry: dict[str, Any]) -> None:
    for path in files_of(entry):
        text, suffix = path.read_text(), Path(path.name.removesuffix(".txt")).suffix
        if suffix in (".yaml", ".yml"):
            assert isinstance(yaml.safe_load(text), dict)
        elif suffix == ".toml":
            assert tomllib.loads(text)
        elif suffix == ".json":
            assert json.loads(text)
        elif suffix == ".py":
            assert ast.parse(text).body
        elif suffix in (".sh", ".slurm"):
            check_shell(path)


def check_shell(path: Path) -> None:
    """Let bash parse a script; nothing of it is run."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash to parse shell files with")
    found = subprocess.run([bash, "-n", str(path)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@by_file(CONFIGS)
def test_the_numbers_of_a_config_agree_with_each_other(entry: dict[str, Any]) -> None:
    if "refused" in entry:
        assert entry["names"]
        assert entry["reads"]
        assert all(re.compile(name) for name in entry["names"])
        return
    assert all(name in entry for name in RUN)
    batch = entry["seq_len"] * entry["batch_sequences"]
    assert entry["batch_tokens"] == batch
    assert abs(entry["steps"] * batch - entry["tokens"]) <= batch
    assert 0 <= entry["final_lr"] <= entry["lr"]
    assert entry["warmup_steps"] + entry.get("decay_steps", 0) <= entry["steps"]
    assert ("decay_steps" in entry) == (entry["schedule"] == "wsd")
    if shape := entry.get("shape"):
        width, inner = shape["d_model"], shape["d_ff"]
        heads = shape["n_heads"] * shape.get("head_dim", width // shape["n_heads"])
        least, most = 2 * width * inner, 3 * width * inner + 4 * width * heads
        assert least < entry["params"] / shape["n_layers"] < 1.02 * most


@pytest.mark.parametrize("name", OPTIONS)
def test_options_name_their_base_and_what_is_right(name: str) -> None:
    table = tomllib.loads((WILD / "options" / name).read_text())
    assert table["source"]
    base = WILD / "options" / table["base"]
    assert table["base"] == "export" or base.exists()
    text = (
        "".join(path.read_text() for path in base.iterdir())
        if base.is_dir()
        else base.read_text()
        if base.exists()
        else ""
    )
    for option in table["option"]:
        assert option.get("name") or option.get("python")
        assert set(option["do"].split("|")) <= ACTIONS
        assert option["changes"]
        for dropped in option.get("drop", ()):
            assert re.split(r"[.:]", dropped)[-1] in text, dropped


def test_every_trainer_with_an_exporter_has_its_options() -> None:
    trainers = {tomllib.loads((WILD / "options" / name).read_text())["trainer"] for name in OPTIONS}
    assert trainers == {
        "litgpt",
        "megatron",
        "nanotron",
        "olmo_core",
        "pytorch",
        "torchtitan",
        "transformers",
    }


def test_the_logs_are_those_of_their_generator() -> None:
    made = make_logs()
    assert sorted(made) == sorted(path.name for path in (WILD / "logs").iterdir())
    for name, text in made.items():
        assert (WILD / "logs" / name).read_text() == text, name
    assert sorted(entry["file"] for entry in LOGS) == sorted(made)


def test_nine_trainers_have_a_clean_log_a_spike_and_a_nan() -> None:
    counted = [entry for entry in LOGS if entry.get("counted", True)]
    verdicts = {(entry["trainer"], *entry["faults"]) for entry in counted}
    assert len(counted) == len(verdicts) == 27
    assert len({trainer for trainer, *_ in verdicts}) == 9
    for entry in LOGS:
        runs = entry.get("runs", [entry])
        assert entry["exit"] == any(run["faults"] for run in runs)


@pytest.mark.parametrize("entry", TABLES, ids=lambda entry: entry["file"])
def test_a_table_is_there_and_can_be_parsed(entry: dict[str, Any]) -> None:
    path = WILD / "tables" / entry["file"]
    assert path.exists()
    assert "refused" in entry or entry["rows"] > 0
    if path.suffix == ".csv":
        rows = list(csv.reader(path.read_text().splitlines()))
        assert len({len(row) for row in rows}) == 1
    elif path.suffix == ".json":
        assert isinstance(json.loads(path.read_text()), list)
    elif path.suffix == ".jsonl":
        assert all(json.loads(line) for line in path.read_text().splitlines())


def test_every_table_is_expected_to_become_something() -> None:
    there = {path.name for path in (WILD / "tables").iterdir()}
    assert there == {entry["file"] for entry in TABLES}


@pytest.mark.parametrize("number", range(6))
def test_a_made_up_log_is_the_same_each_time_and_has_its_fault_alone(number: int) -> None:
    log, sound = faulty_log(number), healthy_log(number)
    assert log.to_csv() == faulty_log(number).to_csv()
    assert log.fault == FAULTS[number % 3]
    assert np.isfinite(sound.loss).all()
    assert (sound.loss > 0).all()
    bad = np.flatnonzero(~np.isfinite(log.loss))
    assert bad.tolist() == ([log.first] if log.fault == "nan" else [])
    if log.fault == "drift":
        above = np.median(log.loss[-15:]) - log.level[-1]
        assert above > 0.1
        assert math.isfinite(above)
