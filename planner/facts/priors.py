"""The law that stands beside a user's runs: the one asked for, or the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.facts.laws import find_law, read_lawbook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fitting.laws.law import Law
    from fitting.runs.table import Runs

DEFAULT_PRIOR = "step-law"
"""Law that stands in where runs say too little; see `fitting.fit.laws.wants_prior`."""


def choose_prior(runs: Runs | None, name: str | None, files: Sequence[Path]) -> Law | None:
    """The prior asked for, or the default where there are no runs or they say too little.

    Args:
        runs: those made so far, or None.
        name: of a law, "none" for no prior, or None for the default.
        files: law files of the user's own.

    Raises:
        InputError: no law of that name, a law file that cannot be read, or a mixed table.
    """
    # Imported here: it loads the fits, which a name alone does not need.
    from fitting.fit.laws import wants_prior

    if name == "none" or (name is None and runs is not None and not wants_prior(runs)):
        return None
    return find_law(read_lawbook(files), name or DEFAULT_PRIOR, where="--prior")
