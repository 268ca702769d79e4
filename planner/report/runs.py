"""The table of runs as columns that the page sorts and filters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitting.runs.table import Runs

MOST_RUNS = 5_000
"""Runs that a page holds, so that it stays a file to send; the largest compute comes first."""

SHOWN = {
    "run_id": "word",
    "group": "word",
    "params": "count",
    "tokens": "count",
    "lr": "small",
    "batch_tokens": "count",
    "weight_decay": "small",
    "warmup_tokens": "count",
    "schedule": "word",
    "optimizer": "word",
    "parametrization": "word",
    "seed": "number",
    "loss": "loss",
}
"""Columns that are shown where the table has them, and how their values are written."""


ALWAYS = ("params", "tokens", "loss")
"""Columns that are shown even where every run has the same."""


def runs_data(runs: Runs) -> dict[str, Any]:
    """Columns of the runs with how each is written, and how each run was judged.

    The last columns are the loss over the best of its (params, tokens) cell, in percent, and the
    outcome; a column with one value in every run is left out and listed in `same`.
    """
    order = (runs.table["params"] * runs.table["tokens"]).sort_values(
        ascending=False, kind="stable"
    )
    table = runs.table.loc[order.index[:MOST_RUNS]]
    finished = runs.outcome == "finished"
    best = runs.table["loss"].where(finished).groupby(runs.cell).transform("min")
    extra = (100 * (runs.table["loss"] / best - 1)).where(finished).loc[table.index]
    shown = {name: (kind, table[name].tolist()) for name, kind in SHOWN.items() if name in table}
    shown["over best"] = ("percent", extra.tolist())
    shown["outcome"] = ("word", [str(value) for value in runs.outcome.loc[table.index]])
    columns, same = [], {}
    for name, (kind, found) in shown.items():
        values = [plain(value) for value in found]
        if len(set(values)) > 1 or name in ALWAYS:
            columns.append({"name": name, "kind": kind, "values": values})
        elif values[0] is not None:
            same[name] = values[0]
    return {"columns": columns, "same": same, "total": len(runs.table)}


def plain(value: object) -> float | str | None:
    """A cell for JSON; six digits, None where it is empty."""
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
