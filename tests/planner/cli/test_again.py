"""`plan --from`: a plan given back, one thing changed, the rest moved."""

from __future__ import annotations

import json
import shlex
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer

from planner.cli import main
from planner.cli.plan import app
from planner.cli.plan.asked import OUTPUT
from planner.plan.anchor_text import read_anchors
from planner.plan.document import Plan
from planner.plan.file import plan_to_dict, plan_to_json
from planner.plan.make import recommend
from planner.request.choices import Choices, Pins
from planner.request.options import FIELDS, LIMITS, REPLACES, REST, SHAPE
from planner.request.target import Target

TARGETS = {
    "a target": "--params 1B --tokens 20B",
    "flops alone": "--flops 1e21",
    "flops and a ratio": "--flops 1e20 --tokens-per-param 40",
    "a known model and pins": "--model llama-3.2-1b --tokens 100B --lr 1e-3 --warmup 500",
    "a shape": "--d-model 512 --layers 8 --tied --tokens 2B --seq-len 1024 --round-batch pow2",
    "muP, steps": "--params 1B --tokens 6B --parametrization mup --base-width 512 --steps 5000",
    "checkpoints": "--params 200M --checkpoints 2B,4B",
    "an anchor": "--params 1B --tokens 20B --anchor 'params=134M tokens=2.7B lr=8e-3 batch=0.5M'",
    "hardware and data": "--params 1B --tokens 20B --gpus 8xH100 --unique-tokens 10B",
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints; it must succeed."""
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out


def planned(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The plan's JSON, its command taken off."""
    found: dict[str, Any] = json.loads(run(capsys, *arguments, "--json"))
    del found["provenance"]["command"]
    return found


def saved(capsys: pytest.CaptureFixture[str], folder: Path, line: str) -> Path:
    """The plan of a command line, as a file."""
    path = folder / "plan.json"
    path.write_text(run(capsys, *shlex.split(line), "--json"))
    return path


@pytest.mark.parametrize("line", TARGETS.values(), ids=TARGETS.keys())
def test_a_plan_given_back_is_itself(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = saved(capsys, tmp_path, line)
    assert planned(capsys, "--from", before) == planned(capsys, *shlex.split(line))


CHANGES = {
    "a batch": (
        "--params 1B --tokens 20B --lr 2e-3",
        "--batch 1M",
        "--params 1B --tokens 20B --lr 2e-3 --batch 1M",
    ),
    "a batch in place of steps": (
        "--params 1B --tokens 20B --steps 5000",
        "--batch 1M",
        "--params 1B --tokens 20B --batch 1M",
    ),
    "params, their shape with them": (
        "--model llama-3.2-1b --tokens 100B",
        "--params 2B",
        "--params 2B --tokens 100B",
    ),
    "a shape": (
        "--params 1B --tokens 20B",
        "--model llama-3.2-1b",
        "--model llama-3.2-1b --tokens 20B",
    ),
    "flops at the params": (
        "--params 1B --tokens 20B",
        "--flops 1.2e21",
        "--params 1B --tokens 200B",
    ),
    "tokens at the shape": (
        "--model llama-3.2-1b --tokens 100B",
        "--tokens-per-param 30",
        "--model llama-3.2-1b --tokens-per-param 30",
    ),
    "the whole target": (
        "--params 1B --tokens 20B",
        "--flops 1e21 --tokens-per-param 20",
        "--flops 1e21 --tokens-per-param 20",
    ),
    "another schedule": (
        "--params 200M --checkpoints 2B,4B",
        "--schedule cosine",
        "--params 200M --tokens 4B --schedule cosine",
    ),
    "back to sp": (
        "--params 1B --tokens 20B --parametrization mup --base-width 512",
        "--parametrization sp",
        "--params 1B --tokens 20B",
    ),
}


@pytest.mark.parametrize(("before", "typed", "after"), CHANGES.values(), ids=CHANGES.keys())
def test_what_is_typed_wins_and_the_rest_stands(
    before: str, typed: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(capsys, tmp_path, before)
    changed = planned(capsys, "--from", path, *shlex.split(typed))
    fresh = planned(capsys, *shlex.split(after))
    # What was asked may say the same size by other two facts.
    del changed["request"], fresh["request"]
    assert changed == fresh


def test_the_command_of_a_changed_plan_makes_it_without_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(capsys, tmp_path, "--params 1B --tokens 20B --lr 2e-3 --json")
    changed = json.loads(run(capsys, "--from", path, "--batch", "1M", "--json"))
    words = shlex.split(changed["provenance"]["command"])
    assert "--from" not in words
    path.unlink()
    assert json.loads(run(capsys, *words[1:])) == changed


def test_the_summary_says_what_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(capsys, tmp_path, "--params 200M --tokens 4B")
    moved = run(capsys, "--from", path, "--batch", "1M").partition("moved from the plan given")[2]
    assert "batch_sequences" in moved
    assert "steps" in moved
    assert "% of the loss" in moved
    assert "target" not in moved
    assert "the plans say the same" in run(capsys, "--from", path)


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"pins": Pins(lr=2e-3, batch_tokens=2048 * 100.0, warmup_steps=123)},
        {"parametrization": "mup", "base_d_model": 512, "optimizer": "lion"},
        {"schedule": "wsd-s", "checkpoint_tokens": (2e9, 4e9)},
        {"gpus": "8xH100", "unique_tokens": 1e9},
        {"anchors": read_anchors(["params=100M tokens=2B lr=8e-3"], seq_len=2048)},
    ],
)
def test_a_plan_made_in_python_is_given_back_too(
    chosen: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(made(**chosen)))
    assert "the plans say the same" in run(capsys, "--from", path)


def made(**chosen: Any) -> Plan:
    """A plan of the Python API, which has no command line."""
    target = Target(params=2e8, tokens=4e9, seq_len=2048, vocab_size=32_000)
    return recommend(target, choices=Choices(**chosen))


def test_a_plan_that_cannot_be_read_back_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    before = plan_to_dict(made())
    del before["request"]
    for text, reason in (
        (json.dumps(before), "does not say what was asked of it, as those of before"),
        (json.dumps(before), "plan again"),
        ("{}", "not a plan of schema 1"),
    ):
        path.write_text(text)
        assert main(["--from", str(path)]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1


def test_options_that_put_others_out_of_force_are_options_of_the_command() -> None:
    names = {parameter.name for parameter in typer.main.get_command(app).params}
    of_request = {*FIELDS} - {"whole", "reason"}
    assert {*OUTPUT, *of_request, "active"} == names
    assert {*REPLACES, *chain(*REPLACES.values()), *SHAPE, *REST, *LIMITS} <= {*FIELDS}
