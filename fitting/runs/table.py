"""The runs table: one row a training run, read, checked, merged and written here.

Required columns: `params`, `tokens`, `loss`; for learning-rate and batch laws also `lr` and
`batch_tokens`. `fitting.runs.columns` lists all. No row is dropped silently: each is used, diverged
or rejected with a reason (`fitting.runs.outcomes`), and what looks odd is a caution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.errors import InputError, nearest_name
from fitting.files import FIRST_ROW, read_table, write_table
from fitting.runs.columns import COLUMNS, REQUIRED, STATUSES, TUNING
from fitting.runs.oddities import find_cautions, find_unit_problems
from fitting.runs.outcomes import (
    Rejection,
    RunOutcome,
    RunsReport,
    assign_cells,
    find_duplicates,
    judge_runs,
    summarize_runs,
)

BOUNDS = {"params": (1e3, 1e15), "tokens": (1e3, 1e18), "lr": (1e-12, 10.0)}
"""What a run can be; beyond it numbers overflow."""

NAMED_PROBLEMS = 3
"""Problems of a table that one message spells out; the rest are counted."""

Converted = tuple[pd.Series, list[tuple[int, str]]]
"""A typed column, and what is wrong with it by row number."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """A checked runs table, each run judged: finished, diverged, failed, pruned or implausible."""

    table: pd.DataFrame
    """Every run but duplicates, columns in the order of `fitting.runs.columns`, numbers as float64,
    index 0, 1, ...; columns without a meaning here are carried along at the end."""
    outcome: pd.Series[str]
    """`fitting.runs.outcomes.RunOutcome` of each row of `table`."""
    cell: pd.Series[int]
    """Number of each row's (params, tokens) cell, tokens within 1% being the same."""
    origin: pd.Series[str]
    """Where each row stood: "runs.csv row 18"."""
    report: RunsReport
    """How many runs were used, diverged and rejected, and why."""
    cautions: tuple[str, ...] = ()
    """What looks odd: what, how much, what to do."""

    @property
    def finished(self) -> pd.DataFrame:
        """Runs whose loss is used."""
        return self.table[self.outcome == RunOutcome.FINISHED]

    @property
    def tuned(self) -> pd.DataFrame:
        """Finished runs that say their lr and batch; none where the table lacks the columns."""
        if not set(TUNING) <= set(self.table.columns):
            return self.table.iloc[:0]
        return self.finished.dropna(subset=list(TUNING))

    @property
    def diverged(self) -> pd.DataFrame:
        """Runs that say where the cliff is; their losses mean nothing else."""
        return self.table[self.outcome == RunOutcome.DIVERGED]

    def select(self, keep: pd.Series[bool]) -> Runs:
        """The runs where `keep` is true, by `table`'s index, each judged as it was."""
        outcome = self.outcome[keep].reset_index(drop=True)
        origin = self.origin[keep].reset_index(drop=True)
        return Runs(
            table=self.table[keep].reset_index(drop=True),
            outcome=outcome,
            cell=self.cell[keep].reset_index(drop=True),
            origin=origin,
            report=summarize_runs(outcome, origin, []),
            cautions=self.cautions,
        )

    def by_cell(self) -> Iterator[tuple[tuple[float, float], Runs]]:
        """Each (params, tokens) cell in rising order, with its runs; tokens are the median."""
        for number in sorted(self.cell.unique()):
            runs = self.select(self.cell == number)
            yield (float(runs.table["params"].iloc[0]), float(runs.table["tokens"].median())), runs

    def summary(self) -> str:
        """What was used, what was not and why, and the cautions, as plain text."""
        return "\n".join([self.report.summary(), *self.cautions])


