"""What holds for every trainer: nothing is dropped in silence, and reading undoes writing."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fitting.errors import ExportError, InputError
from planner.cli import main
from planner.plan.export import export_plan
from planner.plan.file import load_plan, plan_from_dict, plan_to_dict, plan_to_json, to_plain
from planner.trainers.export import find_trainer, head_lines, trainer_names
from planner.trainers.files import read_files, write_files
from planner.trainers.supported import pytorch as pytorch_trainer
from planner.trainers.trainer import nearest_run
from proxies.run.schedule import lr_fraction
from proxies.run.spec import RunSpec
from tests.fixtures.plans import SCHEDULES, SMALL, STEPS, expressible, make_plan, plain, small_run

TRAINERS = trainer_names()

VARIANTS: dict[str, dict[str, Any]] = {
    "tied": {"shape": replace(SMALL, tied_embeddings=True)},
    "qk-norm per head": {"shape": replace(SMALL, qk_norm="per-head")},
    "qk-norm of full width": {"shape": replace(SMALL, qk_norm="full-width")},
    "biases on queries, keys, values": {"shape": replace(SMALL, biases="qkv")},
    "all biases": {"shape": replace(SMALL, biases="all")},
    "gelu mlp": {"shape": replace(SMALL, mlp="gelu", norm="layernorm")},
    "geglu mlp": {"shape": replace(SMALL, mlp="geglu")},
    "squared relu": {"shape": replace(SMALL, mlp="relu2")},
    "learned positions": {"shape": replace(SMALL, positions="learned", n_positions=64)},
    "long wavelengths": {"shape": replace(SMALL, rope_theta=500_000.0)},
    "wide heads": {"shape": replace(SMALL, head_dim=64)},
    "lion": {"optimizer": "lion"},
    "muon": {"optimizer": "muon"},
    "muP": {"parametrization": "mup", "base_d_model": 64},
    "muP with another head": {
        "parametrization": "mup",
        "base_d_model": 64,
        "base_head_dim": 16,
    },
    "CompleteP": {"parametrization": "completep", "base_d_model": 64, "base_n_layers": 1},
}
"""Everything that a plan may ask for and a trainer may lack."""


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", TRAINERS)
def test_reading_an_export_gives_every_schedule_back(name: str, schedule: str) -> None:
    trainer = find_trainer(name)
    run = expressible(small_run(schedule=SCHEDULES[schedule]), trainer)
    read = trainer.read(trainer.write(run, ["a head"]))
    assert points(read) == pytest.approx(points(run), abs=1e-12)
    assert to_plain(replace(read, schedule=run.schedule)) == plain(run)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", TRAINERS)
def test_reading_an_export_gives_every_variant_back_or_it_is_refused(
    name: str, variant: str
) -> None:
    trainer = find_trainer(name)
    said = nearest_run(small_run(schedule=CONSTANT, **VARIANTS[variant]), trainer)
    read = trainer.read(trainer.write(said.run, ["a head"]))
    assert to_plain(read) == plain(said.run)
    if not said.losses:
        assert to_plain(read) == plain(small_run(schedule=CONSTANT, **VARIANTS[variant]))


CONSTANT = SCHEDULES["constant"]
"""A schedule that every trainer has, so that only the variant can be refused."""


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_has_the_constant_schedule_and_the_plain_model(name: str) -> None:
    assert not nearest_run(small_run(schedule=CONSTANT), find_trainer(name)).losses


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_schedule_is_exact_or_named_as_lost(name: str, schedule: str) -> None:
    said = nearest_run(small_run(schedule=SCHEDULES[schedule]), find_trainer(name))
    same = points(said.run) == points(small_run(schedule=SCHEDULES[schedule]))
    assert same or any(loss.what == "schedule" for loss in said.losses)


@pytest.mark.parametrize("variant", [*VARIANTS, "z-loss", "wsd-s", "1-sqrt"])
@pytest.mark.parametrize("name", TRAINERS)
def test_what_is_lost_is_refused_and_with_lossy_at_the_head_of_the_file(
    name: str, variant: str
) -> None:
    plan = make_plan(gpus="4", **VARIANTS.get(variant, {}))
    if variant == "z-loss":
        plan = replace(plan, run=replace(plan.run, z_loss=1e-4))
    if variant == "wsd-s":
        plan = make_plan(schedule="wsd-s", checkpoint_tokens=(1.5e7, 3e7))
    _, said = export_plan(plan, name, lossy=True)
    if not said.losses:
        export_plan(plan, name)
        return
    with pytest.raises(ExportError, match="--lossy") as refusal:
        export_plan(plan, name)
    files, _ = export_plan(plan, name, lossy=True)
    head = next(iter(files.values())) + files.get("README.txt", "")
    for loss in said.losses:
        assert loss.what in str(refusal.value)
        assert f"lost: {loss}" in head


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [("embedding", "weight_decay", 0.0), ("head", "lr", 1e-5), ("matrices", "betas", (0.8, 0.9))],
)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_group_that_was_edited_is_kept_or_named_as_lost(
    name: str, group: str, field: str, value: Any
) -> None:
    run = small_run(schedule=CONSTANT)
    edited = replace(
        run,
        own_groups=tuple(
            replace(found, **{field: value}) if found.name == group else found
            for found in run.groups
        ),
    )
    said = nearest_run(edited, find_trainer(name))
    kept = said.run.groups == edited.groups
    assert kept == (name == "pytorch")
    assert [loss.what for loss in said.losses] == (
        [] if kept else [f"sp {group} {field.replace('_', ' ')}"]
    )


@pytest.mark.parametrize("variant", ["lion", "muon", "muP", "default"])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_plan_made_as_the_refusal_says_is_expressible(name: str, variant: str) -> None:
    chosen = VARIANTS.get(variant, {})
    try:
        export_plan(make_plan(gpus="4", **chosen), name)
    except ExportError as refusal:
        advice = dict(re.findall(r"--(schedule|optimizer|parametrization) (\w+)", str(refusal)))
        if "parametrization" in advice:
            chosen = {key: value for key, value in chosen.items() if "base" not in key}
        assert advice
        export_plan(make_plan(gpus="4", **{**chosen, **advice}), name)


@pytest.mark.parametrize("name", TRAINERS)
def test_batch_and_steps_multiply_to_the_tokens_within_one_batch(name: str) -> None:
    plan = make_plan(gpus="4")
    files, _ = export_plan(plan, name, lossy=True)
    read = find_trainer(name).read(files)
    layout = read.layout
    product = layout.micro_batch_sequences * read.accumulation * layout.data
    assert product == read.batch_sequences == plan.batch_sequences
    batch_tokens = read.batch_sequences * read.seq_len
    tokens = batch_tokens * read.schedule.steps
    assert 0 <= tokens - plan.target.tokens < batch_tokens


@pytest.mark.parametrize("name", TRAINERS)
def test_sample_points_rise_by_one_a_step_within_the_run(name: str) -> None:
    run = small_run(schedule=SCHEDULES["linear"])
    trainer = find_trainer(name)
    found = [trainer.sample_point(run, step) for step in range(STEPS)]
    assert 0 <= found[0] <= 1
    assert STEPS - 1 <= found[-1] <= STEPS
    assert all(-1e-9 <= after - before <= 1 + 1e-9 for before, after in pairwise(found))


def test_trainers_sample_where_their_sources_say() -> None:
    run = small_run(schedule=SCHEDULES["linear"])
    warm = run.schedule.warmup_steps
    assert (warm, run.accumulation) == (7, 6)
    found = {name: find_trainer(name).sample_point(run, warm - 1) for name in TRAINERS}
    assert found == pytest.approx(
        {
            "litgpt": 6 + 5 / 6,
            "megatron": 6,
            "nanotron": 6,
            "olmo_core": 7,
            "pytorch": 7,
            "torchtitan": 7,
            "transformers": 6,
        }
    )
    assert find_trainer("torchtitan").sample_point(run, warm) == warm


@pytest.mark.parametrize("name", TRAINERS)
def test_a_head_is_one_line_each_whatever_the_command_held(name: str) -> None:
    trainer = find_trainer(name)
    origin = ["written", 'plan\n--params \'1B\u2028\' """']
    said = nearest_run(small_run(schedule=CONSTANT), trainer)
    files = trainer.write(said.run, head_lines(trainer, origin, said))
    assert to_plain(trainer.read(files)) == plain(said.run)


