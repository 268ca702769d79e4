"""`plan diff`: what changed between two plans and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.cli import main
from planner.plan.document import Plan
from planner.plan.file import plan_to_json
from planner.plan.make import recommend
from planner.request.choices import Choices, Pins
from planner.request.target import Target
from planner.review.diff import compare_plans


def plan_for(params: float = 2e8, tokens: float = 4e9, **chosen: Any) -> Plan:
    """A plan inside the reach of the measured surface."""
    target = Target(params=params, tokens=tokens, seq_len=2048, vocab_size=32_000)
    return recommend(target, choices=Choices(**chosen))


def test_a_plan_differs_from_itself_in_nothing() -> None:
    found = compare_plans(plan_for(), plan_for())
    assert found.changes == ()
    assert found.cost == 0


def test_every_changed_number_is_named_with_its_factor() -> None:
    found = {c.key: c for c in compare_plans(plan_for(), plan_for(pins=Pins(lr=4e-3))).changes}
    assert found["lr"].after == 4e-3
    assert found["lr"].factor == pytest.approx(4e-3 / plan_for().lr.value)
    assert found["lr.law"].after == "pinned"
    assert "shape.d_model" not in found


def test_the_cost_of_a_pin_is_that_of_the_plan_and_its_undoing_saves_as_much() -> None:
    ours, pinned = plan_for(), plan_for(pins=Pins(lr=8e-3, batch_tokens=1e6))
    worse, better = compare_plans(ours, pinned).cost, compare_plans(pinned, ours).cost
    assert worse is not None
    assert better is not None
    assert worse > 0.005
    assert (1 + worse) * (1 + better) == pytest.approx(1)
    assert pinned.loss.value / ours.loss.value - 1 == pytest.approx(worse, rel=1e-3)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (plan_for(params=3e8), "the target's params differ"),
        (plan_for(tokens=8e9), "the target's tokens differ"),
        (plan_for(optimizer="lion"), "the optimizers differ"),
        (plan_for(parametrization="mup"), "the parametrizations differ"),
    ],
)
def test_plans_that_no_surface_compares_have_no_cost(other: Plan, why: str) -> None:
    found = compare_plans(plan_for(), other)
    assert found.cost is None
    assert found.reason.startswith(why)


def test_out_of_the_surface_the_cost_is_not_known() -> None:
    found = compare_plans(plan_for(7e9, 2e12), plan_for(7e9, 2e12, pins=Pins(lr=1e-3)))
    assert found.cost is None
    assert "no measured surface" in found.reason


def written(folder: Path, name: str, plan: Plan) -> str:
    """Where a plan's JSON lies."""
    path = folder / name
    path.write_text(plan_to_json(plan))
    return str(path)


def test_the_command_prints_changes_and_one_cost_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = written(tmp_path, "a.json", plan_for())
    pinned = written(tmp_path, "b.json", plan_for(pins=Pins(lr=8e-3), gpus="8"))
    assert main(["diff", ours, pinned]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lr ")
    assert lines[0].endswith("x)")
    assert any(line.startswith("compute.data_parallel") for line in lines)
    assert lines[-1].startswith("loss: the second plan's lr and batch cost ")
    assert main(["diff", ours, ours]) == 0
    assert capsys.readouterr().out == "the plans say the same\n"
    assert main(["diff", ours, pinned, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] > 0


def test_a_file_that_is_no_plan_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = written(tmp_path, "a.json", plan_for())
    other = tmp_path / "b.json"
    other.write_text("{}")
    assert main(["diff", ours, str(other)]) == 2
    assert "not a plan of schema 1" in capsys.readouterr().err


def test_a_plan_edited_into_a_contradiction_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = written(tmp_path, "a.json", plan_for())
    edited = json.loads(Path(ours).read_text())
    edited["warmup_steps"] += 5
    other = tmp_path / "b.json"
    other.write_text(json.dumps(edited))
    assert main(["diff", ours, str(other)]) == 2
    assert "schedule.warmup_steps" in capsys.readouterr().err
