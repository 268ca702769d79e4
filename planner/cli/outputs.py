"""Files that a command writes: refused before any work where they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fitting.errors import InputError


def check_output(path: Path | None, *, read: Sequence[Path], force: bool) -> None:
    """Refuse a file that cannot be written, before minutes of work.

    Args:
        path: where a result goes; None where none does.
        read: files that the same command reads or writes beside it.
        force: whether a file that exists may be replaced.

    Raises:
        InputError: the file exists, is no regular one, is in `read`, or has no folder.
    """
    if path is None:
        return
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"{path}: exists already; name another file or pass --force")
    if not path.resolve().parent.is_dir():
        raise InputError(f"{path}: no such folder '{path.parent}'; make it first")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file; name another to write to")
    if any(path.resolve() == other.resolve() for other in read):
        raise InputError(f"{path}: is read or written by this command already; name another")