def test_a_refusal_of_wsd_s_offers_the_plain_wsd_where_the_trainer_has_it() -> None:
    plan = make_plan(schedule="wsd-s", checkpoint_tokens=(1.5e7, 3e7), gpus="4")
    with pytest.raises(ExportError, match="plan again with --schedule wsd, or use --lossy"):
        export_plan(plan, "torchtitan")


def test_an_unknown_trainer_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="nearest is 'transformers'"):
        find_trainer("transformer")


@pytest.mark.parametrize(
    ("part", "field", "value", "said"),
    [
        ("compute", "accumulation", 999, "batch_sequences is 24"),
        ("schedule", "stable_steps", 1, "stable_steps 1 is not"),
        ("schedule", "warmup_steps", 2, "warmup_steps 2 is not"),
        ("shape", "d_ff", 512, "params 516992 is not"),
        ("batch_tokens", "value", 1e6, "batch_tokens 1e\\+06 is not 24 sequences"),
        ("lr", "value", 0.5, "lr 0.5 is that of none of param_groups"),
        ("lr", "value", -1.0, "the plan's lr -1: must be"),
        ("weight_decay", "value", 7.0, "weight_decay 7 is that of none of param_groups"),
        ("model", "mlp", "swigul", "nearest is 'swiglu'"),
        ("model", "norm_eps", 0.0, "norm_eps 0.0 is not above 0"),
        ("optimizer", "name", "adam", "nearest is 'adamw'"),
        ("optimizer", "beta2", 1.0, "optimizer.beta2 1: must be"),
    ],
)
def test_a_plan_edited_into_a_contradiction_is_refused(
    part: str, field: str, value: float, said: str
) -> None:
    odd = plan_to_dict(make_plan(gpus="4"))
    odd[part][field] = value
    with pytest.raises(InputError, match=said):
        plan_from_dict(odd, where="plan.json")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda groups: groups[1:], "param_groups are matrices, .* one each of embedding"),
        (lambda _: [], "param_groups are none"),
        (lambda groups: [*groups, groups[0]], "one each of"),
        (lambda groups: [groups[0] | {"optimizer": "sgd"}, *groups[1:]], "is not adamw"),
        (lambda groups: [groups[0] | {"betas": [0.9]}, *groups[1:]], "has 1 betas; give 2"),
        (lambda groups: [groups[0] | {"eps": None}, *groups[1:]], "eps None: must be a number"),
        (lambda groups: [groups[0] | {"lr": -8.0}, *groups[1:]], "embedding lr -8: must be"),
    ],
)
def test_damaged_parameter_groups_are_refused(edit: Any, said: str) -> None:
    odd = plan_to_dict(make_plan(gpus="4"))
    odd["param_groups"] = edit(odd["param_groups"])
    with pytest.raises(InputError, match=said):
        plan_from_dict(odd, where="plan.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_plan_with_a_number_that_json_lacks_is_refused(number: str, tmp_path: Path) -> None:
    plan = make_plan(gpus="4")
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(plan).replace(repr(plan.lr.value), number, 1))
    with pytest.raises(InputError, match=f"{number} is no number"):
        load_plan(path)


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="no regular file"):
        write_files({"": "x"}, pipe, force=True)
    assert pipe.is_fifo()


