"""Which runs one law may pool: those of one parametrization, base, optimizer and corpus.

The lr of a run under muP is that of its base point (width, init, embedding multiplier), so it says
nothing of a run under SP or from another base, and an lr of Lion says nothing of AdamW. A loss in
nats per token says nothing of another corpus or tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from fitting.errors import InputError
from fitting.runs.table import Runs

DEFAULT_PARAMETRIZATION = "sp"
"""Parametrization of a run that does not say."""

DEFAULT_OPTIMIZER = "adamw"
"""Optimizer of a run that does not say."""

BASE = ("base_d_model", "init_std", "embedding_multiplier", "head_init_std")
"""Columns of a base point; none of them keeps runs under sp apart."""

BASE_INIT = {"init_std": 0.02, "embedding_multiplier": 1.0}
"""How a run under muP or CompleteP started that does not say: as all did before they said."""


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
    init_std: float = math.nan
    """Base standard deviation of the initial weights; NaN under sp, where any may be pooled."""
    embedding_multiplier: float = math.nan
    """On the embedding's output; NaN under sp."""
    head_init_std: float = math.nan
    """Of an output head with an init of its own; NaN for none, and under sp."""

    def __str__(self) -> str:
        """The group as a person names it; the usual init is not named."""
        base = "" if math.isnan(self.base_d_model) else f" of base width {self.base_d_model:g}"
        for name, said in (
            ("init_std", "init"),
            ("embedding_multiplier", "embedding x"),
            ("head_init_std", "head init"),
        ):
            value = getattr(self, name)
            if not math.isnan(value) and value != BASE_INIT.get(name):
                base += f", {said}{'' if said.endswith('x') else ' '}{value:g}"
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
    scaled = names["parametrization"] != DEFAULT_PARAMETRIZATION
    for name in BASE:
        column = table.get(name, pd.Series(math.nan, table.index, dtype="float64"))
        names[name] = column.fillna(BASE_INIT.get(name, math.nan)).where(scaled)
    keys = ["parametrization", "optimizer", "corpus", *BASE]
    grouped = names.groupby(keys, dropna=False).indices
    found = {}
    for key, rows in grouped.items():
        parametrization, optimizer, corpus, *base = cast("tuple[Any, ...]", key)
        # One NaN, so that equal groups compare as equal.
        numbers = {
            name: math.nan if math.isnan(value) else float(value)
            for name, value in zip(BASE, base, strict=True)
        }
        group = RunSetting(parametrization, optimizer, corpus=corpus, **numbers)
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
