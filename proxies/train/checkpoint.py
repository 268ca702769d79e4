"""A run's state on disk: written whole or not at all, read only by the run that wrote it.

A checkpoint is flushed beside its place and renamed, so a kill at any moment leaves the one
before. It names the run that it belongs to, and another run refuses it.
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from fitting.errors import InputError
from fitting.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from proxies.run.spec import RunSpec

CHECKPOINT = "checkpoint.pt"
"""Name of the newest state in a run's folder."""

CURVE = "curve.csv"
"""Name of the table of every update in it, written when the run ends."""


def make_folder(folder: Path) -> None:
    """Make a run's folder, and clear away what a killed writer left half written.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (CHECKPOINT, CURVE):
            for left in folder.glob(f".{name}.*"):
                left.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error


def identify_run(spec: RunSpec, *, corpus_fingerprint: str) -> dict[str, Any]:
    """What a checkpoint must agree on with the run that reads it, as plain JSON values."""
    described: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    options = described.pop("options")
    return {**described, **options, "corpus": corpus_fingerprint}


def write_checkpoint(folder: Path, state: dict[str, Any], *, identity: dict[str, Any]) -> None:
    """Replace the folder's checkpoint in one step.

    Args:
        folder: of the run, there already.
        state: tensors, numbers, text, and lists and dicts of them.
        identity: of `identify_run`.

    Raises:
        InputError: it cannot be written; the one before is whole.
    """
    buffer = io.BytesIO()
    torch.save({"identity": json.dumps(identity), "state": state}, buffer)
    replace_file(folder / CHECKPOINT, buffer.getvalue())


def read_checkpoint(
    folder: Path, *, identity: dict[str, Any], device: str
) -> dict[str, Any] | None:
    """The state that `write_checkpoint` wrote, its tensors on `device`; None where there is none.

    Raises:
        InputError: it is damaged, or belongs to another run: the first difference is named.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location=device, weights_only=True)
        theirs, state = json.loads(found["identity"]), found["state"]
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.PickleError) as error:
        raise InputError(
            f"{path}: damaged, or no checkpoint of a run; delete it to start again"
        ) from error
    check_identity(theirs, identity, where=str(path))
    return dict(state)


def check_identity(theirs: dict[str, Any], ours: dict[str, Any], *, where: str) -> None:
    """Refuse what another run wrote.

    Raises:
        InputError: the first thing that differs, with both values.
    """
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise InputError(
                f"{where}: belongs to another run ({name} {_show(theirs.get(name))}, not "
                f"{_show(ours.get(name))}); name another folder or delete it"
            )


def _show(value: object) -> str:
    """A value short enough for one line."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
