"""Laws against practice: factors, their medians and how they are shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fitting.laws.law import Law
from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.review.practice import PLAN, Factor, compare_laws, typical, typical_by_setup
from planner.review.practice_figure import comparison_data


@pytest.fixture(scope="module")
def factors() -> list[Factor]:
    book: dict[str, Law] = read_lawbook()
    return compare_laws(book, names=(PLAN, "step-law", "deepseek", "kaplan"), anchored=True)


def select(factors: list[Factor], **wanted: object) -> list[Factor]:
    return [f for f in factors if all(getattr(f, name) == is_ for name, is_ in wanted.items())]


def test_step_law_is_within_a_factor_of_its_own_cells(factors: list[Factor]) -> None:
    own = select(factors, law="step-law", setup="StepFun")
    assert len(own) == 30
    assert all(0.5 < one.factor < 2 for one in own)


def test_a_law_is_not_compared_with_points_that_it_gave(factors: list[Factor]) -> None:
    assert not select(factors, law="deepseek", setup="DeepSeek", is_tuned=True)
    assert select(factors, law="step-law", setup="DeepSeek", is_tuned=True)


def test_a_law_that_is_silent_is_left_out(factors: list[Factor]) -> None:
    kaplan = select(factors, law="kaplan")
    assert {one.quantity for one in kaplan} == {"lr"}
    # Its lr falls to 0 at 1.2e10 params (laws.md).
    assert not [one for one in kaplan if one.run == "OPT 66B"]


def test_recipes_are_kept_apart_from_optima(factors: list[Factor]) -> None:
    assert not select(factors, run="Pythia 1B", is_tuned=True)
    assert select(factors, run="Pythia 1B", is_tuned=False)


def test_an_anchor_brings_every_law_closer_to_tuned_learning_rates(factors: list[Factor]) -> None:
    for law in (PLAN, "step-law", "deepseek", "kaplan"):
        part = [
            one
            for one in select(factors, law=law, quantity="lr", is_tuned=True)
            if one.anchored is not None
        ]
        before, after = typical_by_setup(part), typical_by_setup(part, anchored=True)
        assert before is not None
        assert after is not None
        assert after < before


def test_the_smallest_model_of_a_lab_has_no_anchor(factors: list[Factor]) -> None:
    own = select(factors, law="step-law", setup="StepFun")
    smallest = [one for one in own if one.anchored is None]
    assert {one.run.split()[2] for one in smallest} == {"215M"}


def test_a_typical_factor_is_the_same_either_way() -> None:
    assert typical([2.0, 0.5, 4.0]) == pytest.approx(2.0)
    assert typical([]) is None


def test_the_figure_has_a_row_a_lab(factors: list[Factor]) -> None:
    rows = comparison_data(factors)
    tuned = [row for row in rows if row.is_tuned]
    assert rows[: len(tuned)] == tuned
    assert "CWM" in {row.name for row in tuned}
    assert all(math.isfinite(value) for row in rows for value in (*row.plan, *row.others))


@pytest.mark.slow
def test_compare_prints_tables_and_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure = tmp_path / "laws.png"
    assert main(["laws", "compare", "--anchor", "first", "--plot", str(figure)]) == 0
    text = capsys.readouterr().out
    assert "l  step-law" in text
    assert max(map(len, text.splitlines())) <= 80
    assert figure.stat().st_size > 10_000
    assert main(["laws", "compare", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["laws"][0]["law"] == PLAN
    assert {"law", "run", "used", "said", "factor"} <= found["runs"][0].keys()


def test_another_anchor_than_first_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["laws", "compare", "--anchor", "last"]) == 2
    assert "--anchor 'last': is first or left out" in capsys.readouterr().err