def read_runs(paths: str | Path | Sequence[str | Path]) -> Runs:
    """Read one runs table, or several as one.

    Rows are numbered as in the file: the header is row 1. All numbers become float64.

    Args:
        paths: CSV or Parquet files, told apart by content.

    Returns:
        The runs of all files, in order, duplicates left out and counted.

    Raises:
        InputError: a file cannot be read or understood: file, row, column, value; the first
            three problems are spelt out and the rest counted.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise InputError("runs: no file given; name a CSV or Parquet file")
    return merge_tables([(str(path), read_table(Path(path))) for path in given])


def read_columns(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Columns of runs that may have no loss yet: as numbers, and the file's own table.

    Args:
        path: a CSV or Parquet file, one row a run.
        required: columns that every row must say.
        optional: those that are read where they are there.

    Raises:
        InputError: a column is missing, a cell is bad, there are no rows, or a row is of no
            possible run.
    """
    table = read_table(path)
    missing = [name for name in required if name not in table]
    if missing:
        there = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: column {', '.join(missing)} missing, it has {there}")
    if not len(table):
        raise InputError(f"{path}: has no rows; give one a run")
    columns: dict[str, pd.Series] = {}
    problems: dict[tuple[int, str], str] = {}
    for name in (name for name in (*required, *optional) if name in table):
        columns[name], found = convert_number(table[name], name)
        problems |= {(row, name): what for row, what in found}
        if name in required:
            empty = table.index[columns[name].isna()]
            problems = {(int(str(row)), name): "is empty" for row in empty} | problems
    if problems:
        raise InputError(
            join_problems(
                f"{path} row {row}, column {name}: {what}"
                for (row, name), what in sorted(problems.items())
            )
        )
    numbers = pd.DataFrame(columns)
    for row, values in numbers.iterrows():
        run = {str(name): float(value) for name, value in values.dropna().items()}
        check_run(run, where=f"{path} row {row}")
    return numbers, table


def check_run(run: Mapping[str, float], *, where: str) -> None:
    """Refuse what no run can be.

    Raises:
        InputError: the row, the column and its bounds.
    """
    for name, (low, high) in BOUNDS.items():
        if name in run and not low <= run[name] <= high:
            raise InputError(f"{where}, column {name}: {run[name]:g} is not {low:g} to {high:g}")
    if run.get("batch_tokens", 0.0) > run["tokens"]:
        raise InputError(
            f"{where}, column batch_tokens: {run['batch_tokens']:g} is more than the "
            f"{run['tokens']:g} tokens of the run"
        )


def check_runs(table: pd.DataFrame, *, where: str = "runs") -> Runs:
    """The runs of a data frame; its rows are numbered from 2, as they would be in a file.

    Args:
        table: columns as in `fitting.runs.columns`; not changed.
        where: what messages call the table.

    Raises:
        InputError: as `read_runs`.
    """
    numbered = table.set_axis(pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(table)), axis="index")
    return merge_tables([(where, numbered)])


