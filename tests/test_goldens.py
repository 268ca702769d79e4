"""What the commands print is what was recorded (`python -m tests.goldens` rewrites it)."""

from __future__ import annotations

import re

import pytest

from tests.goldens import GOLDEN, GROUPS

NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")

EXACT = ("plans", "exports", "reviews")
"""Compared to the byte; least squares leave the others' last digits to the machine."""


@pytest.mark.parametrize("group", GROUPS)
def test_commands_print_what_was_recorded(group: str) -> None:
    """Every situation of the group, and none that was recorded is gone."""
    found = GROUPS[group]()
    assert sorted(found) == sorted(path.stem for path in (GOLDEN / group).glob("*.txt"))
    for name, text in found.items():
        recorded = (GOLDEN / group / f"{name}.txt").read_text(encoding="utf-8")
        if group in EXACT:
            assert text == recorded, name
            continue
        assert NUMBER.sub("#", text) == NUMBER.sub("#", recorded), name
        numbers, before = ([float(n) for n in NUMBER.findall(t)] for t in (text, recorded))
        assert numbers == pytest.approx(before, rel=1e-6, abs=1e-9), name


def test_no_summary_of_a_fit_is_wider_than_80_columns() -> None:
    summaries = sorted((GOLDEN / "fits").glob("*.summary.txt"))
    assert summaries
    for path in summaries:
        _, *printed = path.read_text(encoding="utf-8").splitlines()
        assert max(map(len, printed)) <= 80, path.name
