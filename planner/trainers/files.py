"""A trainer's files: their text by name, read from a path and put at one, all of them or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fitting.errors import InputError
from fitting.files import write_together

Files = dict[str, str]
"""An export's text by file name in its folder; one text under the name "" is a file by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user says of a run where its file does not; None where left out."""

    params: float | None = None
    """Non-embedding."""
    tokens: float | None = None
    """Trained on."""
    seq_len: int | None = None
    devices: int | None = None
    """GPUs of the run."""


def read_whole(path: Path, _given: Given) -> tuple[Files, tuple[str, ...]]:
    """Files that say all of a run, and nothing that stands in for what they leave out.

    Raises:
        InputError: they cannot be read.
    """
    return read_files(path), ()


def write_files(files: Files, path: Path, *, force: bool = False) -> None:
    """Put an export at `path`: one file, or the files of a folder; all of them or none.

    Args:
        files: text by file name, as `export_plan` gives it; the name of a single file is empty.
        path: of the file, or of the folder.
        force: overwrite what is there.

    Raises:
        InputError: a file is there and `force` is not set, or the place cannot be written to.
    """
    targets = {path / name if name else path: text for name, text in files.items()}
    check_targets(files, path, force=force)
    made = "" not in files and not path.exists()
    try:
        if made:
            path.mkdir()
        write_together({target: text.encode() for target, text in targets.items()})
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        if made and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def check_targets(files: Files, path: Path, *, force: bool) -> None:
    """Refuse a folder where a file goes, a file where a folder goes, and what is there."""
    if "" not in files and path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; this trainer takes a folder ({', '.join(files)})")
    for target in (path / name if name else path for name in files):
        if target.is_dir():
            raise InputError(f"{target}: cannot be written (it is a folder); name a file")
        if target.exists() and not target.is_file():
            # Replacing it, as --force would, would put a file where a device or a pipe was.
            raise InputError(f"{target}: cannot be written (it is no regular file); name a file")
        if target.exists() and not force:
            raise InputError(f"{target}: exists; --force overwrites it")


def read_files(path: Path) -> Files:
    """The text of a trainer's file, or of every file of its folder.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if path.is_dir():
            return {
                found.name: found.read_text(encoding="utf-8")
                for found in sorted(path.iterdir())
                if found.suffix in {".json", ".yaml", ".yml", ".py", ".sh", ".txt"}
            }
        return {"": path.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
