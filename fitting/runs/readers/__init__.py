"""Other tools' logs as tables of one row a run, one module each; their packages load on use.

A reader is a module with a `READER`; that of CSV and Parquet stands here. It gives the source's own
column names, and `run_id`, `status`, `loss` where the source itself says which they are;
`fitting.runs.importing` maps them to the runs table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name

if TYPE_CHECKING:
    import pandas as pd

Track = Callable[[Sequence[Path], str], Iterable[Path]]
"""Passes files on one by one, and may show how far it is: files, what is done."""

READERS = ("tensorboard", "mlflow", "wandb", "optuna", "csv")
"""Names that a user gives, in the order in which they are asked: modules here, but for csv."""


@dataclass(frozen=True, slots=True)
class RunsReader:
    """What reads one tool's logs."""

    knows: Callable[[str], bool]
    """Whether a path or URL holds such logs."""
    read: Callable[[str, Track], pd.DataFrame]
    """Their runs, a row each."""


def read_source(path: str, kind: str | None, *, track: Track) -> tuple[str, pd.DataFrame]:
    """Which reader was used, and the table it gives; its index is the row number.

    Args:
        path: file, folder or storage URL.
        kind: a key of `READERS`; None asks each reader whether it knows the path.
        track: passes files on, for progress.

    Raises:
        InputError: no such reader, none knows the path, or the source cannot be read.
    """
    if kind is None:
        kind = detect_source(path)
    if kind not in READERS:
        near = nearest_name(kind, READERS)
        raise InputError(f"--from '{kind}': no such reader; use {', '.join(READERS)}{near}")
    return kind, load_reader(kind).read(path, track)


def detect_source(path: str) -> str:
    """The first reader that knows the path.

    Raises:
        InputError: the path is missing, or nothing is known in it.
    """
    if "://" not in path and not Path(path).exists():
        raise InputError(f"{path}: no such file or folder")
    for kind in READERS:
        if load_reader(kind).knows(path):
            return kind
    raise InputError(f"{path}: holds nothing known; say what it is with --from {'|'.join(READERS)}")


def load_reader(kind: str) -> RunsReader:
    """A reader by its name."""
    if kind == "csv":
        return RunsReader(lambda path: Path(path).is_file(), _read_file)
    reader: RunsReader = import_module(f"fitting.runs.readers.{kind}").READER
    return reader


def _read_file(path: str, track: Track) -> pd.DataFrame:
    """A CSV or Parquet file with one row a run, as it is: cells of a CSV as text.

    Raises:
        InputError: as `read_table`, or the file has no rows.
    """
    from fitting.files import read_table

    table = read_table(Path(path))
    if not len(table):
        raise InputError(f"{path}: has a header and no runs")
    return table


def as_table(rows: Sequence[dict[str, object]], path: str, what: str) -> pd.DataFrame:
    """Rows as a table, numbered from 2 as in a file with a header.

    Raises:
        InputError: there are no rows.
    """
    import pandas as pd

    from fitting.files import FIRST_ROW

    if not rows:
        raise InputError(f"{path}: no {what} in it")
    table = pd.DataFrame(list(rows), dtype="object")
    return table.set_axis(pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(table)), axis="index")
