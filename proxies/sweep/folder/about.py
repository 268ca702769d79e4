"""A sweep's folder: what it was made with, what may change, and the lock that keeps others out.

sweep.json      the spec, and what else every session must agree on
results.jsonl   one line a run that is done (`records`)
runs.parquet    the runs table made of it
study.log       the Optuna studies, one a cell (`studies`), where no database keeps them
runs/ID/        checkpoint and curve of each run
lock            the process that writes
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fitting.errors import InputError
from proxies.sweep.axes import is_varied
from proxies.sweep.spec_file import spec_adapter

if TYPE_CHECKING:
    from pathlib import Path

    from proxies.sweep.spec import SweepSpec

ABOUT = "sweep.json"
"""Name of the file that says what a sweep is."""

LOCK = "lock"
"""Name of the file that the writing process holds locked; it has the process's id."""

RUNS = "runs"
"""Name of the folder of runs."""

AXES = ("lr", "batch_tokens", "weight_decay")
"""Hyperparameters that a search varies."""

EXTENDABLE = {
    "model": ("d_model", "n_layers", "d_ff"),
    "budget": ("tokens", "tokens_per_param", "flops", "wall_time", "interval_width"),
    "search": (
        *AXES,
        "sampler",
        "runs_per_cell",
        "law",
        "start",
        "pruner",
        "seed",
    ),
}
"""What may change from one session to the next by table; the runs there stay comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What every session of a sweep agrees on."""

    sweep_id: str
    """Of this folder, for studies in a shared database."""
    spec: SweepSpec
    corpus_fingerprint: str
    vocab_size: int
    executor: str
    """Whose losses the table has: another one may round them otherwise."""
    storage: str | None
    """URL of the database of studies; None for study.log."""


def read_about(folder: Path) -> About | None:
    """What the folder's sweep is, or None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / ABOUT
    try:
        found = json.loads(path.read_bytes())
        # A sweep from before there was the key had no multiplier, and goes on without.
        found["spec"]["run"].setdefault("embedding_multiplier", 1.0)
        spec = spec_adapter().validate_json(json.dumps(found.pop("spec")), strict=True)
        return About(spec=spec, **found)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        raise InputError(f"{path}: damaged, or of another version; name another DIR") from error


def write_about(folder: Path, about: About) -> None:
    """Say what the folder's sweep is.

    Raises:
        InputError: it cannot be written.
    """
    # Imported here because it brings pandas, which `plan sweep status` does not wait for.
    from fitting.files import replace_file

    replace_file(folder / ABOUT, (json.dumps(asdict(about), indent=1) + "\n").encode())


def check_same(ours: SweepSpec, theirs: SweepSpec, *, where: str, extend: bool) -> None:
    """Refuse to go on with another spec, or with one whose runs would not compare.

    Args:
        ours: asked for now.
        theirs: that the folder was made with.
        where: the folder, for messages.
        extend: whether another spec is asked for on purpose.

    Raises:
        InputError: the first difference, with both values.
    """
    for table, key in _differences(ours, theirs):
        now, then = (_show(getattr(getattr(spec, table), key)) for spec in (ours, theirs))
        said = f"{where}: made with [{table}] {key} = {then}, the spec has {now}"
        if not extend:
            raise InputError(f"{said}; pass --extend to go on with it, or name another DIR")
        if key not in EXTENDABLE.get(table, ()):
            raise InputError(f"{said}; its runs would not compare, name another DIR")
        if key in AXES and not all(is_varied(getattr(spec.search, key)) for spec in (ours, theirs)):
            raise InputError(
                f"{said}; runs there do not say their {key}, so that only lists and ranges can "
                "be extended; name another DIR"
            )


def make_sweep_folder(folder: Path) -> None:
    """Make a sweep's folder.

    Raises:
        InputError: it cannot be made, or has files of something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    if names - {LOCK} and ABOUT not in names and not all(n.startswith(f".{ABOUT}.") for n in names):
        raise InputError(f"{folder}: has files, and no sweep; name a new DIR")


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Be the folder's only writer. The lock of a process that died is free at once.

    Raises:
        InputError: another process writes, with its id; or the lock cannot be made.
    """
    path = folder / LOCK
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{folder}: {holder} is writing there; wait, or end it") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def is_locked(folder: Path) -> bool:
    """Whether a sweep is running there now."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def run_folder(folder: Path, run_id: str) -> Path:
    """Where a run keeps its checkpoint and curve."""
    return folder / RUNS / run_id


def drop_states(folder: Path, run_id: str) -> None:
    """Delete the checkpoints of a run that is recorded; its curve stays.

    Raises:
        InputError: they cannot be deleted.
    """
    try:
        for path in run_folder(folder, run_id).glob("**/*.pt"):
            path.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be cleaned ({error.strerror})") from error


def _differences(ours: SweepSpec, theirs: SweepSpec) -> list[tuple[str, str]]:
    """Table and key of all that differs, in the order of the spec."""
    now, then = asdict(ours), asdict(theirs)
    return [
        (table, key) for table in now for key in now[table] if now[table][key] != then[table][key]
    ]


def _show(value: Any) -> str:
    """A value short enough for one line."""
    said = json.dumps(value, default=asdict)
    return said if len(said) <= 60 else f"{said[:57]}..."
