"""Files: tables read as they are, anything written so that a kill is safe.

Reading judges no value: cells of a CSV come back as text, columns of a Parquet file in their own
types. Rows are numbered as a person sees them in the file: the header is row 1, the first run
row 2, and a blank line counts. A Parquet file is numbered as the same table in CSV would be.

Writing puts a file beside the one that it replaces, flushes it to disk and renames it. pandas and
pyarrow are imported where a table is read or written: exports need neither.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

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
    import pandas as pd

    content = read_bytes(path)
    if not content.strip():
        raise InputError(f"{path}: is empty; a table has a header and rows")
    if is_parquet(content, path):
        table = parse_parquet(content, path)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: neither text in UTF-8 nor Parquet") from error
        rows = parse_csv(text, path)
        if not rows:
            raise InputError(f"{path}: is empty; a table has a header and rows")
        (_, header), *body = rows
        table = pd.DataFrame(
            [cells for _, cells in body],
            index=pd.Index([number for number, _ in body]),
            columns=pd.Index(header),
            dtype="object",
        )
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


def is_parquet(content: bytes, path: Path) -> bool:
    """Whether a file is Parquet, by its content or its name."""
    return content.startswith(PARQUET_MAGIC) or path.suffix == ".parquet"


def parse_csv(text: str, path: Path, *, growing: bool = False) -> list[tuple[int, list[str]]]:
    """The rows of a CSV with their numbers, the header first; a blank line is no row.

    Args:
        text: of the file.
        path: for the message.
        growing: whether somebody still writes to it; a last row with cells missing is left out.

    Raises:
        InputError: not CSV, or a row of another length than the header.
    """
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=not growing)
    try:
        records = [(n, [cell.strip() for cell in row]) for n, row in enumerate(reader, start=1)]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from error
    rows = [(number, row) for number, row in records if any(row)]
    columns = len(rows[0][1]) if rows else 0
    if growing and rows and len(rows[-1][1]) < columns:
        rows.pop()
    for number, row in rows:
        if len(row) != columns:
            raise InputError(
                f"{path} row {number}: {len(row)} cells, the header has {columns} columns"
            )
    return rows


def parse_parquet(content: bytes, path: Path) -> pd.DataFrame:
    """A table of typed columns."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

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

    Raises:
        InputError: another ending, an existing file without `overwrite`, or a folder that
            cannot be written to.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: ends in '{path.suffix}'; a runs table is .csv or .parquet")
    check_output(path, force=overwrite)
    if path.suffix == ".csv":
        text = table.to_csv(index=False, lineterminator="\n", float_format=_format_cell)
        replace_file(path, text.encode("utf-8"))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(_uniform_columns(table), preserve_index=False), buffer)
        replace_file(path, buffer.getvalue())


def check_output(path: Path | None, *, force: bool, read: Iterable[Path] = ()) -> None:
    """Refuse a path that cannot be written to, before minutes of work.

    Args:
        path: of the file; None is nothing to write.
        force: whether a file that is there may be replaced.
        read: files that the same command reads or writes beside it.

    Raises:
        InputError: the file exists, its folder does not, it is no regular file, or it is one of
            `read`.
    """
    if path is None:
        return
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"{path}: exists already; name another file or pass --force")
    if not path.resolve().parent.is_dir():
        raise InputError(f"{path}: no such folder '{path.parent}'; make it first")
    if path.exists() and not path.is_file():
        # Replacing it, as --force would, would put a file where a device or a pipe was.
        raise InputError(f"{path}: not a regular file; name another to write to")
    if any(path.resolve() == other.resolve() for other in read):
        raise InputError(f"{path}: is read or written by this command already; name another")


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; a kill at any moment leaves the old file whole.

    Raises:
        InputError: the folder is missing or cannot be written to.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Put files in place, all of them or none.

    Each is written whole beside its place before the first is renamed; a kill between renames
    leaves some of them old and some new, every one whole.

    Raises:
        InputError: a folder is missing or cannot be written to.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            staged[path] = _stage(path.resolve(), content)
        for path, ready in staged.items():
            os.replace(ready, path.resolve())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        for ready in staged.values():
            ready.unlink(missing_ok=True)
    for folder in {path.resolve().parent for path in contents}:
        _flush_folder(folder)


def _stage(target: Path, content: bytes) -> Path:
    """A new file beside `target`, on disk, as readable as any other new file."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    ready = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private.
        umask = os.umask(0)
        os.umask(umask)
        ready.chmod(0o666 & ~umask)
    except BaseException:
        ready.unlink()
        raise
    return ready


def _flush_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _format_cell(value: object) -> str:
    """A number as the shortest text that reads back the same; whole counts without `.0`."""
    number = float(str(value))
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _uniform_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns of mixed types as text, since Parquet has one type a column."""
    mixed = {
        name: column.map(str, na_action="ignore")
        for name, column in table.items()
        if column.dtype == object and column.dropna().map(type).nunique() > 1
    }
    return table.assign(**{str(name): column for name, column in mixed.items()})
