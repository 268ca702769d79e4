"""One session of a sweep: which run is next, and what is done when one has ended.

The session holds the spec, the studies and the records; executors know none of them. Its decisions
are functions of the stored trials, so the next session goes on where this one ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna import get_all_study_names

from proxies.sweep.cells import make_run_spec, total_flops
from proxies.sweep.executors.desk import Ended, Job
from proxies.sweep.folder.about import drop_states, run_folder
from proxies.sweep.folder.progress import trained_flops
from proxies.sweep.folder.records import Record, Records
from proxies.sweep.search.samplers import is_planned, read_setting, saved_start, why_done
from proxies.sweep.search.starts import predict_start
from proxies.sweep.search.studies import CellStudy, ask, catch_up, open_study, report
from proxies.sweep.search.target import done_of, next_for_target, why_known

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from fitting.laws.law import Law
    from fitting.runs.tuned import TunedRuns
    from proxies.corpus import Corpus
    from proxies.sweep.cells import SweepCell
    from proxies.sweep.folder.about import About
    from proxies.sweep.search.samplers import Point

FAILURES = 2
"""Failed runs of a cell in one session after which it is left alone."""

RECENT = 64
"""Last records whose checkpoints may have outlived a kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInputs:
    """What a session works with."""

    about: About
    folder: Path
    cells: tuple[SweepCell, ...]
    corpus: Corpus
    law: Law | None
    storage: BaseStorage


