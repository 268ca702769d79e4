"""Any CSV or Parquet file with one row a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fitting.errors import InputError
from fitting.files import read_table
from fitting.runs.readers import Track


def recognizes(path: str) -> bool:
    """Whether it is a file."""
    return Path(path).is_file()


def read(path: str, track: Track) -> pd.DataFrame:
    """The table as it is, cells of a CSV as text.

    Raises:
        InputError: as `read_table`, or the file has no rows.
    """
    table = read_table(Path(path))
    if not len(table):
        raise InputError(f"{path}: has a header and no runs")
    return table
