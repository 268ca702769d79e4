"""Sparse plans: published counts, the law of their own, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.change.base import take_up
from planner.change.extend import extend_run
from planner.cli import main
from planner.facts.laws import SPARSE_LAW, read_lawbook
from planner.plan.document import Plan
from planner.plan.file import load_plan, plan_to_dict
from planner.plan.make import recommend
from planner.request.choices import Choices
from planner.request.target import Target
from proxies.run.experts import Experts, count_experts, sparse_shape
from proxies.run.shape import Shape, count_params

EIGHT_OF_64 = Experts(n_experts=64, active=8)
COMMAND = ["--params", "3B", "--tokens", "20B", "--experts", "64", "--active", "8"]


def make_plan(
    *, params: float = 3e9, tokens: float = 2e10, experts: Experts = EIGHT_OF_64, **given: Any
) -> Plan:
    shape = sparse_shape(experts, None, params, vocab_size=32000, tied=False).shape
    active = float(count_params(shape).params)
    target = Target(params=active, tokens=tokens, seq_len=2048, vocab_size=32000)
    return recommend(target, shape=shape, choices=Choices(experts=experts, **given))


@pytest.mark.parametrize(
    ("shape", "experts", "total", "active"),
    [
        pytest.param(
            dict(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128, d_ff=14336),
            Experts(n_experts=8, active=2),
            46.7e9,
            12.9e9,
            id="Mixtral 8x7B",
        ),
        pytest.param(
            dict(
                d_model=2048,
                n_layers=48,
                n_heads=32,
                n_kv_heads=4,
                head_dim=128,
                d_ff=768,
                vocab_size=151936,
            ),
            Experts(n_experts=128, active=8),
            30.5e9,
            3.3e9,
            id="Qwen3 30B-A3B",
        ),
    ],
)
def test_published_models_have_their_published_counts(
    shape: dict[str, Any], experts: Experts, total: float, active: float
) -> None:
    # Model cards: 46.7B and 12.9B; 30.5B in total, 3.3B activated (its norms of queries and keys
    # are too few to show).
    seen = Shape(**{**shape, "d_ff": shape["d_ff"] * experts.active})
    part = count_experts(seen, experts)
    embeddings = 2 * seen.vocab_size * seen.d_model
    assert part.total_params == pytest.approx(total, rel=2e-3)
    assert part.active_params + embeddings == pytest.approx(active, rel=2e-2)


@given(
    params=st.floats(3e8, 1e12),
    experts=st.sampled_from([(8, 2), (16, 1), (64, 8), (128, 8), (256, 9)]),
)
@settings(max_examples=15, deadline=None)
def test_a_chosen_shape_has_the_params_asked_for_in_all(
    params: float, experts: tuple[int, int]
) -> None:
    asked = Experts(n_experts=experts[0], active=experts[1])
    shape = sparse_shape(asked, None, params, vocab_size=32000, tied=False).shape
    part = count_experts(shape, asked)
    assert part.params == pytest.approx(params, rel=0.05)
    assert part.d_ff_expert * asked.active == shape.d_ff
    assert part.active_params < part.params


# Ling


def test_lings_split_spends_the_compute() -> None:
    # arXiv 2507.17702: M = 0.1915 C^0.5095 and D = 5.2232 C^0.4905, so that M D = C.
    assert pytest.approx(1, rel=1e-3) == 0.1915 * 5.2232
    assert pytest.approx(1) == 0.5095 + 0.4905


def test_inside_its_range_lr_and_batch_are_lings_at_the_active_compute() -> None:
    plan = make_plan()
    per_token = 6 * plan.target.params + 12 * plan.shape.n_layers * plan.shape.d_model * 2048
    flops = per_token * plan.target.tokens
    assert plan.lr.law == plan.batch_tokens.law == SPARSE_LAW
    assert plan.lr.value == pytest.approx(1.1576 * flops**-0.1529, rel=0.02)
    assert plan.batch_tokens.value == pytest.approx(0.0694 * flops**0.3644, rel=0.01)
    assert plan.lr.low is None


@pytest.mark.parametrize(
    "given",
    [dict(params=3e10, tokens=1e12), dict(optimizer="muon"), dict(law="step-law")],
    ids=["too much compute", "muon", "another law asked for"],
)
def test_elsewhere_a_dense_law_is_taken_and_marked(given: dict[str, Any]) -> None:
    plan = make_plan(**given)
    assert SPARSE_LAW not in plan.lr.law
    (said,) = [warning for warning in plan.warnings if "a law of dense models" in warning]
    assert "assumed" in said
    assert "at all params" in said


def test_a_ratio_that_ling_was_not_checked_at_is_said() -> None:
    inside = make_plan(experts=Experts(n_experts=64, active=5))
    assert not any("was checked from" in warning for warning in inside.warnings)
    assert any("12.5%; ling-moe was checked from" in warning for warning in make_plan().warnings)


def test_the_loss_lies_between_a_dense_model_of_all_and_of_the_active_params() -> None:
    plan = make_plan()
    assert plan.experts is not None
    dense = [
        recommend(Target(params=params, tokens=2e10, seq_len=2048, vocab_size=32000)).loss
        for params in (float(plan.experts.params), plan.target.params)
    ]
    assert dense[0].value < plan.loss.value < dense[1].value
    assert plan.loss.value == pytest.approx(math.sqrt(dense[0].value * dense[1].value))
    assert plan.loss.low == pytest.approx(dense[0].low)
    assert plan.loss.high == pytest.approx(dense[1].high)


def test_memory_holds_every_expert_and_time_is_that_of_the_active() -> None:
    plan = make_plan(gpus="1xh200")
    dense = recommend(
        Target(params=plan.target.params, tokens=2e10, seq_len=2048, vocab_size=32000),
        choices=Choices(gpus="1xh200"),
    )
    assert plan.experts is not None
    assert plan.compute is not None
    assert dense.compute is not None
    assert plan.compute.memory_bytes.optimizer == pytest.approx(12 * plan.experts.total_params)
    assert plan.compute.hours == pytest.approx(dense.compute.hours, rel=0.05)


# The command line


def test_the_json_of_a_dense_plan_has_no_experts() -> None:
    target = Target(params=1e8, tokens=2e9, seq_len=2048, vocab_size=32000)
    assert plan_to_dict(recommend(target))["experts"] is None


def test_a_sparse_plan_is_read_back_changed_and_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["experts"]["n_experts"] == 64
    file = tmp_path / "plan.json"
    file.write_text(text)
    change = extend_run(take_up(load_plan(file), read_lawbook()), tokens=4e10)
    assert change.plan is not None
    assert change.plan.experts == load_plan(file).experts
    capsys.readouterr()
    assert main(["export", "megatron", str(file), "-o", str(tmp_path / "x"), "--lossy"]) == 1
    assert "no export writes a router and 64 experts of width" in capsys.readouterr().err
    assert main(["change", "grow", str(file), "--layers", "36", "--tokens", "100B"]) == 2


def test_the_explanation_says_which_params_each_law_wants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*COMMAND, "--explain"]) == 0
    said = capsys.readouterr().out
    assert "lr: ling-moe wants activated, non-embedding params" in said
    assert "assumed at the active params" in said
    assert "params, 532M active" in said


def test_a_shape_of_ones_own_counts_one_experts_width(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--d-model", "1024", "--layers", "12", "--d-ff", "256", "--tokens", "5B"]
    assert main([*own, "--experts", "64", "--active", "8", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["experts"]["d_ff_expert"] == 256
    assert plan["shape"]["d_ff"] == 2048


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--params", "3B", "--tokens", "20B", "--experts", "64"], "needs --active"),
        (["--params", "3B", "--tokens", "20B", "--active", "8"], "needs --experts"),
        ([*COMMAND[:-1], "64"], "fewer than --experts"),
        (["--tokens", "20B", *COMMAND[4:]], "give --params"),
        (["--model", "llama-3-8b", "--tokens", "20B", *COMMAND[4:]], "--model is dense"),
    ],
)
def test_experts_that_cannot_be_are_one_line(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