class Session:
    """A sweep that is running."""

    def __init__(self, given: SessionInputs) -> None:
        """Read the records, bring the studies up to them, and find what was broken off.

        Raises:
            InputError: records or studies are damaged or cannot be written.
        """
        self.given = given
        self.records = Records(given.folder)
        self.stopped = False
        self.closed: dict[str, str] = {}
        """Cells that need no more runs, and why."""
        self._studies: dict[str, CellStudy] = {}
        self._running: dict[str, tuple[SweepCell, FrozenTrial]] = {}
        self._failures: dict[str, int] = {}
        self._clock = max((record.clock for record in self.records.done), default=0.0)
        self._started = time.monotonic()
        self._flops = math.fsum(trained_flops(record) for record in self.records.done)
        self._broken_off = self._catch_up()
        for record in self.records.done[-RECENT:]:
            drop_states(given.folder, str(record.row["run_id"]))

    @property
    def clock(self) -> float:
        """Seconds that the sweep has run for, over all sessions."""
        return self._clock + time.monotonic() - self._started

    def stop(self) -> None:
        """Start no further run and put down those that are under way."""
        self.stopped = True

    def stopping(self) -> bool:
        """Whether the session is to end."""
        return self.stopped

    def next_job(self) -> Job | None:
        """The next run: one that was broken off, or what the first open cell's sampler wants.

        Raises:
            InputError: the studies cannot be written.
        """
        if self.why_spent() is not None:
            return None
        if self._broken_off:
            return self._start(*self._broken_off.pop(0))
        if self.given.about.spec.search.target is not None:
            return self._next_for_target()
        cell = next(self._open_cells(), None)
        return None if cell is None else self._start(cell, self._ask(cell))

    def _open_cells(self) -> Iterator[SweepCell]:
        """Cells that need more runs, cheapest first; the others are closed on the way."""
        for cell in self.given.cells:
            if cell.name in self.closed:
                continue
            reason = why_done(self.given.about.spec, self._study(cell).memory, most_runs=cell.runs)
            if reason is None:
                yield cell
            else:
                self.closed[cell.name] = reason

    def _next_for_target(self) -> Job | None:
        """The run of any cell that tells most of the target; None closes all."""
        spec, law, cells = self.given.about.spec, self.given.law, [*self._open_cells()]
        running = [(cell, read_setting(spec, trial)) for cell, trial in self._running.values()]
        done = done_of(self.records.done, running, seq_len=spec.run.seq_len)
        most = spec.budget.flops or total_flops(self.given.cells)
        left = most - self._flops - math.fsum(cell.flops for cell, _ in running)
        reason = why_known(spec, self.given.cells, done, law=law)
        chosen = None if reason else next_for_target(spec, cells, done, law=law, left=left)
        if chosen is not None:
            cell, point = chosen
            return self._start(cell, self._ask(cell, point))
        for cell in cells:
            self.closed[cell.name] = reason or "what is left buys no further design"
        return None

    def _ask(self, cell: SweepCell, point: Point | None = None) -> FrozenTrial:
        return ask(self._study(cell), self.given.about.spec, point=point)

    def why_spent(self) -> str | None:
        """Which budget of the sweep is spent, or None."""
        budget = self.given.about.spec.budget
        running = math.fsum(cell.flops for cell, _ in self._running.values())
        if budget.flops is not None and self._flops + running >= budget.flops:
            return f"{budget.flops:.3g} FLOPs spent"
        if self.out_of_time():
            return f"{budget.wall_time:g} seconds spent"
        return None

    def independent(self) -> bool:
        """Whether the next run would be no other once those under way have ended."""
        if self._broken_off or not self._running:
            return True
        cell = next((cell for cell in self.given.cells if cell.name not in self.closed), None)
        return cell is not None and is_planned(self.given.about.spec, self._study(cell).memory)

    def out_of_time(self) -> bool:
        """Whether the sweep has run for its whole time."""
        wall_time = self.given.about.spec.budget.wall_time
        return wall_time is not None and self.clock >= wall_time

    def report(self, run_id: str, step: int, loss: float) -> bool:
        """Note a loss on the way, and say whether the run goes on."""
        cell, trial = self._running[run_id]
        return report(self._study(cell), trial, step=step, loss=loss)

    def record(self, ended: Ended) -> Record:
        """Keep what came of a run: on disk first, then in its study.

        Raises:
            InputError: it cannot be written.
        """
        cell, trial = self._running.pop(ended.run_id)
        record = Record(
            cell=cell.name,
            number=trial.number,
            clock=self.clock,
            row={"run_id": ended.run_id, **ended.row},
            error=ended.error,
        )
        self.records.add(record)
        self._study(cell).tell(record)
        drop_states(self.given.folder, ended.run_id)
        self._flops += trained_flops(record)
        if record.status == "failed":
            self._count_failure(cell, record)
        self.records.refresh_table()
        return record

    def _count_failure(self, cell: SweepCell, record: Record) -> None:
        """Open a cell again for a run in the place of a failed one, unless too many have."""
        self._failures[cell.name] = self._failures.get(cell.name, 0) + 1
        self.closed.pop(cell.name, None)
        if self._failures[cell.name] >= FAILURES:
            self.closed[cell.name] = f"{FAILURES} runs failed ({record.error})"

    def _start(self, cell: SweepCell, trial: FrozenTrial) -> Job:
        about, run_id = self.given.about, f"{cell.name}-{trial.number:04d}"
        self._running[run_id] = (cell, trial)
        setting = read_setting(about.spec, trial)
        return Job(
            run_id=run_id,
            spec=make_run_spec(about.spec, cell, setting),
            directory=run_folder(self.given.folder, run_id),
            reports=about.spec.search.pruner != "none",
            probes=about.spec.run.probes,
        )

    def _study(self, cell: SweepCell) -> CellStudy:
        """The study of a cell, with a start from the runs so far when it is new."""
        if cell.name in self._studies:
            return self._studies[cell.name]
        given = self.given
        study = open_study(given.storage, given.about, cell.name)
        if saved_start(study.memory) is None and not study.memory.get_trials(deepcopy=False):
            start = predict_start(
                given.about.spec, cell, law=given.law, runs=finished_runs(self.records.done)
            )
            if start is not None:
                study.start_from(start)
        self._studies[cell.name] = study
        return study

    def _catch_up(self) -> list[tuple[SweepCell, FrozenTrial]]:
        """Bring the studies up to the records; the trials that were broken off."""
        by_cell: dict[str, list[Record]] = {}
        for record in self.records.done:
            by_cell.setdefault(record.cell, []).append(record)
        there = {*by_cell, *get_all_study_names(self.given.storage)}
        return [
            (cell, trial)
            for cell in self.given.cells
            if cell.name in there
            for trial in catch_up(self._study(cell), by_cell.get(cell.name, []))
        ]


def finished_runs(records: Sequence[Record]) -> TunedRuns | None:
    """The runs that a surface can be fitted to; None where there are none."""
    from fitting.runs.tuned import TunedRuns

    names = ("params", "tokens", "lr", "batch_tokens", "loss")
    rows = [
        [float(record.row[name]) for name in names]
        for record in records
        if record.status == "finished" and math.isfinite(record.loss)
    ]
    return TunedRuns(*np.array(rows).T) if rows else None
