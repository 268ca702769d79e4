"""Curves and schedules on disk: read, checked, told in one line what is wrong.

A curve has the columns step, lr and loss, a schedule step and lr; other columns are ignored.
Between rows the lr is linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from fitting.files import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from fitting.arrays import Floats

FEWEST_ROWS = 16
"""Rows that a curve must have for a fit: two for each block of `fitting.curves.fit`."""

ROW = "row of the file"
"""Key of the row numbers beside the columns that were read."""

WIDEST_GAP = 20.0
"""Times the median spacing of the rows: a wider hole in a curve hides what the lr did there."""


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


def read_curve(path: Path) -> Curve:
    """A curve from CSV or Parquet.

    Args:
        path: a file with columns step, lr and loss (nats per token), one row a logged step.

    Raises:
        InputError: a column is missing, a cell is no finite number above 0, the steps do not
            rise, the curve has a hole, or it has too few rows.
    """
    table = read_columns(path, ("step", "lr", "loss"))
    step, lr, loss = (table[name] for name in ("step", "lr", "loss"))
    check_steps(path, table)
    if len(step) < FEWEST_ROWS:
        raise InputError(
            f"{path}: {len(step)} {'row' if len(step) == 1 else 'rows'}; "
            f"a curve has {FEWEST_ROWS} at least"
        )
    refuse(path, table, loss <= 0, "loss", "is not above 0")
    spacing = np.diff(step)
    usual = float(np.median(spacing))
    widest = int(np.argmax(spacing))
    if spacing[widest] > WIDEST_GAP * usual:
        raise InputError(
            f"{path}: no rows from step {step[widest]:.0f} to {step[widest + 1]:.0f}, where the "
            f"others are {usual:g} apart; give the rows between, or one side of the gap"
        )
    return Curve(name=path.stem, step=step, lr=lr, loss=loss)


def read_schedule(path: Path) -> Curve:
    """A schedule from CSV or Parquet; a loss column is ignored.

    Raises:
        InputError: a column is missing, a cell is no finite number, or the steps do not rise.
    """
    table = read_columns(path, ("step", "lr"))
    check_steps(path, table)
    return Curve(name=path.stem, step=table["step"], lr=table["lr"], loss=None)


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, Floats]:
    """The named columns as finite numbers, and under `ROW` the number of each row.

    Raises:
        InputError: one is missing or has a cell that is no finite number; the row is named.
    """
    table = read_table(path)
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
    if len(table) == 0:
        raise InputError(f"{path}: has a header and no rows")
    found = {name: read_numbers(path, table[name]) for name in names}
    return found | {ROW: table.index.to_numpy(dtype=float)}


def read_numbers(path: Path, column: pd.Series) -> Floats:
    """A column as finite numbers.

    Raises:
        InputError: the first cell that is none, by row.
    """
    found = []
    for row, cell in column.items():
        try:
            value = float(cell)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{path} row {row}, column {column.name}: '{cell}' is not a number")
        found.append(value)
    return np.array(found)


def check_steps(path: Path, table: Mapping[str, Floats]) -> None:
    """Refuse steps that do not rise from 0 or later, and an lr below 0 or never above.

    Raises:
        InputError: with the first row at fault.
    """
    step, lr = table["step"], table["lr"]
    refuse(path, table, step < 0, "step", "is below 0")
    refuse(path, table, lr < 0, "lr", "is below 0")
    backwards = np.concatenate([[False], np.diff(step) <= 0])
    if backwards.any():
        at = int(np.argmax(backwards))
        same = step[at] == step[at - 1]
        what = "is there twice" if same else f"comes after {step[at - 1]:.0f}"
        raise InputError(
            f"{path} row {table[ROW][at]:.0f}: step {step[at]:.0f} {what}; "
            f"{'keep one row a step' if same else 'sort the rows by step'}"
        )
    if not (lr > 0).any():
        raise InputError(f"{path}: lr is 0 in every row")


def refuse(
    path: Path, table: Mapping[str, Floats], bad: NDArray[np.bool_], column: str, what: str
) -> None:
    """Refuse the first value that is `bad`.

    Raises:
        InputError: with its row.
    """
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{path} row {table[ROW][at]:.0f}, column {column}: {table[column][at]:g} {what}"
        )
