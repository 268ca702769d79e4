"""The log of a run that may still be training: step, loss and what else is judged.

CSV (also a chart exported from W&B), Parquet, JSON lines, a trainer_state.json of transformers, or
a TensorBoard folder of one run. A last line that is not written yet is left out, and where a
restart goes back in steps, its rows replace the ones before. Values may be NaN: that is a finding.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fitting.errors import InputError
from fitting.files import is_parquet, parse_csv, parse_parquet, read_bytes
from fitting.runs.readers import tensorboard, wandb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fitting.arrays import Floats

NAMES: dict[str, tuple[str, ...]] = {
    "step": ("step", "steps", "_step", "global_step", "iteration", "iter"),
    "loss": ("loss", "train_loss", "train/loss", "lm loss", "lm_loss", "loss/train"),
    "lr": ("lr", "learning_rate", "train/lr", "train/learning_rate", "learning-rate"),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "grad-norm", "total_norm"),
    "max_attention_logit": ("max_attention_logit", "max_logit", "train/max_attention_logit"),
}
"""Names that trainers give each column, case apart; the first that is there is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog:
    """The rows of a run so far."""

    name: str
    step: Floats
    """Rising, shape (n,)."""
    loss: Floats
    """Nats per token; NaN or infinite where the run says so, shape (n,)."""
    others: Mapping[str, Floats]
    """lr, grad_norm and max_attention_logit where they were logged; NaN in rows without."""


def read_log(path: Path) -> RunLog:
    """A run's log from a file, or a folder of event files.

    Raises:
        InputError: it cannot be read, has no step or loss, or a cell is no number.
    """
    found = parse_log(path, growing=False)
    if found is None:
        raise InputError(f"{path}: no row has a loss yet; a log has a header and rows")
    return found


def read_growing(path: Path) -> RunLog | None:
    """The log of a run that writes to it; None while it has no rows.

    A last line without its end is left out, as it may be half a number.

    Raises:
        InputError: as `read_log`.
    """
    return parse_log(path, growing=True)


def parse_log(path: Path, *, growing: bool) -> RunLog | None:
    """The log, or None where it has no rows."""
    rows = read_series(path) if path.is_dir() else read_rows(path, growing=growing)
    if not rows:
        return None
    columns = {name: find_column(name, rows) for name in NAMES}
    for name in ("step", "loss"):
        if columns[name] is None:
            raise InputError(
                f"{path}: no column {name}; it has {', '.join(list_columns(rows)) or 'none'}"
            )
    kept = [row for row in rows if is_said(row.get(columns["loss"] or ""))]
    if not kept:
        return None
    values = {
        name: np.array([to_number(row.get(column), path, column) for row in kept])
        for name, column in columns.items()
        if column is not None
    }
    return order_steps(values, path)


def order_steps(values: Mapping[str, Floats], path: Path) -> RunLog:
    """The rows that stand: those of before a restart that were made again are left out."""
    step = values["step"]
    if not np.isfinite(step).all():
        raise InputError(f"{path}: a row has no step")
    later = np.minimum.accumulate(step[::-1])[::-1]
    keep = np.append(step[:-1] < later[1:], True)
    return RunLog(
        name=path.name,
        step=step[keep],
        loss=values["loss"][keep],
        others={
            name: found[keep]
            for name, found in values.items()
            if name not in ("step", "loss") and np.isfinite(found).any()
        },
    )


def read_rows(path: Path, *, growing: bool) -> list[dict[str, Any]]:
    """Rows of a file by column."""
    content = read_bytes(path)
    if is_parquet(content, path):
        return [
            {str(name): cell for name, cell in row.items()}
            for row in parse_parquet(content, path).to_dict("records")
        ]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # A character may be half written; anything else shows in the cells.
        text = content.decode("utf-8-sig", errors="replace")
    if path.suffix in (".json", ".jsonl"):
        return read_json(text, path)
    if growing and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    (_, header), *rows = parse_csv(text, path, growing=True) or [(1, [])]
    return [dict(zip(header, cells, strict=True)) for _, cells in rows]


def read_json(text: str, path: Path) -> list[dict[str, Any]]:
    """Rows of JSON lines, or of the log_history of transformers' trainer."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        return [row for row in whole["log_history"] if isinstance(row, dict)]
    rows, lines = [], text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise InputError(f"{path} row {number}: not JSON ({error})") from error
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_series(path: Path) -> list[dict[str, Any]]:
    """Rows of a TensorBoard folder of one run.

    Raises:
        InputError: the folder has no event files, or those of several runs.
    """
    folders = tensorboard.run_folders(path)
    if len(folders) != 1:
        raise InputError(
            f"{path}: event files of {len(folders)} runs; name the folder of one, or a CSV"
        )
    rows: dict[int, dict[str, Any]] = {}
    events = tensorboard.open_events(folders[0], where=str(path))
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            rows.setdefault(event.step, {"step": event.step})[tag] = event.value
    return [rows[step] for step in sorted(rows)]


def find_column(name: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The column that a quantity stands under, also as "RUN - NAME" of a W&B chart."""
    there = list_columns(rows)
    for known in NAMES[name]:
        for column in there:
            bare = column.rpartition(wandb.SEPARATOR)[2]
            if bare.lower() == known and not column.endswith(wandb.RANGE_SUFFIXES):
                return column
    return None


def list_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every column that any row has, in order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def is_said(cell: object) -> bool:
    """Whether a row has a value there; NaN written out is one, an empty cell none."""
    return cell is not None and cell != ""


def to_number(cell: object, path: Path, column: str) -> float:
    """A cell as a number; an empty one as NaN.

    Raises:
        InputError: it is none.
    """
    if not is_said(cell):
        return math.nan
    try:
        return float(str(cell))
    except ValueError as error:
        raise InputError(f"{path}, column {column}: '{cell}' is not a number") from error
