"""Candidates from a table without losses, and proposals as such a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fitting.design.space import Candidates
from fitting.errors import InputError
from fitting.files import read_table
from fitting.fit.predict import check_row
from fitting.runs.table import convert_number, join_problems

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
    table = read_table(path)
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        there = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: column {', '.join(missing)} missing, it has {there}")
    if not len(table):
        raise InputError(f"{path}: has no rows; give one a candidate")
    names = [name for name in (*REQUIRED, "flops") if name in table]
    columns: dict[str, pd.Series] = {}
    problems: list[tuple[int, str]] = []
    for name in names:
        columns[name], found = convert_number(table[name], name)
        empty = columns[name].isna() & (name in REQUIRED)
        unknown = [(int(str(row)), "is empty") for row in table.index[empty]]
        told = {row for row, _ in found}
        problems += [
            (row, f"{path} row {row}, column {name}: {what}")
            for row, what in (*found, *(each for each in unknown if each[0] not in told))
        ]
    if problems:
        raise InputError(join_problems(text for _, text in sorted(problems)))
    for number in table.index:
        row = {name: float(columns[name][number]) for name in REQUIRED}
        check_row(row, where=f"{path} row {number}")
    flops = 6 * columns["params"] * columns["tokens"]
    if "flops" in columns:
        flops = columns["flops"].fillna(flops)
    arrays = [columns[name].to_numpy(float) for name in REQUIRED]
    candidates = Candidates(
        params=arrays[0],
        tokens=arrays[1],
        lr=arrays[2],
        batch_tokens=arrays[3],
        flops=flops.to_numpy(float),
    )
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
