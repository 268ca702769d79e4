"""A plan of before plans kept their request and surface, and one whose surface's law has changed.

Its numbers are shown, nothing is priced, and "plan again" is said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.plan.file import load_plan, plan_to_dict
from planner.plan.make import recommend
from planner.plan.reuse import surface_of, why_unpriced
from planner.request.target import Target


def written(folder: Path, plain: dict[str, Any]) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps(plain))
    return path


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The JSON of a plan, as it is written now."""
    return plan_to_dict(recommend(Target(params=2e8, tokens=4e9, seq_len=2048, vocab_size=32_000)))


@pytest.fixture
def old(plain: dict[str, Any], tmp_path: Path) -> Path:
    """The same as it was written before."""
    return written(
        tmp_path, {key: part for key, part in plain.items() if key not in ("request", "surface")}
    )


@pytest.fixture
def edited(plain: dict[str, Any], tmp_path: Path) -> Path:
    """The same by a surface whose law file is another now."""
    return written(tmp_path, {**plain, "surface": {**plain["surface"], "sha256": "0" * 64}})


def test_its_numbers_are_what_they_were(old: Path, plain: dict[str, Any]) -> None:
    again = plan_to_dict(load_plan(old))
    assert (again.pop("request"), again.pop("surface")) == (None, None)
    assert again == {key: part for key, part in plain.items() if key in again}


@pytest.mark.parametrize(
    "words",
    [
        "--from {} --batch 1M",
        "change batch {} --at-token 2B --batch 1M",
        "change extend {} --tokens 8B",
        "verify {}",
    ],
)
def test_nothing_is_planned_again_by_it(
    words: str, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.format(old).split()) == 2
    error = capsys.readouterr().err
    assert "plan again" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("which", ["old", "edited"])
def test_it_is_read_and_not_priced(
    which: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    path = request.getfixturevalue(which)
    plan, book = load_plan(path), read_lawbook()
    assert surface_of(plan, book) is None
    assert "plan again" in why_unpriced(plan, book)
    assert main(["batch", str(path)]) == 0
    assert "plan again" in capsys.readouterr().out
    assert main(["diff", str(path), str(path)]) == 0
    assert capsys.readouterr().out == "the plans say the same\n"
    page = path.with_name("report.html")
    assert main(["report", str(path), "-o", str(page)]) == 0
    assert "plan again" in page.read_text()
    assert main(["export", "pytorch", str(path), "-o", str(path.with_name("run.py"))]) == 0
