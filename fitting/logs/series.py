"""Tables of steps: the one reader of whatever has a row a logged step.

Formats are rows of `FORMATS`: CSV (also a chart exported from W&B) and Parquet, JSON lines and the
trainer_state.json of transformers, a TensorBoard folder of one run.

Two ways to read them. Strictly (`read_steps`, `read_curve`, `read_schedule`): columns under their
own names, every cell a finite number, steps that rise; anything else is refused by its row.
Tolerantly (`read_log`, `read_growing`): columns under the names that trainers give them, of a run
that may still be training. A last line that is not written yet is left out, and where a restart
goes back in steps, its rows replace the ones before. Losses may be NaN: that is a finding.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fitting.errors import InputError
from fitting.files import is_parquet, parse_csv, parse_parquet, read_bytes, read_table
from fitting.runs.readers import tensorboard, wandb

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from fitting.arrays import Floats, Integers, Mask

FEWEST_ROWS = 16
"""Rows that a curve must have for a fit: two for each block of `fitting.curves.fit`."""

WIDEST_GAP = 20.0
"""Times the median spacing of the rows: a wider hole in a curve hides what the lr did there."""

NAMES: dict[str, tuple[str, ...]] = {
    "step": ("step", "steps", "_step", "global_step", "iteration", "iter"),
    "loss": ("loss", "train_loss", "train/loss", "lm loss", "lm_loss", "loss/train"),
    "lr": ("lr", "learning_rate", "train/lr", "train/learning_rate", "learning-rate"),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "grad-norm", "total_norm"),
    "max_attention_logit": ("max_attention_logit", "max_logit", "train/max_attention_logit"),
}
"""Names that trainers give each column, case apart; the first that is there is taken."""

How = Literal["strictly", "whole", "growing"]
"""How a table is read: every row as it should be, as far as it goes, or while it is written."""


class Rows(NamedTuple):
    """A table as it was read."""

    names: list[str]
    """Of its columns, in order."""
    cells: list[tuple[int, dict[str, Any]]]
    """Each row's number, as a person sees it in the file, and its cells by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run: the learning rate that it had and, where it was run, the loss that it reached."""

    name: str
    """The file's stem."""
    step: Floats
    """Optimizer steps done, rising, shape (n,)."""
    lr: Floats
    """Learning rate at these steps, >= 0, shape (n,)."""
    loss: Floats | None
    """Nats per token, > 0, shape (n,); None for a schedule."""


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


@dataclass(frozen=True, slots=True)
class StepTable:
    """Columns of a table whose steps rise."""

    path: Path
    row: Integers
    """Number of each row in the file, shape (n,)."""
    columns: Mapping[str, Floats]
    """Each of shape (n,)."""

    def refuse(self, bad: Mask, column: str, what: str) -> None:
        """Refuse the first value that is `bad`.

        Raises:
            InputError: with its row.
        """
        if bad.any():
            at = int(np.argmax(bad))
            value = self.columns[column][at]
            raise InputError(f"{self.path} row {self.row[at]}, column {column}: {value:g} {what}")


def read_curve(path: Path) -> Curve:
    """A curve, strictly.

    Args:
        path: a file with columns step, lr and loss (nats per token), one row a logged step.

    Raises:
        InputError: a column is missing, a cell is no finite number above 0, the steps do not
            rise, the curve has a hole, or it has too few rows.
    """
    table = read_steps(path, {name: (name,) for name in ("step", "lr", "loss")})
    curve = _to_curve(table)
    step = curve.step
    if len(step) < FEWEST_ROWS:
        raise InputError(
            f"{path}: {len(step)} {'row' if len(step) == 1 else 'rows'}; "
            f"a curve has {FEWEST_ROWS} at least"
        )
    table.refuse(table.columns["loss"] <= 0, "loss", "is not above 0")
    spacing = np.diff(step)
    usual = float(np.median(spacing))
    widest = int(np.argmax(spacing))
    if spacing[widest] > WIDEST_GAP * usual:
        raise InputError(
            f"{path}: no rows from step {step[widest]:.0f} to {step[widest + 1]:.0f}, where the "
            f"others are {usual:g} apart; give the rows between, or one side of the gap"
        )
    return curve


