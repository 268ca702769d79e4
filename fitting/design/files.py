"""Candidates from a table without losses, and proposals as such a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fitting.design.space import Candidates
from fitting.runs.table import read_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fitting.design.choose import Proposal

REQUIRED = ("params", "tokens", "lr", "batch_tokens")
"""What every candidate says."""

UNKNOWN = ("loss", "loss_se", "status")
"""Columns that a run has only once it is made; left out of what is printed."""


def read_candidates(path: Path) -> tuple[Candidates, pd.DataFrame]:
    """The candidates of a CSV or Parquet file, and the file's own rows.

    A row costs its `flops`, or 6 params tokens where that is missing. A column `loss` is not read.

    Raises:
        InputError: the file cannot be read, or a row lacks something or holds a bad value.
    """
    numbers, table = read_columns(path, required=REQUIRED, optional=("flops",))
    flops = 6 * numbers["params"] * numbers["tokens"]
    if "flops" in numbers:
        flops = numbers["flops"].fillna(flops)
    columns = {name: numbers[name].to_numpy(float) for name in REQUIRED}
    candidates = Candidates(**columns, flops=flops.to_numpy(float))
    return candidates, table.drop(columns=[name for name in UNKNOWN if name in table])


def proposals_table(
    proposals: Sequence[Proposal], candidates: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Proposals in the runs table's columns without `loss`, `flops` and `reason` last.

    Args:
        proposals: best first.
        candidates: the rows that they come from, all of whose columns are kept.
    """
    if candidates is None:
        columns = {name: [getattr(proposal, name) for proposal in proposals] for name in REQUIRED}
        table = pd.DataFrame(columns)
    else:
        rows = [proposal.row for proposal in proposals if proposal.row is not None]
        table = candidates.iloc[rows].reset_index(drop=True)
        table = table.drop(columns=[name for name in ("flops", "reason") if name in table])
    return table.assign(
        flops=[proposal.flops for proposal in proposals],
        reason=[proposal.reason for proposal in proposals],
    )


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV: whole counts plain, other numbers in the digits that a run can follow."""
    return table.to_csv(index=False, lineterminator="\n", float_format=format_run_number)


def format_run_number(value: object) -> str:
    """Six digits; a whole number below 1e15 in full."""
    number = float(str(value))
    whole = number.is_integer() and abs(number) < 1e15
    return str(int(number)) if whole else f"{number:.6g}"
