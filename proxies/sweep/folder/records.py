"""What a sweep has done: one line a run in `results.jsonl`, and the runs table made of them.

A line is flushed to disk before the run counts as done, so a kill loses no run that is done and
doubles none: what is half written at the end is cut off before the next line. `runs.parquet` is
made of the lines at intervals and at the end, whole or not at all; after a kill it may lack the
last runs until the sweep goes on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic_core import from_json

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Row = dict[str, float | str]
"""Cells of a runs table by column."""

RESULTS = "results.jsonl"
"""Name of the file of lines in a sweep's folder."""

TABLE = "runs.parquet"
"""Name of the runs table."""

SHARE = 20.0
"""The table is written again when this many times as long as the last writing took has passed, so
that a sweep spends at most a twentieth of its time on it."""

LEAST_SECONDS = 5.0
"""And at least this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run that is done."""

    cell: str
    """Name of its cell."""
    number: int
    """Of its trial in the cell's study, from 0."""
    clock: float
    """Seconds that the sweep had run for, over all its sessions, when the run was done."""
    row: Row
    """Its row of the runs table; NaN is written as such."""
    error: str | None = None
    """Why it failed."""

    @property
    def loss(self) -> float:
        """Held-out loss, nats per token; NaN where there is none."""
        return float(self.row["loss"])

    @property
    def status(self) -> str:
        """finished, diverged, pruned or failed."""
        return str(self.row["status"])


class Records:
    """The records of a sweep that goes on: read once, then appended to."""

    def __init__(self, folder: Path) -> None:
        """Read what is there.

        Raises:
            InputError: a line that is no record.
        """
        self._folder = folder
        cut_torn_line(folder / RESULTS)
        self.done = read_records(folder)
        self._written = 0.0
        self._took = 0.0

    def add(self, record: Record) -> None:
        """Keep a record, on disk when this returns.

        Raises:
            InputError: it cannot be written; the file is as it was before.
        """
        line = json.dumps(asdict(record), separators=(",", ":")) + "\n"
        append_line(self._folder / RESULTS, line)
        self.done.append(record)

    def refresh_table(self) -> None:
        """Write the table where the last writing is long enough ago.

        Raises:
            InputError: it cannot be written.
        """
        if time.monotonic() - self._written > max(LEAST_SECONDS, SHARE * self._took):
            self.write_table()

    def write_table(self) -> None:
        """Write the runs table.

        Raises:
            InputError: it cannot be written.
        """
        start = time.monotonic()
        write_records(self.done, self._folder / TABLE)
        self._written = time.monotonic()
        self._took = self._written - start


def read_records(folder: Path) -> list[Record]:
    """The records in a sweep's folder, in the order they were made; none where there is no file.

    A last line without an end is left out: its run is not done.

    Raises:
        InputError: a line that is no record.
    """
    path = folder / RESULTS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    lines = content.split(b"\n")[:-1]
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Record(**from_json(line)))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path} line {number}: no record of a run; restore the file, or delete the line "
                "to have the run made again"
            ) from error
    return found


def append_line(path: Path, line: str) -> None:
    """Put a line at a file's end, on disk when this returns; all of it or nothing.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with path.open("ab") as file:
            end = file.tell()
            try:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, end)
                raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def cut_torn_line(path: Path) -> None:
    """Cut off what a killed writer left after the last end of line.

    Raises:
        InputError: the file cannot be changed.
    """
    try:
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def write_records(records: Iterable[Record], path: Path) -> None:
    """Write the runs table of some records, cheapest cells first, each in the order of its trials.

    Raises:
        InputError: it cannot be written.
    """
    import pandas as pd

    from fitting.files import write_table
    from fitting.runs.columns import COLUMNS

    rows = [
        record.row for record in sorted(records, key=lambda r: (r.row["flops"], r.cell, r.number))
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    known = [name for name in COLUMNS if name in names]
    table = pd.DataFrame(rows, columns=[*known, *(name for name in names if name not in COLUMNS)])
    write_table(table, path, overwrite=True)
