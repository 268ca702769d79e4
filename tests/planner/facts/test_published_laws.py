"""Walks `tests/published/laws.toml`: each published value against the law book."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fitting.laws.evaluate import evaluate_law
from fitting.laws.forms import log_relative
from planner.facts.laws import read_lawbook

TABLE = tomllib.loads(
    (Path(__file__).parents[2] / "published" / "laws.toml").read_text(encoding="utf-8")
)
BOOK = read_lawbook()


def label(entry: dict[str, Any]) -> str:
    return f"{entry['law']}-{entry['quantity']}"


@pytest.mark.parametrize("entry", TABLE["value"], ids=label)
def test_the_law_gives_the_published_value(entry: dict[str, Any]) -> None:
    value = evaluate_law(BOOK[entry["law"]].quantities[entry["quantity"]], entry["at"])
    assert value == pytest.approx(entry["value"], rel=entry["tolerance"]), entry["source"]


@pytest.mark.parametrize("entry", TABLE["factor"], ids=label)
@pytest.mark.parametrize("tokens", [2e9, 1e11])
def test_the_batch_moves_the_law_by_the_published_factor(
    entry: dict[str, Any], tokens: float
) -> None:
    quantity = BOOK[entry["law"]].quantities[entry["quantity"]]
    optimal = evaluate_law(BOOK["step-law"].quantities["batch_tokens"], {"tokens": tokens})
    assert optimal is not None
    point = {"params": 3e8, "tokens": tokens}
    moved = evaluate_law(quantity, point | {"batch_tokens": entry["batch_over_optimal"] * optimal})
    start = evaluate_law(quantity, point | {"batch_tokens": optimal})
    assert moved is not None
    assert start is not None
    assert moved / start == pytest.approx(entry["value"], rel=entry["tolerance"])


@pytest.mark.parametrize("entry", TABLE["move"], ids=label)
def test_exponents_move_a_value_by_the_published_factor(entry: dict[str, Any]) -> None:
    quantity = BOOK[entry["law"]].quantities[entry["quantity"]]
    assert evaluate_law(quantity, entry["to"]) is None
    factor = math.exp(log_relative(quantity, entry["to"]) - log_relative(quantity, entry["from"]))
    assert factor == pytest.approx(entry["value"], rel=entry["tolerance"])


def test_the_data_constrained_constants_give_the_published_size_ratio() -> None:
    # G^2 = (A/B)^(1/alpha) bounds the useful params per unique token; noted as 0.0510.
    c = BOOK["data-constrained"].quantities["loss"].coefficients
    assert (c["A"] / c["B"]) ** (1 / c["alpha"]) == pytest.approx(0.0510, abs=5e-5)


def test_four_epochs_are_nearly_free_and_forty_are_not() -> None:
    quantity = BOOK["data-constrained"].quantities["loss"]
    loss = {
        epochs: evaluate_law(
            quantity, {"params": 1e9, "tokens": epochs * 2e10, "unique_tokens": 2e10}
        )
        for epochs in (1, 4, 40, 80)
    }
    fresh = {
        epochs: evaluate_law(quantity, {"params": 1e9, "tokens": epochs * 2e10})
        for epochs in (4, 80)
    }
    values = [*loss.values(), *fresh.values()]
    assert all(value is not None for value in values)
    one, four, forty, eighty, fresh_four, fresh_eighty = (v for v in values if v is not None)
    # Shares of the gain of fresh tokens that repeats keep.
    assert (one - four) / (one - fresh_four) > 0.9
    assert (one - eighty) / (one - fresh_eighty) < 0.8
    assert forty - eighty < 0.01


def test_the_unrounded_chinchilla_constants_round_to_the_printed_ones() -> None:
    c = BOOK["chinchilla"].quantities["loss"].coefficients
    assert (round(c["E"], 2), round(c["alpha"], 2), round(c["beta"], 2)) == (1.69, 0.34, 0.28)


def test_the_saturating_lr_follows_step_law_at_its_own_batch() -> None:
    # The two fits share their runs; the level differs by less than the scatter of measured lrs.
    for params, tokens in ((6e7, 2e9), (2.15e8, 2e10), (5.4e8, 5e10)):
        point = {"params": params, "tokens": tokens}
        batch = evaluate_law(BOOK["step-law"].quantities["batch_tokens"], point)
        assert batch is not None
        at_batch = point | {"batch_tokens": batch}
        ours = evaluate_law(BOOK["step-law-saturating"].quantities["lr"], at_batch)
        theirs = evaluate_law(BOOK["step-law"].quantities["lr"], at_batch)
        assert ours is not None
        assert theirs is not None
        assert abs(math.log(ours / theirs)) < 0.25
