"""Intervals outside the law's range, judged by published runs whose lab is held out."""

from __future__ import annotations

import pytest

from planner.facts.laws import read_lawbook
from planner.recommendation.estimate import FORM_LOG_SD
from tests.measured.form_spread import Foretold, estimate_spread, foretell

NAMED = (
    "SmolLM2 135M",
    "SmolLM2 1.7B",
    "SmolLM3 3B",
    "OLMo 7B",
    "OLMo-2 1B",
    "OLMo-2 7B",
    "OLMo-2 32B",
    "Llama 2 7B",
    "Llama 2 70B",
    "Llama 3.1 405B",
    "Pythia 1.4B",
    "Pythia 12B",
    "TinyLlama 1.1B",
    "DeepSeek LLM 67B",
    "Marin 8B phase 1",
    "DCLM 7B 1x",
    "GPT-3 175B",
    "Amber 7B",
)
"""Published runs outside the range of Step Law, of many labs and sizes."""


@pytest.fixture(scope="module")
def foretold() -> list[Foretold]:
    book = read_lawbook()
    return foretell(book["step-law"], book)


def test_intervals_hold_two_thirds_of_the_named_runs_lr_with_their_lab_held_out(
    foretold: list[Foretold],
) -> None:
    named = [run for run in foretold if run.recipe.run in NAMED]
    assert len(named) == len(NAMED) >= 12
    assert sum(run.covered("lr") for run in named) / len(named) >= 2 / 3


def test_intervals_hold_two_thirds_of_all_published_lrs(foretold: list[Foretold]) -> None:
    assert len(foretold) > 60
    assert sum(run.covered("lr") for run in foretold) / len(foretold) >= 2 / 3


@pytest.mark.parametrize("quantity", ["lr", "batch_tokens"])
def test_the_spread_in_use_is_that_of_highest_likelihood(quantity: str) -> None:
    book = read_lawbook()
    assert estimate_spread(book["step-law"], book["practice"], quantity) == pytest.approx(
        FORM_LOG_SD[quantity], abs=0.006
    )
