"""Published setups as anchors of the same lab's next run."""

from __future__ import annotations

from dataclasses import dataclass

from planner.facts.laws import read_lawbook
from planner.review.practice import PLAN, compare_laws, typical


@dataclass(frozen=True, slots=True)
class Anchored:
    """One lab's setup."""

    setup: str
    values: int
    """Tuned lrs at other sizes than the anchor's."""
    before: float
    """Median factor either way."""
    after: float


def anchored_setups() -> list[Anchored]:
    """Every setup with more than one tuned size."""
    factors = [
        one
        for one in compare_laws(read_lawbook(), names=(PLAN,), anchored=True)
        if one.is_tuned and one.quantity == "lr" and one.anchored is not None
    ]
    found = []
    for setup in dict.fromkeys(one.setup for one in factors):
        part = [one for one in factors if one.setup == setup]
        before = typical(one.factor for one in part)
        after = typical(one.used / one.anchored for one in part if one.anchored is not None)
        assert before is not None
        assert after is not None
        found.append(Anchored(setup, len(part), before, after))
    return found
