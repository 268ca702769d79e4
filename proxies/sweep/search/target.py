"""The sampler "target": the cell and the point that tell most of a target, by all runs so far.

Other samplers search one cell after another; this one asks `fitting.design` for the next run among
all cells of the spec, each with its lattice of lr and batch. A cell's `runs_per_cell` holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fitting.design import Candidates, Done, known_at, next_runs
from fitting.errors import InputError
from fitting.intervals import Z80
from proxies.sweep.axes import lattice_points
from proxies.sweep.search.starts import law_point, line_through

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fitting.laws.law import Law
    from fitting.surface.line import Line
    from proxies.sweep.cells import SweepCell, TrialSetting
    from proxies.sweep.folder.records import Record
    from proxies.sweep.search.samplers import Point
    from proxies.sweep.spec import SweepSpec


FEWEST_RUNS = 20
"""Finished runs before the target counts as known: a sweep that a prior ends says nothing. Two
designs of the sampler's in two cells. *Assumed.*"""


def next_for_target(
    spec: SweepSpec, cells: Sequence[SweepCell], done: Done, *, law: Law | None, left: float
) -> tuple[SweepCell, Point] | None:
    """The cell and point of the next run; None where no design can be bought or nothing is left.

    Args:
        spec: of the sweep, with `search.target`.
        cells: those that may have another run.
        done: runs that ended or are under way.
        law: that `spec.search.law` names; None where it names none.
        left: FLOPs.
    """
    points = [point[:2] for point in lattice_points(spec)]
    if not cells or left <= 0:
        return None
    settings = np.tile(np.array(points) * [1.0, spec.run.seq_len], (len(cells), 1))
    sizes = np.repeat([(cell.params, cell.tokens) for cell in cells], len(points), axis=0)
    sizes = sizes.astype(np.float64)
    options = Candidates(
        params=sizes[:, 0],
        tokens=sizes[:, 1],
        lr=settings[:, 0],
        batch_tokens=settings[:, 1],
        flops=6 * sizes.prod(axis=1),
    )
    line = target_line(spec, cells[0], law)
    try:
        (chosen,) = next_runs(
            done,
            target=target_of(spec),
            budget_flops=left,
            options=options,
            count=1,
            prior=line,
            seed=spec.search.seed % 2**32,
        )
    except InputError:
        return None
    assert chosen.row is not None
    cell, point = divmod(chosen.row, len(points))
    return cells[cell], dict(zip(("lr", "batch_sequences"), points[point], strict=True))


def target_of(spec: SweepSpec) -> tuple[float, float]:
    """Params and tokens of the target; the spec is checked to have one."""
    assert spec.search.target is not None
    return spec.search.target.params, spec.search.target.tokens


def target_line(spec: SweepSpec, cell: SweepCell, law: Law | None) -> Line | None:
    """The law as a prior, in the sweep's own optimizer and parametrization at a cell."""
    if law is None:
        return None
    return line_through(law_point(spec, cell, law), spec, cell, law)


def done_of(
    records: Iterable[Record], running: Iterable[tuple[SweepCell, TrialSetting]], *, seq_len: int
) -> Done:
    """The runs of a sweep: finished and diverged ones, those without a loss, those under way."""
    names = ("params", "tokens", "lr", "batch_tokens")
    rows = [
        [*(float(record.row[name]) for name in names), loss_of(record)]
        for record in records
        if record.status != "failed"
    ]
    rows += [
        [cell.params, cell.tokens, at.lr, at.batch_sequences * seq_len, math.nan]
        for cell, at in running
    ]
    return Done(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)


def loss_of(record: Record) -> float:
    """A finished run's loss; infinity of one that diverged, NaN of one that was stopped early."""
    if record.status == "diverged":
        return math.inf
    return record.loss if record.status == "finished" else math.nan


def why_known(
    spec: SweepSpec, cells: Sequence[SweepCell], done: Done, *, law: Law | None
) -> str | None:
    """Why the target needs no more runs, or None while its interval is wider than asked for."""
    width = spec.budget.interval_width
    if width is None:
        return None
    known = known_at(done, target=target_of(spec), prior=target_line(spec, cells[0], law))
    found = math.exp(2 * Z80 * max(known.lr_log_sd, known.batch_log_sd))
    if known.runs < FEWEST_RUNS or found > width:
        return None
    return f"best lr and batch at the target known within a factor {found:.3g}"
