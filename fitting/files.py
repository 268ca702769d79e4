"""Files that hold a table: CSV and Parquet read as they are, and written so that a kill is safe.

Reading judges no value: cells of a CSV come back as text, columns of a Parquet file in their own
types. Rows are numbered as a person sees them in the file: the header is row 1, the first run
row 2, and a blank line counts. A Parquet file is numbered as the same table in CSV would be.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fitting.errors import InputError

FIRST_ROW = 2
"""Number of the first row below the header."""

PARQUET_MAGIC = b"PAR1"
"""First four bytes of a Parquet file, whatever its name."""

DELIMITERS = ",\t;"
"""What may part the cells of a CSV file; the one most frequent in its header is taken."""

SUFFIXES = (".csv", ".parquet")
"""Endings that a table may be written under."""


def read_table(path: Path) -> pd.DataFrame:
    """The table in a CSV or Parquet file, told apart by content; its index is the row number.

    Raises:
        InputError: missing, empty, truncated, no text in UTF-8, or rows of different lengths.
    """
    content = read_bytes(path)
    if not content.strip():
        raise InputError(f"{path}: is empty; a table has a header and rows")
    if content.startswith(PARQUET_MAGIC) or path.suffix == ".parquet":
        table = parse_parquet(content, path)
    else:
        table = parse_csv(content, path)
    repeated = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
    if repeated:
        raise InputError(f"{path}: column {', '.join(repeated)} appears twice; name each once")
    return table


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def parse_csv(content: bytes, path: Path) -> pd.DataFrame:
    """A table of text cells; an empty cell is the empty string, a blank line no row."""
    try:
        text = content.decode("utf-8-sig")
        header_line = text.lstrip("\r\n").partition("\n")[0]
        delimiter = max(DELIMITERS, key=header_line.count)
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: neither text in UTF-8 nor Parquet") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error
    filled = [(n, row) for n, row in enumerate(records, start=1) if any(map(str.strip, row))]
    if not filled:
        raise InputError(f"{path}: is empty; a table has a header and rows")
    header = [name.strip() for name in filled[0][1]]
    for number, row in filled[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path} row {number}: {len(row)} cells, the header has {len(header)} columns"
            )
    numbers, cells = [n for n, _ in filled[1:]], [[c.strip() for c in row] for _, row in filled[1:]]
    return pd.DataFrame(cells, index=pd.Index(numbers), columns=pd.Index(header), dtype="object")


def parse_parquet(content: bytes, path: Path) -> pd.DataFrame:
    """A table of typed columns."""
    try:
        table = pq.read_table(io.BytesIO(content)).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: truncated or damaged Parquet; write it again or use CSV"
        ) from error
    named = [name for name in table.index.names if name is not None]
    table = table.reset_index(drop=not named)
    table.columns = table.columns.astype(str).str.strip()
    table.index = pd.RangeIndex(FIRST_ROW, FIRST_ROW + len(table))
    return pd.DataFrame(table)


def write_table(table: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Write a table as CSV or Parquet, by the path's ending.

    The file appears whole or not at all: it is written beside, flushed to disk and renamed, so
    a killed writer leaves what was there before.

    Raises:
        InputError: another ending, an existing file without `overwrite`, or a folder that
            cannot be written to.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: ends in '{path.suffix}'; a runs table is .csv or .parquet")
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(f"{path}: exists already; name another file or pass --force")
    if path.suffix == ".csv":
        text = table.to_csv(index=False, lineterminator="\n", float_format=format_cell)
        replace_file(path, text.encode("utf-8"))
    else:
        buffer = io.BytesIO()
        arrow = pa.Table.from_pandas(uniform_columns(table), preserve_index=False)
        pq.write_table(arrow, buffer)
        replace_file(path, buffer.getvalue())


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; a kill at any moment leaves the old file whole.

    Raises:
        InputError: the folder is missing or cannot be written to.
    """
    target = path.resolve()
    try:
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; a table is as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        Path(beside).unlink(missing_ok=True)
    flush_folder(target.parent)


def flush_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def format_cell(value: object) -> str:
    """A number as the shortest text that reads back the same; whole counts without `.0`."""
    number = float(str(value))
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def uniform_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of mixed types as text, since Parquet has one type a column."""
    mixed = {
        name: column.map(str, na_action="ignore")
        for name, column in table.items()
        if column.dtype == object and column.dropna().map(type).nunique() > 1
    }
    return table.assign(**{str(name): column for name, column in mixed.items()})