def write_runs(runs: Runs | pd.DataFrame, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a runs table as CSV or Parquet, by the path's ending; a kill leaves the old file.

    Args:
        runs: a data frame is checked first.
        path: ends in .csv or .parquet.
        overwrite: replace a file that is there.

    Raises:
        InputError: as `check_runs`, or the file exists or cannot be written.
    """
    table = (runs if isinstance(runs, Runs) else check_runs(runs)).table
    write_table(table, Path(path), overwrite=overwrite)


def merge_tables(tables: Sequence[tuple[str, pd.DataFrame]]) -> Runs:
    """Check tables, each with its name, and join them into one."""
    typed, problems = [], []
    for where, table in tables:
        check_header(table, where)
        values, found = to_types(table)
        typed.append(values)
        problems += [f"{where} row {row}, {problem}" for row, problem in found]
    if problems:
        raise InputError(join_problems(problems))
    origin = pd.Series(
        [f"{where} row {number}" for where, table in tables for number in table.index], dtype="str"
    )
    table = pd.concat(typed, ignore_index=True, sort=False)
    known = [name for name in COLUMNS if name in table.columns]
    carried = [name for name in table.columns if name not in COLUMNS]
    return build_runs(table[known + carried], origin)


def build_runs(table: pd.DataFrame, origin: pd.Series[str]) -> Runs:
    """Leave duplicates out, find cells, judge each run."""
    duplicates = find_duplicates(table, origin)
    kept = ~table.index.isin([index for index, _ in duplicates])
    unique, origin_kept = (
        table[kept].reset_index(drop=True),
        origin[kept].reset_index(drop=True),
    )
    rejected = [Rejection(origin[index], "duplicate", text) for index, text in duplicates]
    cell = assign_cells(unique)
    outcome = judge_runs(unique, cell)
    return Runs(
        table=unique,
        outcome=outcome,
        cell=cell,
        origin=origin_kept,
        report=summarize_runs(outcome, origin_kept, rejected),
        cautions=tuple(find_cautions(unique, outcome, cell)),
    )


def check_header(table: pd.DataFrame, where: str) -> None:
    """Refuse a table that lacks a required column or has no rows.

    Raises:
        InputError: the columns missing and those there.
    """
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        there = ", ".join(map(str, table.columns)) or "none"
        shown = there if len(there) <= 120 else there[:117] + "..."
        plural = "columns" if len(missing) > 1 else "column"
        raise InputError(
            f"{where}: {plural} {', '.join(missing)} missing, it has {shown}; "
            f"plan import --map {missing[0]}=NAME renames a column"
        )
    if not len(table):
        raise InputError(f"{where}: has a header and no runs; add one row a run")


def find_problems(table: pd.DataFrame) -> list[tuple[int, str]]:
    """What is wrong with a table's cells, by row number, in rising order."""
    return to_types(table)[1]


def to_types(table: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """The table with numbers as float64 and text as text, and what is wrong with it, by row."""
    columns: dict[str, pd.Series] = {}
    problems: list[tuple[int, str]] = []
    for name, values in table.items():
        columns[str(name)], found = convert_column(values, str(name))
        problems += [(row, f"column {name}: {what}") for row, what in found]
    typed = pd.DataFrame(columns)
    if not problems:
        problems = find_unit_problems(typed)
    return typed, sorted(problems, key=lambda problem: problem[0])


def convert_column(values: pd.Series, name: str) -> Converted:
    """A column typed, and what is wrong with it by row number."""
    if name not in COLUMNS:
        return convert_carried(values)
    return convert_text(values, name) if COLUMNS[name].text else convert_number(values, name)


def convert_number(values: pd.Series, name: str) -> Converted:
    """float64 values; problems by row number."""
    if values.dtype.kind in "iuf":
        numbers = values.astype("float64")
        bad: list[tuple[int, str]] = []
    else:
        parsed = [parse_number(value) for value in values]
        numbers = pd.Series(
            [math.nan if n is None else n for n in parsed], index=values.index, dtype="float64"
        )
        bad = [
            (row, f"'{value}' is not a number")
            for row, value, n in zip(values.index, values, parsed, strict=True)
            if n is None
        ]
    column = COLUMNS[name]
    unknown = {row for row, _ in bad}
    for row, number in numbers.items():
        row_number = int(str(row))
        if row_number in unknown:
            continue
        what = column.problem(number)
        if math.isnan(number) and name in REQUIRED and name != "loss":
            what = "is empty or NaN"
        if what is not None:
            bad.append((row_number, what))
    return numbers, bad


def parse_number(value: object) -> float | None:
    """A float; NaN for an empty cell, None for what is not a number."""
    if value is None or value is pd.NA or value == "":
        return math.nan
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # what float refuses is caught below
    except (TypeError, ValueError):
        return None
    except OverflowError:
        return math.inf


def convert_text(values: pd.Series, name: str) -> Converted:
    """Text, an empty cell as missing; a status is one of `STATUSES`."""
    words = values.map(say_text, na_action="ignore").astype("str")
    words = words.where(words.notna() & (words != ""))
    if name != "status":
        return words, []
    words = words.str.lower()
    unknown = words[words.notna() & ~words.isin(STATUSES)]
    return words, [
        (int(str(row)), f"'{word}' is none of {', '.join(STATUSES)}{nearest_name(word, STATUSES)}")
        for row, word in unknown.items()
    ]


def say_text(value: object) -> str:
    """A cell as text; a whole float, as pandas makes of numbers beside gaps, without `.0`."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def convert_carried(values: pd.Series) -> Converted:
    """A column without a meaning here: numbers where all cells are, otherwise as it came."""
    if values.dtype != object:
        return values, []
    parsed = [parse_number(value) for value in values]
    if any(number is None for number in parsed):
        return values.where(values != "", None), []
    return pd.Series(parsed, index=values.index, dtype="float64"), []


def join_problems(problems: Iterable[str]) -> str:
    """The first three problems and the count of the rest, as one line."""
    listed = list(problems)
    rest = len(listed) - NAMED_PROBLEMS
    shown = "; ".join(listed[:NAMED_PROBLEMS])
    return shown + (f"; and {rest} more problem{'s' if rest > 1 else ''}" if rest > 0 else "")