def test_a_file_is_not_overwritten_without_force(tmp_path: Path) -> None:
    target = tmp_path / "run.py"
    target.write_text("mine")
    with pytest.raises(InputError, match="--force"):
        write_files({"": "new"}, target)
    assert target.read_text() == "mine"
    write_files({"": "new"}, target, force=True)
    assert target.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["run.py"]


def test_a_folder_keeps_what_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    write_files({"a.json": "{}", "b.json": "{}"}, tmp_path)
    with pytest.raises(InputError, match="--force"):
        write_files({"a.json": "1", "c.json": "{}"}, tmp_path)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.json", "b.json", "notes.md"]
    assert read_files(tmp_path) == {"a.json": "{}", "b.json": "{}"}


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "b.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_files({"a.json": "{}", "b.json": "{}"}, tmp_path / "run", force=True)
    assert [found.name for found in (tmp_path / "run").iterdir()] == ["b.json"]
    with pytest.raises(InputError, match="cannot be written"):
        write_files({"": "x"}, tmp_path / "missing" / "run.py")
    with pytest.raises(InputError, match="cannot be written"):
        write_files({"a.json": "x"}, tmp_path / "missing" / "run")
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_export_is_a_command_and_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(plan_to_json(make_plan(gpus="4")))
    assert main(["export", "pytorch", str(plan), "-o", str(tmp_path / "a.py")]) == 0
    assert "wrote" in capsys.readouterr().err
    assert main(["export", "pytorch", str(plan), "-o", str(tmp_path / "a.py")]) == 2
    assert "--force" in capsys.readouterr().err
    options = ["--params", "100M", "--tokens", "2B", "--gpus", "8xh100"]
    out = tmp_path / "b.py"
    assert main([*options, "--export", "pytorch", "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1
    assert pytorch_trainer.TRAINER.read(read_files(out)).layout.data == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "pytorch", "PLAN"], "no -o"),
        (["export", "pytorhc", "PLAN", "-o", "x.py"], "nearest is 'pytorch'"),
        (["--params", "1B", "--tokens", "20B", "-o", "x.py"], "belong to --export"),
        (["--params", "1B", "--tokens", "20B", "--export", "pytorch"], "no -o"),
        (["export", "pytorch", "missing.json", "-o", "x.py"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / "plan.json"
    plan.write_text(plan_to_json(make_plan(gpus="4")))
    assert main([str(plan) if word == "PLAN" else word for word in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("plan: ")
    assert error.count("\n") == 1
    assert said in error
    assert [found.name for found in tmp_path.iterdir()] == ["plan.json"]


def test_a_refused_export_is_one_line_and_exit_1_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "run"
    plan.write_text(
        plan_to_json(make_plan(schedule="wsd-s", checkpoint_tokens=(1.5e7, 3e7), gpus="4"))
    )
    command = ["export", "transformers", str(plan), "-o", str(out)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(r"plan: export transformers: .*schedule: wsd-s.*--lossy", error)
    assert not out.exists()
    assert main([*command, "--lossy"]) == 0
    assert "lost: schedule: wsd-s" in capsys.readouterr().err
    assert "lost: schedule: wsd-s" in (out / "README.txt").read_text()


def test_trainers_lists_every_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trainers"]) == 0
    text = capsys.readouterr().out
    assert main(["trainers", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == TRAINERS
    for name in TRAINERS:
        assert re.search(rf"^{name}: ", text, flags=re.MULTILINE)


def points(run: RunSpec) -> list[float]:
    """The schedule's own function at every half step."""
    steps = run.schedule.steps
    return [lr_fraction(run.schedule, half / 2) for half in range(2 * steps + 1)]


def test_points_see_a_difference_of_one_step() -> None:
    one, two = (small_run(schedule=SCHEDULES[name]) for name in ("linear", "cosine to 0"))
    assert not math.isclose(points(one)[50], points(two)[50])
