"""A trainer's config, read back: reading undoes every export, and bad files get one line."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitting.errors import ExportError, InputError
from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.plan.configs import all_pins, command_of_config, request_of_config, unsaid
from planner.plan.document import Plan
from planner.plan.export import export_plan
from planner.plan.file import plan_to_dict, to_plain
from planner.plan.make import make_plan as make_plan_of
from planner.request.choices import Pins
from planner.trainers.export import trainer_names
from planner.trainers.files import Given, write_files
from planner.trainers.import_config import TrainerConfig, import_config
from tests.fixtures.plans import SMALL, make_plan, soften
from tests.measured.check_published import published_configs

TRAINERS = trainer_names()

PLANS: dict[str, dict[str, Any]] = {
    "linear": {"schedule": "linear"},
    "cosine": {"schedule": "cosine"},
    "cosine, free batch": {"schedule": "cosine", "pins": Pins()},
    "wsd on GPUs": {"schedule": "wsd", "gpus": "4xH100"},
    "wsd-s": {"schedule": "wsd-s", "checkpoint_tokens": (1e7, 3e7)},
    "constant": {"schedule": "constant"},
    "inverse-sqrt": {"schedule": "inverse-sqrt"},
    "tied": {"schedule": "cosine", "shape": replace(SMALL, tied_embeddings=True)},
    "everything pinned": {
        "schedule": "cosine",
        "pins": Pins(lr=3e-4, batch_tokens=48 * 64, weight_decay=0.05, warmup_steps=77),
    },
    "lion": {"schedule": "linear", "optimizer": "lion"},
    "muP": {"schedule": "linear", "parametrization": "mup", "base_d_model": 64},
}
"""What round trips; a trainer that cannot express one is skipped by its own refusal."""


def exported(trainer: str, plan: Plan, folder: Path) -> Path:
    """Where a plan's export lies; skips where the trainer refuses it."""
    try:
        files, _ = export_plan(plan, trainer)
    except ExportError as error:
        pytest.skip(str(error))
    path = folder / "config"
    write_files(files, path)
    return path