def read_schedule(path: Path) -> Curve:
    """A schedule, strictly; a loss column is ignored.

    Raises:
        InputError: a column is missing, a cell is no finite number, or the steps do not rise.
    """
    return _to_curve(read_steps(path, {name: (name,) for name in ("step", "lr")}))


def read_steps(
    path: Path, wanted: Mapping[str, Sequence[str]], *, loose: Collection[str] = ()
) -> StepTable:
    """The wanted columns of a table of steps, strictly.

    Args:
        path: the file.
        wanted: for each column, `step` among them, the names that it may have.
        loose: columns whose cells may be no number, which is then NaN.

    Raises:
        InputError: a column is missing, a cell is no finite number, or the steps do not rise from
            0 or later; the first row at fault is named.
    """
    there, rows = _read_rows(path, "strictly")
    found = {name: [n for n in names if n in there] for name, names in wanted.items()}
    missing = [" or ".join(wanted[name]) for name, columns in found.items() if not columns]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; it has {', '.join(there)}")
    if not rows:
        raise InputError(f"{path}: has a header and no rows")
    values = {}
    for name, (column, *_) in found.items():
        values[name] = np.array([_number(row.get(column)) for _, row in rows])
        bad = ~np.isfinite(values[name])
        if bad.any() and name not in loose:
            number, row = rows[int(np.argmax(bad))]
            cell = row.get(column, "")
            raise InputError(f"{path} row {number}, column {column}: '{cell}' is not a number")
    table = StepTable(path, np.array([number for number, _ in rows]), values)
    step = values["step"]
    table.refuse(step < 0, "step", "is below 0")
    backwards = np.concatenate([[False], np.diff(step) <= 0])
    if backwards.any():
        at = int(np.argmax(backwards))
        same = step[at] == step[at - 1]
        what = "is there twice" if same else f"comes after {step[at - 1]:.0f}"
        raise InputError(
            f"{path} row {table.row[at]}: step {step[at]:.0f} {what}; "
            f"{'keep one row a step' if same else 'sort the rows by step'}"
        )
    return table


def has_steps(path: Path) -> bool:
    """Whether a file or folder is a table of steps: one with a column `step`.

    Raises:
        InputError: it cannot be read.
    """
    return "step" in _read_rows(path, "whole").names


def read_log(path: Path) -> RunLog:
    """A run's log, tolerantly.

    Raises:
        InputError: it cannot be read, has no step or loss, or a cell is no number.
    """
    found = _parse_log(path, "whole")
    if found is None:
        raise InputError(f"{path}: no row has a loss yet; a log has a header and rows")
    return found


def read_growing(path: Path) -> RunLog | None:
    """The log of a run that writes to it; None while it has no rows.

    A last line without its end is left out, as it may be half a number.

    Raises:
        InputError: as `read_log`.
    """
    return _parse_log(path, "growing")


def _to_curve(table: StepTable) -> Curve:
    """The curve of a table, its lr 0 or more and somewhere above."""
    lr = table.columns["lr"]
    table.refuse(lr < 0, "lr", "is below 0")
    if not (lr > 0).any():
        raise InputError(f"{table.path}: lr is 0 in every row")
    return Curve(
        name=table.path.stem, step=table.columns["step"], lr=lr, loss=table.columns.get("loss")
    )


def _parse_log(path: Path, how: How) -> RunLog | None:
    """The log, or None where it has no rows."""
    there, rows = _read_rows(path, how)
    if not rows:
        return None
    columns = {name: _find_column(name, there) for name in NAMES}
    for name in ("step", "loss"):
        if columns[name] is None:
            raise InputError(f"{path}: no column {name}; it has {', '.join(there) or 'none'}")
    kept = [row for _, row in rows if row.get(columns["loss"] or "") not in (None, "")]
    if not kept:
        return None
    values = {}
    for name, column in columns.items():
        if column is None:
            continue
        values[name] = np.array([_number(row.get(column)) for row in kept])
        for row, value in zip(kept, values[name], strict=True):
            if math.isnan(value) and not _says_nothing(row.get(column)):
                raise InputError(f"{path}, column {column}: '{row[column]}' is not a number")
    return _keep_last(values, path)


