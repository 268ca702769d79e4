"""Limited data: the sources' own figures, limits, splits, and a fitted law in their place."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner import recommend
from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.plan.document import Plan
from planner.plan.file import load_plan, plan_to_json
from planner.recommendation.data_part import DataPart
from planner.recommendation.limited_data import Repeats, lowest
from planner.request.choices import Choices
from planner.request.target import Target

REPEATS = read_lawbook()["data-constrained"]


def plan_for(params: float, tokens: float, choices: Choices) -> Plan:
    return recommend(
        Target(params=params, tokens=tokens, seq_len=2048, vocab_size=32000), choices=choices
    )


def data_of(params: float, tokens: float, unique: float, **choices: Any) -> DataPart:
    part = plan_for(params, tokens, Choices(unique_tokens=unique, **choices)).data
    assert part is not None
    return part


def test_four_epochs_are_nearly_free_and_forty_are_not() -> None:
    # Muennighoff et al. 2023: 8.7B params on 178B tokens lose about 0.5% at 4 epochs.
    four, forty = (data_of(8.67e9, 178e9, 178e9 / epochs) for epochs in (4, 40))
    assert four.loss is not None
    assert four.loss_if_fresh is not None
    assert four.loss.value / four.loss_if_fresh < 1.008
    assert four.effective_tokens == pytest.approx(0.93 * 178e9, rel=0.01)
    assert forty.effective_tokens is not None
    assert forty.effective_tokens < 0.4 * 178e9


def test_after_fifteen_repeats_a_token_has_lost_all_but_an_e_th() -> None:
    part = data_of(1e9, 16.387756e9, 1e9)
    assert part.repeat_worth == pytest.approx(math.exp(-1))
    # R* = 15.39 in the source: any number of epochs counts as at most 16.39 of them.
    assert part.epochs == pytest.approx(16.387756)
    endless = Repeats(REPEATS, 1e9).loss(1e9, 1e18)
    fresh = Repeats(REPEATS, 16.387756e9).loss(1e9, 16.387756e9)
    # With fresh tokens all params are of use, so the limit lies a little above.
    assert fresh < endless


def test_limits_are_below_every_loss_and_in_order() -> None:
    part = data_of(1e9, 2e10, 1e9)
    ends = (part.loss_infinite_epochs, part.loss_infinite_params, part.loss_infinite_both)
    assert part.loss is not None
    for end in ends:
        assert end is not None
        assert end.value < part.loss.value
        assert end.low is not None
        assert end.low < end.value
    assert ends[2] is not None
    assert ends[2].value == min(end.value for end in ends if end is not None)


def test_limited_data_are_best_spent_on_fewer_params_and_more_epochs() -> None:
    # The finding of the source: of extra FLOPs on limited data more go to epochs than to params.
    product = 8.67e9 * 178e9
    limited = data_of(8.67e9, 178e9, 25e9).best_split
    plenty = data_of(8.67e9, 178e9, 178e9 * 1000).best_split
    assert limited is not None
    assert plenty is not None
    assert plenty.params == pytest.approx(8.67e9, rel=0.1)
    assert 0.7 < limited.params / plenty.params < 0.8
    assert limited.params * limited.tokens == pytest.approx(product)
    # 6.34B params for 9.7 epochs (recalled, not re-read).
    assert limited.epochs == pytest.approx(9.7, rel=0.1)


@settings(max_examples=25)
@given(st.floats(1e8, 1e11), st.floats(1e9, 1e12), st.floats(1, 100))
def test_no_neighbour_beats_the_best_split(params: float, tokens: float, epochs: float) -> None:
    repeats = Repeats(REPEATS, tokens / epochs)
    product = params * tokens
    best = lowest(lambda n: repeats.loss(n, product / n), params)
    assert best is not None
    for factor in (0.5, 0.9, 1.1, 2):
        beside = repeats.loss(best * factor, product / best / factor)
        assert repeats.loss(best, product / best) <= beside * (1 + 1e-9)


def test_a_loss_without_a_turn_has_no_best_split() -> None:
    assert lowest(lambda params: 1 / params, 1e9) is None


@pytest.mark.parametrize(("params", "decay"), [(1.5e8, 0.8), (1.4e9, 3.2)])
def test_repeats_of_200m_tokens_want_thirty_times_the_usual_decay(
    params: float, decay: float
) -> None:
    # Kim et al. 2025: 0.8 to 3.2 at 150M to 1.4B where 0.1 is usual.
    advice = data_of(params, 4e9, 2e8).weight_decay
    assert advice is not None
    assert advice.value == pytest.approx(decay, rel=0.01)


def test_the_usual_decay_is_raised_thirty_fold_within_the_range() -> None:
    advice = data_of(1.28e9, 4e9, 2e8).weight_decay
    assert advice is not None
    assert advice.value is not None
    assert advice.value / 0.1 == pytest.approx(30, rel=0.02)


@pytest.mark.parametrize(
    ("params", "tokens", "unique", "optimizer", "word"),
    [
        (1e9, 2e10, 1e9, "adamw", "not known here"),
        (1e10, 4e9, 2e8, "adamw", "not known here"),
        (1e9, 4e9, 2e8, "lion", "not known here"),
        (1e9, 8e8, 2e8, "adamw", "no need"),
    ],
)
def test_decay_for_repeats_is_not_known_where_nobody_measured(
    params: float, tokens: float, unique: float, optimizer: str, word: str
) -> None:
    advice = data_of(params, tokens, unique, optimizer=optimizer).weight_decay
    assert advice is not None
    assert advice.value is None
    assert word in advice.reason


def test_an_ensemble_gains_what_its_source_says_and_is_not_known_elsewhere() -> None:
    # Kim et al. 2025: 0.25 / K^1.02 + 3.34 for models of 300M on 200M tokens.
    part = data_of(3e8, 4e9, 2e8).ensemble
    assert part is not None
    assert part.covered
    losses = {row.models: row.loss for row in part.losses}
    assert losses[1] == pytest.approx(3.59)
    assert losses[8] == pytest.approx(3.37, abs=0.001)
    assert losses[0] == 3.34
    far = data_of(1e9, 2e10, 1e9).ensemble
    assert far is not None
    assert not far.covered


def test_the_expected_loss_counts_repeats() -> None:
    plan = plan_for(1e9, 2e10, Choices(unique_tokens=1e9))
    assert plan.data is not None
    assert plan.data.loss is not None
    assert plan.loss.law == "data-constrained"
    assert plan.loss.value == plan.data.loss.value
    assert (plan.loss.low, plan.loss.high) == (plan.data.loss.low, plan.data.loss.high)


def test_data_survive_the_plans_json(tmp_path: Path) -> None:
    plan = plan_for(3e8, 4e9, Choices(unique_tokens=2e8))
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(plan), encoding="utf-8")
    assert load_plan(path) == plan


FITTED = """
[source]
key = "mine"
title = "mine"
evidence = "fitted"
command = "plan fit"
[loss]
form = "{form}"
coefficients = {coefficients}
scatter = 0.01
"""


def plan_with(law: Path, unique: float) -> Any:
    return recommend(
        Target(params=1e9, tokens=2e10, seq_len=2048, vocab_size=32000),
        choices=Choices(unique_tokens=unique),
        law_files=(law,),
    )


def test_a_fitted_law_with_terms_of_unique_tokens_takes_over(tmp_path: Path) -> None:
    law = tmp_path / "mine.toml"
    coefficients = (
        "{E = 2.0, A = 400.0, B = 400.0, alpha = 0.33, beta = 0.33, r_params = 3.0, r_tokens = 7.0}"
    )
    law.write_text(FITTED.format(form="data-constrained", coefficients=coefficients))
    plan = plan_with(law, 1e9)
    assert plan.data.law == plan.loss.law == "mine"
    assert plan.loss.value == plan.data.loss.value > plan.data.loss_if_fresh
    assert plan.data.effective_tokens == pytest.approx(1e9 * (1 + 7 * (1 - math.exp(-19 / 7))))


def test_mixed_terms_count_as_the_fresh_tokens_of_equal_loss(tmp_path: Path) -> None:
    law = tmp_path / "mine.toml"
    law.write_text(
        FITTED.format(
            form="mixed-terms",
            coefficients="{E = 2.0, c1 = 400.0, a1 = -0.33, c2 = 400.0, b2 = -0.2, u2 = -0.13}",
        )
    )
    plan = plan_with(law, 1e9)
    # D^-0.2 U^-0.13 = D'^-0.33
    expected = math.exp((0.2 * math.log(2e10) + 0.13 * math.log(1e9)) / 0.33)
    assert plan.data.effective_tokens == pytest.approx(expected)
    assert plan.data.loss_infinite_epochs is None
    assert plan.loss.value == plan.data.loss.value


def test_a_fitted_law_without_such_terms_is_said_to_ignore_repeats(tmp_path: Path) -> None:
    law = tmp_path / "mine.toml"
    law.write_text(
        FITTED.format(
            form="chinchilla",
            coefficients="{E = 1.8, A = 480.0, B = 2000.0, alpha = 0.35, beta = 0.36}",
        )
    )
    plan = plan_with(law, 1e9)
    assert plan.data.law == "data-constrained"
    assert any("takes every token for fresh" in sentence for sentence in plan.warnings)


def test_the_scatter_of_the_law_is_that_of_its_own_study(shared: Path) -> None:
    with (shared / "data" / "data_constrained_train.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    squares = [
        math.log(
            row["loss"] / Repeats(REPEATS, row["unique_tokens"]).loss(row["params"], row["tokens"])
        )
        ** 2
        for row in rows
    ]
    scatter = REPEATS.quantities["loss"].scatter
    assert math.sqrt(sum(squares) / len(squares)) == pytest.approx(scatter, abs=0.0005)


@pytest.mark.slow
def test_a_law_fitted_to_repeated_runs_plans_with_its_own_terms(
    shared: Path, tmp_path: Path
) -> None:
    law = tmp_path / "mine.toml"
    runs = shared / "data" / "data_constrained_train.csv"
    assert main(["fit", str(runs), "--out", str(law)]) == 0
    few, many = plan_with(law, 1e9), plan_with(law, 1e10)
    assert few.data.law == many.data.law == "mine"
    assert few.loss.value == few.data.loss.value > many.loss.value
    assert few.data.loss.low is not None
