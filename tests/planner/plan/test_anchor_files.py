"""Anchors read from files: plans, trainers' configs and runs tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from fitting.errors import InputError
from planner.facts.anchor import Anchor
from planner.facts.laws import read_lawbook
from planner.plan.anchor_text import parse_anchor, read_anchors
from planner.plan.document import Plan
from planner.plan.export import export_plan
from planner.plan.file import plan_to_json
from planner.plan.make import make_plan
from planner.request.choices import Choices, Pins
from planner.request.request import ask_for
from planner.request.target import Target
from planner.trainers.files import write_files


def plan_of(params: float, tokens: float, *anchors: Anchor, pins: Pins | None = None) -> Plan:
    target = Target(params=params, tokens=tokens, seq_len=2048, vocab_size=32_000)
    asked = ask_for(target, choices=Choices(anchors=anchors, pins=pins or Pins()))
    return make_plan(asked, read_lawbook())


def test_what_a_plan_was_pinned_to_is_an_anchor(tmp_path: Path) -> None:
    first = plan_of(2e8, 4e9, pins=Pins(lr=2e-3, batch_tokens=100 * 2048))
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(first))
    (found,) = read_anchors([str(path)], seq_len=2048)
    assert (found.lr, found.batch_tokens, found.weight_decay) == (2e-3, 204_800, None)
    again = plan_of(2e8, 4e9, found)
    assert again.lr.value == 2e-3
    assert again.batch_sequences == 100
    assert again.loss == plan_of(2e8, 4e9).loss


def test_a_plan_that_nobody_tuned_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(plan_of(2e8, 4e9)))
    with pytest.raises(InputError, match="its lr was planned, not tuned"):
        read_anchors([str(path)], seq_len=2048)


@pytest.mark.parametrize("trainer", ["transformers", "pytorch", "megatron"])
def test_the_config_of_a_trainer_is_an_anchor(trainer: str, tmp_path: Path) -> None:
    tuned = parse_anchor("params=200M tokens=4B lr=2e-3 batch-sequences=100", seq_len=2048)
    first = plan_of(2e8, 4e9, tuned)
    path = tmp_path / "config"
    write_files(export_plan(first, trainer)[0], path)
    (found,) = read_anchors([f"{trainer}:{path}"], seq_len=512)
    assert found.lr == 2e-3
    assert found.batch_tokens == first.batch_tokens.value
    assert found.params == first.run.active.params
    again = plan_of(found.params, found.tokens, found)
    assert again.lr.value == pytest.approx(2e-3)
    assert again.batch_sequences == 100


def test_a_config_that_says_half_of_a_run_is_no_anchor(tmp_path: Path) -> None:
    path = tmp_path / "training_args.json"
    path.write_text('{"learning_rate": 1e-3, "max_steps": 100}')
    with pytest.raises(InputError, match="beside it, or give plan check"):
        read_anchors([f"transformers:{path}"], seq_len=2048)
    sizes = '"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, '
    rest = '"num_attention_heads": 1, "vocab_size": 512, "max_position_embeddings": 64}'
    (tmp_path / "config.json").write_text('{"model_type": "llama", ' + sizes + rest)
    with pytest.raises(InputError, match="does not say on how many devices"):
        read_anchors([f"transformers:{path}"], seq_len=2048)


def write_runs(path: Path, rows: Sequence[tuple[float, ...]]) -> str:
    lines = ["params,tokens,lr,batch_tokens,loss"]
    path.write_text("\n".join([*lines, *(",".join(map(repr, row)) for row in rows)]) + "\n")
    return str(path)


def test_a_runs_table_gives_an_anchor_a_cell(tmp_path: Path) -> None:
    rows = [(1e8, 2e9, 3e-3, 131072, 3.2), (2e8, 4e9, 2e-3, 131072, 3.0)]
    found = read_anchors([write_runs(tmp_path / "runs.csv", rows)], seq_len=2048)
    assert [(one.params, one.lr, one.batch_tokens, one.loss) for one in found] == [
        (1e8, 3e-3, 131072, 3.2),
        (2e8, 2e-3, 131072, 3.0),
    ]
    assert set(found[0].log_sd) == {"lr", "batch_tokens", "loss"}


def test_a_batch_that_no_run_of_a_cell_varies_moves_nothing(tmp_path: Path) -> None:
    rows = [(1e8, 2e9, 3e-3 * 2**k, 131072, 3.2 * (1 + 0.004 * k * k)) for k in (-2, -1, 0, 1, 2)]
    found = read_anchors([write_runs(tmp_path / "runs.csv", rows)], seq_len=2048)[0]
    assert found.batch_tokens == 131072
    assert set(found.log_sd) == {"lr", "loss"}
    assert found.lr == pytest.approx(3e-3, rel=0.15)
    assert found.log_sd["lr"] < math.log(2) / 2


def test_a_runs_table_without_lr_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("params,tokens,loss\n1e8,2e9,3.2\n")
    with pytest.raises(InputError, match="no finished run has both lr and batch_tokens"):
        read_anchors([str(path)], seq_len=2048)
