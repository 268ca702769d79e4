"""How far a sweep is, from its spec and records alone: without torch, Optuna or pandas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxies.sweep.cells import SweepCell

if TYPE_CHECKING:
    from proxies.sweep.folder.records import Record
    from proxies.sweep.spec import SweepSpec

FEWEST = 6
"""Finished runs of a cell before the interval of its optimum is worth a look."""

LOWEST = 40
"""Runs of lowest loss that the interval is taken from: the fit takes the cube of their number, and
the others weigh next to nothing in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The run of lowest loss in a cell, and how well the optimum is known."""

    run_id: str
    loss: float
    """Nats per token."""
    lr: float
    batch_tokens: float
    width: float | None
    """Upper over lower end of the 80% interval of the optimum's lr or batch, whichever is wider, by
    the cell's surface; infinite on the edge of the runs, None with fewer than `FEWEST` of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProgress:
    """How far a cell is."""

    cell: SweepCell
    statuses: dict[str, int]
    """Runs that are done by status."""
    best: Best | None
    """None before a run has finished."""

    @property
    def done(self) -> int:
        """Runs that are done; a failed one is made again in another place."""
        return sum(count for status, count in self.statuses.items() if status != "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a sweep is."""

    cells: tuple[CellProgress, ...]
    clock: float
    """Seconds that it has run for, over all sessions."""
    flops: float
    """6 params tokens of what was trained."""
    flops_left: float
    """At most: less where cells or budgets end early."""
    seconds_left: float | None
    """To go at the speed so far; None before there is one."""
    tokens_per_second: float | None
    """Trained by the clock; None likewise."""

    @property
    def done(self) -> int:
        """Runs that are done."""
        return sum(cell.done for cell in self.cells)

    @property
    def most(self) -> int:
        """Most runs of all cells."""
        return sum(cell.cell.runs for cell in self.cells)


def measure_progress(
    spec: SweepSpec,
    cells: Sequence[SweepCell],
    records: Sequence[Record],
    *,
    clock: float | None = None,
) -> Progress:
    """How far a sweep is.

    Args:
        spec: of the sweep.
        cells: of the sweep.
        records: all so far.
        clock: seconds so far; None for those of the last record.
    """
    by_cell: dict[str, list[Record]] = {cell.name: [] for cell in cells}
    for record in records:
        by_cell.setdefault(record.cell, []).append(record)
    found = tuple(measure_cell(spec, cell, by_cell[cell.name]) for cell in cells)
    return sum_up(spec, found, records, clock=clock)


def sum_up(
    spec: SweepSpec,
    cells: tuple[CellProgress, ...],
    records: Sequence[Record],
    *,
    clock: float | None = None,
) -> Progress:
    """The progress of a sweep from that of its cells."""
    if clock is None:
        clock = max((record.clock for record in records), default=0.0)
    tokens = math.fsum(trained_tokens(record) for record in records)
    flops = math.fsum(trained_flops(record) for record in records)
    todo = math.fsum(max(0, one.cell.runs - one.done) * one.cell.flops for one in cells)
    if spec.budget.flops is not None:
        todo = min(todo, max(0.0, spec.budget.flops - flops))
    seconds = todo / flops * clock if flops and clock else None
    if seconds is not None and spec.budget.wall_time is not None:
        seconds = min(seconds, max(0.0, spec.budget.wall_time - clock))
    return Progress(
        cells=cells,
        clock=clock,
        flops=flops,
        flops_left=todo,
        seconds_left=seconds,
        tokens_per_second=tokens / clock if clock else None,
    )


def measure_cell(spec: SweepSpec, cell: SweepCell, records: Sequence[Record]) -> CellProgress:
    """How far a cell is, from its own records."""
    finished = [r for r in records if r.status == "finished" and math.isfinite(r.loss)]
    best = None
    if finished:
        lowest = min(finished, key=lambda record: record.loss)
        best = Best(
            run_id=str(lowest.row["run_id"]),
            loss=lowest.loss,
            lr=float(lowest.row["lr"]),
            batch_tokens=float(lowest.row["batch_tokens"]),
            width=optimum_width(spec, cell, records) if len(finished) >= FEWEST else None,
        )
    statuses = dict(Counter(record.status for record in records))
    return CellProgress(cell=cell, statuses=statuses, best=best)


def optimum_width(spec: SweepSpec, cell: SweepCell, records: Sequence[Record]) -> float:
    """How well a cell's best lr and batch are known; the lowest loss is where they are looked for.

    Upper over lower end of the 80% interval, of lr or batch, whichever is wider.
    """
    import numpy as np

    from fitting.cells.few_runs import Tried, start_at
    from fitting.cells.search import find_local_optimum
    from fitting.surface.prior import neutral_surface
    from proxies.sweep.axes import lattice_points

    known = [r for r in records if r.status in ("finished", "diverged")]
    rows = np.array([(float(r.row["lr"]), float(r.row["batch_tokens"]), r.loss) for r in known])
    rows[~np.isfinite(rows[:, 2]), 2] = np.inf
    lr, batch_tokens, loss = rows[rows[:, 2].argsort(kind="stable")[:LOWEST]].T
    start = start_at(
        neutral_surface(),
        cell.params,
        cell.tokens,
        lr=float(lr[0]),
        batch_tokens=float(batch_tokens[0]),
    )
    tried = Tried(lr=lr, batch_tokens=batch_tokens, loss=loss, stopped=np.zeros(len(lr), bool))
    points = np.array([p[:2] for p in lattice_points(spec)]) * [1.0, spec.run.seq_len]
    limits = np.array([points.min(axis=0), points.max(axis=0)])
    return find_local_optimum(start, tried, limits=limits).width


def trained_tokens(record: Record) -> float:
    """Tokens that a run got to."""
    return float(record.row.get("tokens_seen", 0.0))


def trained_flops(record: Record) -> float:
    """6 params tokens of what a run got to."""
    return 6.0 * float(record.row["params"]) * trained_tokens(record)