def planned_again(config: TrainerConfig) -> Plan:
    """The plan of an imported run, every number pinned."""
    return make_plan_of(request_of_config(config, all_pins(config.run)), read_lawbook())


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_import_gives_the_exported_plan_back(trainer: str, name: str, tmp_path: Path) -> None:
    plan = make_plan(**PLANS[name])
    run = import_config(trainer, exported(trainer, plan, tmp_path))
    again = planned_again(run)
    assert run.notes == ()
    assert abs(again.target.tokens - plan.target.tokens) <= plan.batch_tokens.value
    assert again.lr.value == pytest.approx(plan.lr.value, rel=1e-9)
    assert again.weight_decay.value == pytest.approx(plan.weight_decay.value, rel=1e-9)
    assert again.batch_tokens.value == plan.batch_tokens.value
    assert again.run.z_loss == plan.run.z_loss
    for part in ("shape", "steps", "warmup_steps", "schedule", "optimizer"):
        ours, theirs = getattr(again, part), getattr(plan, part)
        assert to_plain(ours) == soften(to_plain(theirs)), part
    assert to_plain(again.parametrization) == soften(to_plain(plan.parametrization))
    assert again.target.params == plan.run.active.params


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_command_printed_makes_the_same_plan(
    trainer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(schedule="cosine")
    path = exported(trainer, plan, tmp_path)
    assert main(["import-config", trainer, str(path)]) == 0
    command = capsys.readouterr().out.strip()
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    for part in ("steps", "batch_sequences", "warmup_steps"):
        assert again[part] == getattr(plan, part)
    assert again["lr"]["value"] == pytest.approx(plan.lr.value, rel=1e-9)
    assert again["schedule"] == soften(plan_to_dict(plan)["schedule"])
    assert again["shape"] == soften(plan_to_dict(plan)["shape"])


@pytest.mark.parametrize("name", sorted(published_configs()))
def test_the_command_of_a_published_config_plans_its_params_and_pins(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = import_config(*published_configs()[name])
    run = config.run
    assert main([*shlex.split(command_of_config(config))[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["target"]["params"] == pytest.approx(run.active.params, rel=0.02)
    assert again["batch_tokens"]["value"] == run.batch_tokens
    assert again["lr"]["value"] == run.lr
    assert again["steps"] == run.schedule.steps


def test_what_the_command_cannot_pin_is_said(tmp_path: Path) -> None:
    path = exported("transformers", make_plan(schedule="cosine"), tmp_path)
    arguments = json.loads((path / "training_args.json").read_text())
    arguments |= {"adam_beta2": 0.999, "lr_scheduler_type": "linear", "lr_scheduler_kwargs": {}}
    (path / "training_args.json").write_text(json.dumps(arguments))
    said = unsaid(import_config("transformers", path), read_lawbook())
    assert said == ("optimizer beta2 0.999, not the plan's 0.95",)


def test_either_of_the_two_files_of_transformers_stands_for_both(tmp_path: Path) -> None:
    path = exported("transformers", make_plan(schedule="cosine"), tmp_path)
    whole = import_config("transformers", path).run
    for name in ("training_args.json", "config.json"):
        assert import_config("transformers", path / name).run == whole


def arguments_file(folder: Path, **arguments: Any) -> Path:
    """A file of training arguments with nothing beside it."""
    path = folder / "mine.json"
    path.write_text(json.dumps({"learning_rate": 1e-3, "max_steps": 1000, **arguments}))
    return path


def test_what_training_arguments_leave_out_is_given(tmp_path: Path) -> None:
    path = arguments_file(tmp_path, max_steps=-1, warmup_ratio=0.05)
    config = import_config(
        "transformers", path, Given(params=1e8, tokens=2e9, seq_len=1024, devices=8)
    )
    run = config.run
    assert run.active.params == pytest.approx(1e8, rel=0.03)
    assert run.batch_tokens == 8 * 8 * 1024
    assert 0 <= run.total_tokens - 2e9 < run.batch_tokens
    assert run.schedule.warmup_steps == -(-run.schedule.steps // 20)
    assert len(config.notes) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            Given(),
            "put config.json beside it, or give plan check and plan import-config its --params",
        ),
        (Given(params=1e8, tokens=1e12), "leave the option out"),
    ],
)
def test_facts_that_lack_or_contradict_the_file_are_refused(
    given: Given, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        import_config("transformers", arguments_file(tmp_path), given)
    assert str(caught.value).endswith(said)


BAD_FILES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "half of JSON": b'{"learning_rate": 1e-',
    "a list": b"[1, 2]",
    "words": b"lr: high\nbatch: large\n",
    "Python": b"import os\nLR = os.environ\n",
    "sections of a wrong kind": b"tokens: 3\noptimizer: []\nmodel: null\ntrain: 1\nmodel_config: x",
    "names without values": b"--hidden-size --num-layers --lr",
    "null": b"null",
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("command", ["import-config", "check"])
def test_a_file_that_is_no_config_gets_one_line_and_exit_2(
    command: str, trainer: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    assert main([command, trainer, str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"plan: {path}: ")
    assert told.err.count("\n") == 1


def test_a_trainer_that_is_not_known_is_named_with_its_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import-config", "megatronn", str(tmp_path)]) == 2
    assert "nearest is 'megatron'" in capsys.readouterr().err


@pytest.mark.parametrize("trainer", TRAINERS)
def test_cutting_an_export_short_never_ends_in_a_traceback(trainer: str, tmp_path: Path) -> None:
    path = exported(trainer, make_plan(schedule="cosine"), tmp_path)
    file = path / "training_args.json" if path.is_dir() else path
    text = file.read_text()
    for share in range(1, 20):
        file.write_text(text[: len(text) * share // 20])
        told: str | None = None
        try:
            run = import_config(trainer, path)
        except InputError as error:
            told = str(error)
        if told is None:
            assert command_of_config(run).startswith("plan ")
        else:
            assert told.startswith(str(path))
