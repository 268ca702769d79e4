"""What a loss-curve law sees of a schedule: the summed learning rate and its changes.

The lr is linear between the rows and, where a warmup is given, rose linearly from 0 before the
first. S1(t), the sum of lr over the steps up to t, is then the integral of a piecewise linear
function. The sum over changes of lr is a midpoint rule over short pieces of the schedule; a
piece that ends after t has done nothing by t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fitting.arrays import Floats
    from fitting.logs.series import Curve

PIECES = 150
"""Pieces that the changes of a schedule are cut into, beside its rows (a test bounds the error)."""

MOST_ROWS = 1_000
"""Rows at which a law is evaluated; a longer file is interpolated between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A schedule as a law sees it: n rows, k pieces where the lr changes."""

    step: Floats
    """Steps done at each row, shape (n,)."""
    lr_sum: Floats
    """S1 at each row, the warmup's included, shape (n,)."""
    peak: float
    """Highest lr, > 0."""
    before: Floats
    """lr at the start of each piece, shape (k,)."""
    after: Floats
    """lr at its end, shape (k,)."""
    at_sum: Floats
    """S1 in its middle, shape (k,)."""
    at_step: Floats
    """Steps done in its middle, shape (k,)."""

    def at_rows(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> Path:
        """The same run seen at some of its rows."""
        return replace(self, step=self.step[kept], lr_sum=self.lr_sum[kept])


@dataclass(frozen=True, slots=True)
class Line:
    """A piecewise linear lr from the first update on, with its integral."""

    step: Floats
    lr: Floats
    lr_sum: Floats

    def lr_at(self, step: Floats) -> Floats:
        """Learning rate after `step` steps."""
        return np.interp(step, self.step, self.lr)

    def sum_at(self, step: Floats) -> Floats:
        """Integral of lr from 0 to `step`."""
        piece = np.clip(np.searchsorted(self.step, step, side="right") - 1, 0, len(self.step) - 2)
        start = self.step[piece]
        mean = (self.lr[piece] + self.lr_at(step)) / 2
        found: Floats = self.lr_sum[piece] + (step - start) * mean
        return found


def make_path(curve: Curve, *, warmup_steps: float) -> Path:
    """The path of a curve or a schedule at its rows, or at `MOST_ROWS` of them.

    Args:
        curve: its rows; the lr is linear between them.
        warmup_steps: steps W >= 0 of a linear warmup from lr 0 to the first row's lr, which then
            holds to the first row. Where the first row's own lr is 0, or comes after 0 steps,
            the rows begin with the warmup and W is not used.

    Raises:
        InputError: the first row lies within the warmup.
    """
    line = draw_line(curve, warmup_steps)
    rows = curve.step[thin_rows(len(curve.step), MOST_ROWS)]
    cut = cut_points(line, rows)
    before, after = line.lr_at(cut[:-1]), line.lr_at(cut[1:])
    middle = (cut[:-1] + cut[1:]) / 2
    if line.lr[0] > 0:
        # A run that began without a warmup: the rise to its first lr is one change at step 0.
        before, after = np.concatenate([[0.0], before]), np.concatenate([line.lr[:1], after])
        middle = np.concatenate([line.step[:1], middle])
    changed = before != after
    return Path(
        step=rows,
        lr_sum=line.sum_at(rows),
        peak=float(line.lr.max()),
        before=before[changed],
        after=after[changed],
        at_sum=line.sum_at(middle[changed]),
        at_step=middle[changed],
    )


def draw_line(curve: Curve, warmup_steps: float) -> Line:
    """The lr from step 0 to the last row, the warmup put before the first.

    Raises:
        InputError: the first row lies within the warmup.
    """
    step, lr = curve.step, curve.lr
    if not warmup_steps >= 0:
        raise InputError(f"--warmup-steps {warmup_steps:g}: must be 0 or more")
    if step[0] > 0:
        own = lr[0] == 0
        if not own and warmup_steps > step[0]:
            raise InputError(
                f"--warmup-steps {warmup_steps:g}: {curve.name} begins at step {step[0]:g}, within "
                "the warmup; leave out its rows before the end of the warmup"
            )
        head = np.array([0.0, warmup_steps] if 0 < warmup_steps < step[0] and not own else [0.0])
        rising = warmup_steps > 0 or own
        head_lr = np.concatenate([[0.0 if rising else lr[0]], np.full(len(head) - 1, lr[0])])
        step, lr = np.concatenate([head, step]), np.concatenate([head_lr, lr])
    if len(step) == 1:
        step, lr = np.append(step, step[0] + 1e-9), np.repeat(lr, 2)
    area = np.diff(step) * (lr[1:] + lr[:-1]) / 2
    return Line(step, lr, np.concatenate([[0.0], np.cumsum(area)]))


def thin_rows(count: int, most: int) -> NDArray[np.intp]:
    """Indices of at most `most` of `count` rows, even, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def means_about(values: Floats, rows: NDArray[np.intp]) -> Floats:
    """Mean of the values nearest to each of `rows`, so that thinning keeps what averages noise.

    Args:
        values: shape (n,).
        rows: indices into them, rising, the first and the last among them, shape (m,).
    """
    starts = np.concatenate([[0], (rows[1:] + rows[:-1] + 1) // 2])
    found: Floats = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
    return found


def cut_points(line: Line, rows: Floats) -> Floats:
    """Ends of the pieces: every row, and between them more where the lr changes more."""
    ends = np.union1d(rows, line.step[line.step < rows[0]])
    travel = np.abs(np.diff(line.lr_at(ends)))
    parts = np.ceil(PIECES * travel / max(travel.sum(), 1e-300)).astype(int)
    inner = [
        np.linspace(low, high, n + 1)[1:-1]
        for low, high, n in zip(ends[:-1], ends[1:], parts, strict=True)
        if n > 1
    ]
    return np.sort(np.concatenate([ends, *inner]))
