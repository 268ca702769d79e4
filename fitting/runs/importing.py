"""Another tool's table to the runs table: columns mapped, units turned, each row judged.

Unlike `fitting.runs.table`, which refuses a table with a bad cell, an import leaves such a row out
and says so: logs hold runs that crashed, still run, or never wrote a loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fitting.errors import InputError, nearest_name
from fitting.runs.columns import COLUMNS, REQUIRED, TEXT
from fitting.runs.outcomes import Rejection
from fitting.runs.table import Runs, check_runs, find_problems

STATUSES = {
    "finished": "finished",
    "complete": "finished",
    "completed": "finished",
    "success": "finished",
    "diverged": "diverged",
    "pruned": "pruned",
    "failed": "failed",
    "fail": "failed",
    "crashed": "failed",
    "killed": "failed",
    "error": "failed",
}
"""Status of the runs table by other tools' words; any other word means that the run goes on."""

EXTRA_TARGETS = ("steps",)
"""What --map may name besides the columns: tokens = steps x batch_tokens where tokens is absent."""


@dataclass(frozen=True, slots=True, eq=False)
class Import:
    """Runs from another tool, and what became of its columns and rows."""

    runs: Runs
    mapped: Mapping[str, str]
    """What each column was made of."""
    left_out: tuple[str, ...]
    """Columns that were not taken."""
    rejections: tuple[Rejection, ...]
    """Rows that were not taken, with the reason; duplicates are in `runs.report`."""


