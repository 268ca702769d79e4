"""The law that stands beside a user's runs: the one asked for, or the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.facts.laws import find_law, read_lawbook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fitting.laws.law import Law

DEFAULT_PRIOR = "step-law"
"""Law that stands in where runs say too little; see `fitting.fit.enough.says_too_little`."""


def choose_prior(name: str | None, files: Sequence[Path]) -> tuple[Law | None, bool]:
    """The prior asked for, or the default, and whether it counts only where runs say too little.

    Args:
        name: of a law, "none" for no prior, or None for the default.
        files: law files of the user's own.

    Raises:
        InputError: no law of that name, or a law file that cannot be read.
    """
    if name == "none":
        return None, False
    return find_law(read_lawbook(files), name or DEFAULT_PRIOR, where="--prior"), name is None
