"""Muon's and Lion's own laws: fitted to Fantastic Optimizers' optima, and used where they hold."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fitting.laws.evaluate import evaluate_law
from planner.cli import main
from planner.facts.laws import OPTIMIZER_LAWS, read_lawbook, without_own_laws
from planner.facts.optima import Tuned
from planner.plan.make import recommend
from planner.request.choices import Choices, Pins
from planner.request.target import Target
from tests.measured.fit_optimizers import fit_lr, law_text, optima

OPTIMIZERS = ("muon", "lion")
LAWS = Path(__file__).parents[3] / "data" / "laws"


def lr_interval(one: Tuned) -> tuple[float, float, float]:
    assert one.batch_tokens is not None
    target = Target(params=one.params, tokens=one.tokens, seq_len=4096, vocab_size=32000)
    choices = Choices(optimizer=one.optimizer, pins=Pins(batch_tokens=one.batch_tokens))
    lr = recommend(target, choices=choices).lr
    assert lr.low is not None
    assert lr.high is not None
    return lr.low, lr.value, lr.high


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_shipped_law_is_the_fitted_one(optimizer: str) -> None:
    assert (LAWS / f"{optimizer}-tuned.toml").read_text() == law_text(optimizer, optima(optimizer))


def test_the_optima_are_those_of_the_papers_tables() -> None:
    # arXiv 2509.02046: 18 of Muon from 130M to 1.2B, lr 0.016 to 0.004 in its own update.
    found = optima("muon")
    assert len(found) == 18
    own = [one.lr * 0.2 * math.sqrt(one.d_model) for one in found if one.lr and one.d_model]
    assert {round(lr, 6) for lr in own} == {0.016, 0.008, 0.004}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_seven_of_ten_optima_lie_in_the_plans_interval(optimizer: str) -> None:
    held = [
        low <= one.lr <= high
        for one in optima(optimizer)
        for low, _, high in [lr_interval(one)]
        if one.lr is not None
    ]
    assert sum(held) / len(held) >= 0.7


def test_a_size_left_out_is_foretold_within_the_grids_factor_of_two() -> None:
    found = optima("muon")
    errors = []
    for params in {one.params for one in found}:
        law = fit_lr([one for one in found if one.params != params])
        for one in (one for one in found if one.params == params):
            assert one.batch_tokens is not None
            assert one.lr is not None
            point = {"params": one.params, "tokens": one.tokens, "batch_tokens": one.batch_tokens}
            value = evaluate_law(law, point)
            assert value is not None
            errors.append(math.log(value / one.lr))
    assert math.sqrt(sum(e * e for e in errors) / len(errors)) < math.log(1.5)
    assert max(map(abs, errors)) < math.log(2.1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_plan_says_that_it_uses_the_published_optima(
    optimizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--params", "300M", "--tokens", "6B", "--optimizer", optimizer]) == 0
    said = capsys.readouterr()
    assert f"{optimizer}-tuned" in said.out
    assert f"{optimizer}-tuned rests on" in said.err


def test_far_from_the_optima_muon_leans_on_practice() -> None:
    target = Target(params=7e9, tokens=2e12, seq_len=4096, vocab_size=32000)
    lr = recommend(target, choices=Choices(optimizer="muon")).lr
    assert lr.weights is not None
    assert lr.weights["practice"] > 0.3


def test_an_adamw_law_that_is_asked_for_is_still_converted() -> None:
    target = Target(params=3e8, tokens=6e9, seq_len=2048, vocab_size=32000)
    lion, adamw = (
        recommend(target, choices=Choices(optimizer=name, law="step-law")).lr
        for name in ("lion", "adamw")
    )
    assert lion.value == pytest.approx(adamw.value / 5)


def test_judges_of_the_optima_get_a_book_that_never_saw_them() -> None:
    book = without_own_laws(read_lawbook())
    own = {name for laws in OPTIMIZER_LAWS.values() for name in laws.values()}
    assert own == {"muon-tuned", "lion-tuned"}
    assert not own & book.keys()
