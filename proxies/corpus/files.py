"""Text files on disk: .txt, .jsonl and Parquet with a `text` column, alone or in a folder.

FineWeb-Edu and ClimbMix are laid out like this. A row is a document; so is each .txt file of a
folder, and all of its pieces stay on one side of the split. A .txt file given alone is cut into
pieces, each of which may be held out.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from proxies.corpus.corpus import Document, TextSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

COLUMN = "text"
"""Field or column that holds the text."""

PIECE = 4096
"""Characters of a .txt file read at a time, and as many more at most to the end of a line."""

ROWS = 1024
"""Rows of a Parquet file read at a time."""


def read_files(where: str) -> TextSource:
    """The text of a file, or of all text files below a folder in order of their names.

    Raises:
        InputError: nothing is there, or nothing that can be read.
    """
    if not where.strip():
        raise InputError("corpus '': no name; give a file or folder")
    root = Path(where).expanduser()
    if root.is_dir():
        files = sorted(path for path in root.rglob("*") if path.suffix in READERS)
        if not files:
            raise InputError(f"corpus {where}: no {_suffixes()} file in this folder or below it")
    elif root.is_file():
        if root.suffix not in READERS:
            raise InputError(f"corpus {where}: not a text file; known endings are {_suffixes()}")
        files = [root]
    else:
        raise InputError(f"corpus {where}: no such file or folder")
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return TextSource(
        name=root.resolve().name.removesuffix(root.suffix if root.is_file() else ""),
        description=f"{len(files)} file{'s' * (len(files) > 1)} of {root.resolve()}",
        identity=f"{root.resolve()} {stats}",
        documents=lambda: _read_documents(root, files),
    )


def _read_documents(root: Path, files: list[Path]) -> Iterator[Document]:
    for path in files:
        if path.suffix == ".txt" and path != root:
            yield from _read_whole(path)
        else:
            yield from READERS[path.suffix](path)


def _read_whole(path: Path) -> Iterator[Document]:
    """A .txt file as one document, in pieces so that its size costs no memory."""
    try:
        with path.open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"corpus {path}: cannot be read ({error.strerror})") from error
    for piece in read_txt(path):
        yield Document(piece.text, key, ends=False)
    yield Document("", key)


def read_txt(path: Path) -> Iterator[Document]:
    """Pieces of a UTF-8 text, each up to a line end if one is near; together they are the text.

    Raises:
        InputError: the file is not text in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while piece := file.read(PIECE) + file.readline(PIECE):
                yield Document(piece, piece)
    except UnicodeDecodeError as error:
        raise InputError(f"corpus {path}: not text in UTF-8 ({error.reason})") from error
    except OSError as error:
        raise InputError(f"corpus {path}: cannot be read ({error.strerror})") from error


def read_jsonl(path: Path) -> Iterator[Document]:
    """The field `text` of each line, an object in JSON; blank lines are passed over.

    Raises:
        InputError: a line is no object, or its `text` no text; the line is named.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    text = _parse_line(line, f"corpus {path} line {number}")
                    yield Document(text, text)
    except OSError as error:
        raise InputError(f"corpus {path}: cannot be read ({error.strerror})") from error


def _parse_line(line: bytes, where: str) -> str:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not text in UTF-8") from error
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    except RecursionError as error:
        raise InputError(f"{where}: JSON nested too deep") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: not an object with a field '{COLUMN}'")
    if COLUMN not in row:
        known = ", ".join(row) or "none"
        raise InputError(f"{where}: no field '{COLUMN}'; fields are {known}")
    text = row[COLUMN]
    if not isinstance(text, str):
        raise InputError(f"{where}: '{COLUMN}' is {json.dumps(text)[:40]}, not text")
    return text


def read_parquet(path: Path) -> Iterator[Document]:
    """The column `text` of a Parquet file, row by row.

    Raises:
        InputError: not Parquet, no such column, or a cell that holds no text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if COLUMN not in schema.names:
                known = ", ".join(schema.names)
                raise InputError(f"corpus {path}: no column '{COLUMN}'; columns are {known}")
            if str(schema.field(COLUMN).type) not in {"string", "large_string", "string_view"}:
                kind = schema.field(COLUMN).type
                raise InputError(f"corpus {path}: column '{COLUMN}' is {kind}, not text")
            row = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=[COLUMN]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if text is None:
                        raise InputError(f"corpus {path} row {row}: '{COLUMN}' is empty (null)")
                    yield Document(text, text)
    except (pa.ArrowException, OSError) as error:
        message = " ".join(str(error).split())[:120]
        raise InputError(
            f"corpus {path}: not a Parquet file that can be read ({message})"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"corpus {path}: '{COLUMN}' is not text in UTF-8") from error


def _suffixes() -> str:
    return ", ".join(READERS)


READERS: Mapping[str, Callable[[Path], Iterator[Document]]] = {
    ".txt": read_txt,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}
"""Reader of each file ending."""
