"""Runs of one folder as a runs table: a row a run, added under a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fitting.errors import InputError
from fitting.files import read_table, write_table
from proxies.train.checkpoint import identify_run

if TYPE_CHECKING:
    from proxies.run.spec import RunSpec


def name_run(spec: RunSpec, *, corpus_fingerprint: str) -> str:
    """A name that tells a run from every other: its size and lr, then 8 hex digits of all of it."""
    identity = identify_run(spec, corpus_fingerprint=corpus_fingerprint)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"d{spec.shape.d_model}-l{spec.shape.n_layers}-lr{spec.lr:g}-{digest[:8]}"


def add_run(row: dict[str, float | str], path: Path) -> None:
    """Put a run's row into a CSV table, in place of the row with the same `run_id`.

    Processes that add at the same moment wait for each other, and a kill leaves the table as it
    was. Columns that only some rows have are empty in the others.

    Raises:
        InputError: the table cannot be read or written.
    """
    try:
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new = pd.DataFrame([row])
        if path.exists():
            old = read_table(path)
            if "run_id" not in old.columns:
                raise InputError(f"{path}: has no column run_id; move it away")
            new = pd.concat([old[old["run_id"] != row["run_id"]], new], ignore_index=True)
        write_table(new, path, overwrite=True)
