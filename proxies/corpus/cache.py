"""Folders that are either whole or not there: tokens are made once and kept.

A folder is built beside its place under another name and moved there when everything in it is on
disk. Its record, `corpus.json`, lists the size of every file; a folder whose record or sizes do
not hold is built again. A lock keeps two runs from building the same folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = "corpus.json"
"""The file that makes a folder whole, written last."""

Record = dict[str, Any]


def default_cache() -> Path:
    """The folder for corpora of this user: `windtunnel` in $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "windtunnel"


def find_or_build(
    cache: Path, name: str, key: str, build: Callable[[Path], Record]
) -> tuple[Path, Record]:
    """The folder `name` of the cache and its record, built where it is missing or broken.

    Args:
        cache: folder that holds such folders; made where it is missing.
        name: name of the folder, a plain file name.
        key: what the content depends on; a folder built for another key is built again.
        build: fills an empty folder and returns what its record shall say.

    Raises:
        InputError: the cache cannot be written.
    """
    folder = cache / name
    record = read_record(folder, key)
    if record is not None:
        return folder, record
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = read_record(folder, key)
            if record is None:
                record = _build(folder, key, build)
    except OSError as error:
        raise InputError(
            f"corpus cache {cache}: cannot be written "
            f"({error.strerror}: {error.filename}); name another folder"
        ) from error
    return folder, record


def read_record(folder: Path, key: str) -> Record | None:
    """The record of a whole folder of this key, else None."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        sizes: dict[str, int] = record["files"]
        whole = all((folder / file).stat().st_size == size for file, size in sizes.items())
        return record if whole and record["key"] == key else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _build(folder: Path, key: str, build: Callable[[Path], Record]) -> Record:
    for left_over in folder.parent.glob(f"{folder.name}.*.partial"):
        shutil.rmtree(left_over)
    beside = Path(tempfile.mkdtemp(".partial", f"{folder.name}.", folder.parent))
    try:
        record = build(beside)
        sizes = {path.name: path.stat().st_size for path in sorted(beside.iterdir())}
        record = {**record, "key": key, "files": sizes}
        (beside / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        for path in beside.iterdir():
            _sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return record


def _sync(path: Path) -> None:
    """Waits until a file or folder is on disk, so that a crash leaves no file of zeros."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
