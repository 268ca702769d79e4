"""What batches cost in tokens, time and loss: the sources' figures, the plan's own prices."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from fitting.probes.noise_scale import fit_noise
from planner import Choices, Pins, Plan, Target, recommend
from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.plan.file import plan_to_json
from planner.review.batch_tradeoff import (
    Tradeoff,
    fewest_tokens,
    opinion,
    same_half_life,
    trade_off,
)

BOOK = read_lawbook()


def plan_for(pins: Pins | None = None, law_files: tuple[Path, ...] = ()) -> Plan:
    return recommend(
        Target(params=2e8, tokens=4e9, seq_len=2048, vocab_size=32000),
        choices=Choices(pins=pins or Pins()),
        law_files=law_files,
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_for()


@pytest.fixture(scope="module")
def found(plan: Plan) -> Tradeoff:
    return trade_off(plan, BOOK)


def test_the_critical_batch_is_that_of_its_source() -> None:
    # Bergsma et al. 2025: 0.0471 D^0.462 sequences of 2,048, 2,700 of them at 20B tokens.
    critical = opinion(BOOK["power-lines"], 2e10, loss=2.6)
    assert critical is not None
    assert critical / 2048 == pytest.approx(2700, rel=0.05)


def test_two_studies_of_the_critical_batch_agree_once_their_definitions_do() -> None:
    # At 3.07B tokens 998 x 512 tokens are 20% more steps than in proportion, a fifth of B_crit.
    ours, theirs = (opinion(BOOK[name], 3.07e9, loss=2.6) for name in ("power-lines", "zhang-2024"))
    assert ours is not None
    assert theirs == pytest.approx(5 * 998 * 512, rel=0.01)
    assert theirs == pytest.approx(ours, rel=0.15)


def test_every_row_lies_on_the_curve_of_tokens_and_steps(found: Tradeoff) -> None:
    for row in found.rows:
        tokens = row.tokens / found.fewest_tokens - 1
        steps = row.tokens / row.batch_tokens / found.fewest_steps - 1
        assert tokens * steps == pytest.approx(1)


def test_the_plans_own_row_is_the_plan(plan: Plan, found: Tradeoff) -> None:
    row = next(row for row in found.rows if row.batch_sequences == plan.batch_sequences)
    assert row.tokens == pytest.approx(plan.target.tokens)
    assert abs(row.steps - plan.steps) <= 1
    assert (row.relative_time, row.relative_tokens) == pytest.approx((1, 1))
    assert row.loss_cost == 0
    assert row.beta2 == plan.optimizer.beta2


def test_at_the_critical_batch_tokens_and_steps_are_twice_the_fewest() -> None:
    # Power Lines: D = D_min (1 + B / B_crit(D_min)).
    law = BOOK["power-lines"]

    def critical(tokens: float) -> float:
        return opinion(law, tokens, loss=2.6) or math.nan

    fewest = fewest_tokens(critical, tokens=2e10, batch_tokens=critical(1e10))
    assert fewest == pytest.approx(1e10)


@given(st.floats(1e7, 1e13), st.floats(1e3, 1e9))
def test_the_fewest_tokens_solve_their_equation(tokens: float, batch_tokens: float) -> None:
    def critical(count: float) -> float:
        return float(96.4608 * count**0.462)

    fewest = fewest_tokens(critical, tokens=tokens, batch_tokens=batch_tokens)
    assert fewest <= tokens
    if fewest > 1.001:
        assert fewest * (1 + batch_tokens / critical(fewest)) == pytest.approx(tokens)


def test_half_and_twice_the_batch_cost_what_the_plan_says(plan: Plan, found: Tradeoff) -> None:
    assert plan.error_cost is not None
    ours = plan.batch_sequences
    costs = {row.batch_sequences: row.loss_cost for row in found.rows}
    assert costs[ours // 2] == pytest.approx(plan.error_cost.batch_tokens.half, abs=1e-6)
    assert costs[2 * ours] == pytest.approx(plan.error_cost.batch_tokens.double, abs=1e-6)


def test_moving_the_lr_with_the_batch_costs_no_more_than_holding_it(found: Tradeoff) -> None:
    known = [row for row in found.rows if row.loss_cost is not None]
    assert len(known) > 4
    for row in known:
        assert row.loss_cost is not None
        assert row.loss_cost_lr_moved is not None
        assert row.loss_cost_lr_moved <= row.loss_cost + 1e-9


def test_pins_are_priced_from_where_they_are() -> None:
    plan = plan_for(Pins(batch_tokens=256 * 2048, lr=1e-3))
    found = trade_off(plan, BOOK)
    assert plan.error_cost is not None
    costs = {row.batch_sequences: row.loss_cost for row in found.rows}
    assert costs[512] == pytest.approx(plan.error_cost.batch_tokens.double, abs=1e-6)
    assert costs[256] == 0


def test_a_plan_by_ones_own_laws_is_priced_by_the_surface_that_priced_it(tmp_path: Path) -> None:
    law = tmp_path / "mine.toml"
    law.write_text(
        '[source]\nkey = "mine"\ntitle = "t"\nevidence = "fitted"\n'
        '[lr]\nform = "power"\nscatter = 0.1\ncoefficients = { scale = 0.0002 }\n'
    )
    plan = plan_for(law_files=(law,))
    found = trade_off(plan, BOOK)
    assert plan.error_cost is not None
    costs = {row.batch_sequences: row.loss_cost for row in found.rows}
    assert costs[2 * plan.batch_sequences] == plan.error_cost.batch_tokens.double


def test_a_plan_that_does_not_say_its_surface_is_not_priced() -> None:
    found = trade_off(replace(plan_for(), request=None, surface=None), BOOK)
    assert found.surface is None
    assert "plan again" in found.note
    assert all(row.loss_cost is None for row in found.rows)


def test_beta2_keeps_its_half_life_in_tokens() -> None:
    # Marek et al. 2025: beta2 0.95 at 512 sequences is 0.9999 at 1.
    assert same_half_life(0.95, 1 / 512) == pytest.approx(0.9999, abs=5e-6)


def runs(path: Path, rows: list[tuple[float, float | str]]) -> Path:
    lines = [f"1e7,{tokens},1e-3,65536,4,{noise}" for tokens, noise in rows]
    head = "params,tokens,lr,batch_tokens,loss,noise_scale_tokens"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_measured_noise_gives_level_exponent_and_interval(tmp_path: Path) -> None:
    rows = [(t, 50 * t**0.4 * (1 + 0.1 * (-1) ** k)) for k, t in enumerate((1e8, 2e8, 4e8, 8e8))]
    noise = fit_noise(runs(tmp_path / "runs.csv", list(rows)))
    assert noise.exponent == pytest.approx(0.4, abs=0.1)
    low, high = noise.interval(4e9)
    assert low is not None
    assert high is not None
    assert low < 50 * 4e9**0.4 < high
    near = noise.interval(4e8)
    assert near[0] is not None
    assert near[1] is not None
    assert near[1] / near[0] < high / low


def test_one_budget_of_noise_gives_the_level_alone(tmp_path: Path) -> None:
    noise = fit_noise(runs(tmp_path / "runs.csv", [(1e8, 1e5), (1e8, ""), (2e8, "")]))
    assert noise.at(1e8) == pytest.approx(1e5)
    assert noise.at(1e10) == pytest.approx(1e5 * 100**0.462)
    assert noise.interval(1e10) == (None, None)


def test_runs_without_noise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has noise_scale_tokens"):
        fit_noise(runs(tmp_path / "runs.csv", [(1e8, "")]))


def saved(plan: Plan, folder: Path) -> str:
    path = folder / "plan.json"
    path.write_text(plan_to_json(plan), encoding="utf-8")
    return str(path)


def test_the_command_prints_a_row_a_batch(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", saved(plan, tmp_path)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "interval not known" in out
    assert f"\n{plan.batch_tokens.value / 1e3:.0f}K" in out.replace("\n ", "\n")


def test_the_command_prints_json_of_measured_noise(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = runs(tmp_path / "runs.csv", [(1e8, 1e5), (2e8, 1.4e5), (4e8, 2e5)])
    assert main(["batch", saved(plan, tmp_path), "--noise", str(noise), "--json"]) == 0
    plain: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert plain["low"] < plain["critical_batch_tokens"] < plain["high"]
    assert plain["source"] == "noise scale of 3 runs in runs.csv"
    assert plain["rows"][0]["batch_sequences"] * 2048 == plain["rows"][0]["batch_tokens"]


def test_the_command_draws_the_curve(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "batch.svg"
    assert main(["batch", saved(plan, tmp_path), "--plot", str(figure)]) == 0
    assert "<svg" in figure.read_text(encoding="utf-8")
    assert main(["batch", saved(plan, tmp_path), "--plot", str(tmp_path / "batch.txt")]) == 2
    assert "batch.txt" in capsys.readouterr().err