def _keep_last(values: Mapping[str, Floats], path: Path) -> RunLog:
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


def _find_column(name: str, there: Sequence[str]) -> str | None:
    """The column that a quantity stands under, also as "RUN - NAME" of a W&B chart."""
    for known in NAMES[name]:
        for column in there:
            bare = column.rpartition(wandb.SEPARATOR)[2]
            if bare.lower() == known and not column.endswith(wandb.RANGE_SUFFIXES):
                return column
    return None


def _number(cell: object) -> float:
    """A cell as a number; NaN for an empty one and for what is none."""
    try:
        return float(str(cell))
    except ValueError:
        return math.nan


def _says_nothing(cell: object) -> bool:
    """Whether a cell is empty, or NaN written out."""
    return cell is None or cell == "" or str(cell).strip().lower() in {"nan", "-nan", "+nan"}


def _read_rows(path: Path, how: How) -> Rows:
    """The rows of a file or a folder, by the first format that knows it."""
    return next(form.read(path, how) for form in FORMATS.values() if form.knows(path))


def _by_row(cells: Iterable[tuple[int, dict[str, Any]]]) -> Rows:
    """Rows that say their own columns."""
    rows = list(cells)
    return Rows(list(dict.fromkeys(name for _, row in rows for name in row)), rows)


def _read_table(path: Path, how: How) -> Rows:
    """Rows of a CSV or Parquet file."""
    content = read_bytes(path)
    if how == "strictly" or is_parquet(content, path):
        table = read_table(path) if how == "strictly" else parse_parquet(content, path)
        header = [str(name) for name in table.columns]
        found = zip(table.index, table.itertuples(index=False, name=None), strict=True)
        rows = [(int(str(number)), list(cells)) for number, cells in found]
    else:
        text = _decode(content)
        if how == "growing" and not text.endswith("\n"):
            text = text[: text.rfind("\n") + 1]
        (_, header), *rows = parse_csv(text, path, growing=True) or [(1, [])]
    return Rows(header, [(number, dict(zip(header, cells, strict=True))) for number, cells in rows])


def _read_json(path: Path, how: How) -> Rows:
    """Rows of JSON lines, or of the log_history of transformers' trainer."""
    text = _decode(read_bytes(path))
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        rows = enumerate(whole["log_history"], start=1)
        return _by_row((number, row) for number, row in rows if isinstance(row, dict))
    found, lines = [], text.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines) and how != "strictly":
                break
            raise InputError(f"{path} row {number}: not JSON ({error})") from error
        if isinstance(row, dict):
            found.append((number, row))
    return _by_row(found)


def _read_events(path: Path, how: How) -> Rows:
    """Rows of a TensorBoard folder of one run.

    Raises:
        InputError: the folder has no event files, or those of several runs.
    """
    folders = tensorboard.event_folders(path)
    if len(folders) != 1:
        raise InputError(
            f"{path}: event files of {len(folders)} runs; name the folder of one, or a CSV"
        )
    rows: dict[int, dict[str, Any]] = {}
    events = tensorboard.open_events(folders[0], where=str(path))
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            rows.setdefault(event.step, {"step": event.step})[tag] = event.value
    return _by_row(enumerate((rows[step] for step in sorted(rows)), start=1))


def _decode(content: bytes) -> str:
    """The text of a log, in which a last character may be half written."""
    return content.decode("utf-8-sig", errors="replace")


class Format(NamedTuple):
    """One format of a table of steps."""

    knows: Callable[[Path], bool]
    """Whether a path is of it."""
    read: Callable[[Path, How], Rows]
    """Its rows."""


FORMATS: dict[str, Format] = {
    "tensorboard": Format(Path.is_dir, _read_events),
    "json": Format(lambda path: path.suffix in (".json", ".jsonl"), _read_json),
    "table": Format(lambda path: True, _read_table),
}
"""In the order in which they are asked."""
