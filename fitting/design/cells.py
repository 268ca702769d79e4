"""The cells that can be run, what has been run of each, and a cell's run nearest to a place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats, Integers
from fitting.design.belief import Done
from fitting.design.space import Candidates, Space

SAME_CELL = 0.01
"""Distance in ln params and ln tokens within which two cells are one, as in the runs table."""

SAME_RUN = 1e-6
"""Distance in ln lr and ln batch within which two runs are one."""

BELOW_CLIFF = math.log(0.9)
"""How far in ln a run's lr stays below one at which a run of its cell diverged. *Assumed*."""

RETREAT = math.log(0.25)
"""The same where no run of the cell has ended well."""


@dataclass(slots=True)
class Cell:
    """One size that can be run."""

    params: float
    tokens: float
    flops: float
    """Of one run; the dearest where candidates differ, so that no visit passes the budget."""
    rows: Integers | None
    """Rows of its candidates that are left, shape (m,); None where any lr and batch may be run."""
    taken: int = 0
    """Runs made, under way or proposed."""
    highest_lr: float = math.inf
    """ln lr that stays clear of diverged runs."""

    @property
    def empty(self) -> bool:
        """Whether nothing is left to run."""
        return self.rows is not None and len(self.rows) == 0


@dataclass(frozen=True, slots=True)
class Pick:
    """A run of a cell."""

    lr: float
    batch_tokens: float
    flops: float
    row: int | None
    """Of the candidate; None where any may be run."""


def cells_of(options: Candidates | Space, done: Done) -> list[Cell]:
    """The cells that can be run, cheapest first, with what has been run of each."""
    cells = from_space(options) if isinstance(options, Space) else from_candidates(options)
    made = np.log(np.column_stack([done.params, done.tokens]))
    for cell in cells:
        here = np.abs(made - np.log([cell.params, cell.tokens])).max(axis=1) < SAME_CELL
        cell.taken = int(here.sum())
        lost = here & np.isposinf(done.loss)
        if lost.any():
            retreat = BELOW_CLIFF if np.isfinite(done.loss[here]).any() else RETREAT
            cell.highest_lr = math.log(done.lr[lost].min()) + retreat
        if isinstance(options, Candidates):
            places = np.log(np.column_stack([done.lr, done.batch_tokens])[here])
            leave_out(cell, options, places)
    return sorted(cells, key=lambda cell: (cell.flops, cell.params))


def from_space(space: Space) -> list[Cell]:
    """The cells of ranges."""
    return [
        Cell(params, tokens, flops=6 * params * tokens, rows=None)
        for params, tokens in space.cells.tolist()
    ]


def from_candidates(candidates: Candidates) -> list[Cell]:
    """The cells of a list."""
    given = np.column_stack([candidates.params, candidates.tokens])
    sizes, inverse = np.unique(given, axis=0, return_inverse=True)
    cells = []
    for number, (params, tokens) in enumerate(sizes.tolist()):
        rows = np.flatnonzero(inverse == number)
        cells.append(Cell(params, tokens, float(candidates.flops[rows].max()), rows))
    return cells


def leave_out(cell: Cell, candidates: Candidates, places: Floats) -> None:
    """Drop the candidates that have been run, and those too near a diverged run."""
    assert cell.rows is not None
    own = candidate_places(candidates, cell.rows)
    apart = np.abs(own[:, None] - places).max(axis=2).min(axis=1, initial=np.inf)
    cell.rows = cell.rows[(apart > SAME_RUN) & (own[:, 0] <= cell.highest_lr)]


def candidate_places(candidates: Candidates, rows: Integers) -> Floats:
    """ln lr and ln batch of some candidates, shape (m, 2)."""
    places: Floats = np.log(np.column_stack([candidates.lr[rows], candidates.batch_tokens[rows]]))
    return places


def take_nearest(cell: Cell, options: Candidates | Space, place: Floats) -> Pick:
    """Take the run of a cell nearest to a place, which it then has no more.

    Args:
        cell: one that is not empty.
        options: what its rows belong to.
        place: ln lr and ln batch, shape (2,).
    """
    cell.taken += 1
    if isinstance(options, Space):
        lr = math.exp(min(place[0], cell.highest_lr))
        return Pick(
            min(max(lr, options.ranges.lr[0]), options.ranges.lr[1]),
            allowed_batch(options, math.exp(place[1]), tokens=cell.tokens),
            cell.flops,
            row=None,
        )
    assert cell.rows is not None
    distance = np.sum((candidate_places(options, cell.rows) - place) ** 2, axis=1)
    row = int(cell.rows[distance.argmin()])
    cell.rows = cell.rows[cell.rows != row]
    return Pick(
        float(options.lr[row]), float(options.batch_tokens[row]), float(options.flops[row]), row
    )


def allowed_batch(space: Space, batch_tokens: float, *, tokens: float) -> float:
    """The batch nearest to a wanted one that a run of so many tokens may have."""
    low, high = space.ranges.batch_tokens
    step = space.ranges.batch_step
    most = max(math.floor(min(high, tokens / space.fewest_steps) / step), 1)
    least = min(max(math.ceil(low / step), 1), most)
    return step * min(max(round(batch_tokens / step), least), most)
