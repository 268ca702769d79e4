"""Which runs one law may pool: those of one parametrization, base width, optimizer and corpus.

The lr of a run under muP is that of its base width, so it says nothing of a run under SP, and an
lr of Lion says nothing of AdamW. A loss in nats per token says nothing of another corpus or
tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pandas as pd

from fitting.errors import InputError
from fitting.runs.table import Runs

DEFAULT_PARAMETRIZATION = "sp"
"""Parametrization of a run that does not say."""

DEFAULT_OPTIMIZER = "adamw"
"""Optimizer of a run that does not say."""


@dataclass(frozen=True, slots=True, order=True)
class RunSetting:
    """A setting whose learning rates can be compared."""

    parametrization: str
    """Lower case: sp, mup, completep, ..."""
    optimizer: str
    """Lower case: adamw, lion, muon, ..."""
    base_d_model: float = math.nan
    """Base width; NaN under sp, which has none, and where runs do not say."""
    corpus: str = ""
    """Lower case: the text and its tokens; empty where runs do not say."""

    def __str__(self) -> str:
        """The group as a person names it."""
        base = "" if math.isnan(self.base_d_model) else f" of base width {self.base_d_model:g}"
        corpus = f" on {self.corpus}" if self.corpus else ""
        return f"{self.parametrization}{base} with {self.optimizer}{corpus}"


def find_settings(runs: Runs) -> Mapping[RunSetting, pd.Series[bool]]:
    """Groups of a table, each with the rows of `runs.table` in it; `runs.select` takes them."""
    table = runs.table
    names = pd.DataFrame(
        {
            "parametrization": known_text(table, "parametrization", DEFAULT_PARAMETRIZATION),
            "optimizer": known_text(table, "optimizer", DEFAULT_OPTIMIZER),
            "corpus": known_text(table, "corpus", ""),
        }
    )
    base = table.get("base_d_model", pd.Series(math.nan, table.index, dtype="float64"))
    names["base"] = base.mask(names["parametrization"] == DEFAULT_PARAMETRIZATION)
    keys = ["parametrization", "optimizer", "base", "corpus"]
    grouped = names.groupby(keys, dropna=False).indices
    found = {}
    for key, rows in grouped.items():
        parametrization, optimizer, width, corpus = cast("tuple[str, str, float, str]", key)
        group = RunSetting(parametrization, optimizer, float(width), corpus)
        found[group] = pd.Series(table.index.isin(table.index[rows]), table.index)
    return found


def require_one_setting(runs: Runs, *, where: str = "runs") -> RunSetting:
    """The one group that all runs belong to.

    Raises:
        InputError: there are several; each is named with its number of runs.
    """
    groups = find_settings(runs)
    if len(groups) > 1:
        named = ", ".join(f"{group} ({int(rows.sum())} runs)" for group, rows in groups.items())
        raise InputError(
            f"{where}: {len(groups)} groups that no law may pool: {named}; fit each by itself"
        )
    return next(iter(groups))


def known_text(table: pd.DataFrame, name: str, default: str) -> pd.Series[str]:
    """A text column in lower case, `default` where it is missing or empty."""
    if name not in table:
        return pd.Series(default, table.index, dtype="str")
    return table[name].str.strip().str.lower().fillna(default)
