"""Published runs that were changed: the nearest stand beside every change."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

CASES_FILE = "changes.toml"
"""In the data folder of the package."""

NEAREST = 2
"""Cases shown beside a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One published change."""

    kind: str
    """The subcommand of `plan change` that it is an example of."""
    run: str
    params: float
    """Non-embedding where its source gives them."""
    tokens: float | None
    """At the end of the change; None where its source does not say."""
    did: str
    """What was done, in words."""
    evidence: str
    """verified, quoted or recalled."""
    source: str


def read_cases() -> list[Case]:
    """All published changes, in the file's order."""
    folder = Path(import_module("planner.data").__path__[0])
    raw = tomllib.loads((folder / CASES_FILE).read_text(encoding="utf-8"))
    return [Case(**{"tokens": None, **entry}) for entry in raw["case"]]


def nearest_cases(kind: str, *, params: float, tokens: float) -> tuple[Case, ...]:
    """The published changes of one kind nearest in log params and log tokens, nearest first."""

    def distance(case: Case) -> float:
        along = 0.0 if case.tokens is None else math.log(case.tokens / tokens)
        return math.hypot(math.log(case.params / params), along)

    found = [case for case in read_cases() if case.kind == kind]
    return tuple(sorted(found, key=distance)[:NEAREST])