def parse_mapping(text: str) -> dict[str, str]:
    """Source by column from "lr=learning_rate,params=n_params".

    Raises:
        InputError: a part is not NAME=SOURCE, or NAME is no column, or comes twice.

    Example:
        >>> parse_mapping("lr=learning_rate, loss=eval/loss")
        {'lr': 'learning_rate', 'loss': 'eval/loss'}
    """
    mapping: dict[str, str] = {}
    known = (*COLUMNS, *EXTRA_TARGETS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, source = (piece.strip() for piece in part.partition("="))
        if not separator or not name or not source:
            raise InputError(f"--map '{part}': not NAME=SOURCE; write lr=learning_rate")
        if name not in known:
            raise InputError(
                f"--map '{name}': not a column of the runs table{nearest_name(name, known)}"
            )
        if name in mapping:
            raise InputError(f"--map '{name}': given twice, as {mapping[name]} and {source}")
        mapping[name] = source
    return mapping


MOST_MUST_PASS = 0.5
"""Share of the rows that must be possible runs for a table to be taken."""

FEWEST_TO_JUDGE = 10
"""Rows from which that share says something of the whole table."""


def import_table(
    table: pd.DataFrame, *, where: str, mapping: Mapping[str, str], seq_len: float | None = None
) -> Import:
    """The runs of another tool's table.

    Args:
        table: one row a run, indexed by row number, its own column names.
        where: what messages call it.
        mapping: source column, or a number that holds for every run, by column of the runs table;
            a column that already has its name in the runs table needs none.
        seq_len: tokens a sequence, > 0: the batch counts sequences and is multiplied by it.

    Raises:
        InputError: a source column is missing, a required one has no source, or most rows cannot
            be runs.
    """
    columns, mapped = take_columns(table, where=where, mapping=mapping)
    used = set(mapped.values())
    if seq_len is not None:
        columns, mapped = count_tokens(columns, mapped, seq_len=seq_len, where=where)
    columns, mapped = count_steps(columns, mapped)
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise InputError(
            f"{where}: nothing gives {', '.join(missing)}; it has {shorten(table.columns)}; "
            f"add --map {','.join(f'{name}=SOURCE' for name in missing)}"
        )
    kept, rejections = judge_rows(columns, where=where)
    if not len(kept):
        first = f"{rejections[0].origin}: {rejections[0].detail}"
        raise InputError(f"{where}: none of {len(columns)} runs can be used; first {first}")
    if len(columns) >= FEWEST_TO_JUDGE and len(kept) < MOST_MUST_PASS * len(columns):
        # Wrong units make most rows impossible, and the rest no truer.
        first = f"{rejections[0].origin}: {rejections[0].detail}"
        raise InputError(
            f"{where}: {len(rejections)} of {len(columns)} runs cannot be right, so a column is "
            f"likely in another unit; first {first}"
        )
    return Import(
        runs=check_runs(kept, where=where),
        mapped=mapped,
        left_out=tuple(str(name) for name in table.columns if name not in used),
        rejections=tuple(rejections),
    )


def take_columns(
    table: pd.DataFrame, *, where: str, mapping: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns under their names in the runs table, and what each was made of.

    Raises:
        InputError: a source is neither a column nor a number.
    """
    columns: dict[str, object] = {}
    mapped: dict[str, str] = {}
    for name, source in mapping.items():
        if source in table:
            columns[name], mapped[name] = table[source], source
        elif (constant := as_number(source)) is not None or name in TEXT:
            columns[name] = source if constant is None else constant
            mapped[name] = f"{source} for every run"
        else:
            raise InputError(
                f"--map {name}={source}: {where} has no column '{source}'"
                f"{nearest_name(source, map(str, table.columns))}"
            )
    for name in COLUMNS:
        if name in table and name not in columns:
            columns[name], mapped[name] = table[name], name
    return pd.DataFrame(columns, index=table.index), mapped


def as_number(text: str) -> float | None:
    """A number, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def count_tokens(
    columns: pd.DataFrame, mapped: Mapping[str, str], *, seq_len: float, where: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Batches in tokens from batches in sequences.

    Raises:
        InputError: there is no batch to multiply, or seq_len is not above 0.
    """
    if seq_len <= 0:
        raise InputError(f"--seq-len {seq_len:g}: must be above 0")
    if "batch_tokens" not in columns:
        raise InputError(
            f"--seq-len {seq_len:g}: {where} has no batch; add --map batch_tokens=SOURCE"
        )
    batch = numbers(columns["batch_tokens"]) * seq_len
    said = {"batch_tokens": f"{mapped['batch_tokens']} x {seq_len:g}"}
    if "seq_len" in columns:
        return columns.assign(batch_tokens=batch), {**mapped, **said}
    said["seq_len"] = f"{seq_len:g} for every run"
    return columns.assign(batch_tokens=batch, seq_len=seq_len), {**mapped, **said}


def count_steps(
    columns: pd.DataFrame, mapped: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Tokens as steps x batch_tokens; steps itself is not kept.

    Raises:
        InputError: steps are mapped, and tokens has a source or the batch has none.
    """
    if "steps" not in columns:
        return columns, dict(mapped)
    steps, rest = columns["steps"], columns.drop(columns="steps")
    said = {name: source for name, source in mapped.items() if name != "steps"}
    if "tokens" in rest:
        raise InputError(f"--map steps: tokens is {mapped['tokens']} already; map one of the two")
    if "batch_tokens" not in rest:
        raise InputError("--map steps: tokens = steps x batch_tokens; map batch_tokens too")
    tokens = numbers(steps) * numbers(rest["batch_tokens"])
    return rest.assign(tokens=tokens), {**said, "tokens": f"{mapped['steps']} x batch_tokens"}


def numbers(values: pd.Series) -> pd.Series:
    """float64 values; what is not a number becomes NaN, and its row is rejected for it."""
    return pd.to_numeric(values, errors="coerce").astype("float64")


def judge_rows(table: pd.DataFrame, *, where: str) -> tuple[pd.DataFrame, list[Rejection]]:
    """Rows that can stand in a runs table, and the others with their reasons."""
    rejections: list[Rejection] = []
    if "status" in table:
        words = table["status"].map(lambda word: str(word).strip().lower(), na_action="ignore")
        status = words.map(STATUSES)
        going = words.notna() & (words != "") & status.isna()
        rejections += [
            Rejection(f"{where} row {row}", "not over", f"status is {word}")
            for row, word in words[going].items()
        ]
        table = table.assign(status=status)[~going]
    first: dict[int, str] = {}
    for row, text in find_problems(table):
        first.setdefault(row, text)
    rejections += [Rejection(f"{where} row {r}", "bad cell", text) for r, text in first.items()]
    return table[~table.index.isin(list(first))], rejections


def shorten(names: pd.Index) -> str:
    """Column names, as many as fit a line."""
    text = ", ".join(map(str, names))
    return text if len(text) <= 120 else text[:117] + "..."
