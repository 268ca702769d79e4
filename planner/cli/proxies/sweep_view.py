"""What a sweep looks like: its cells in a table, live on a terminal; a dry run's estimate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fitting.units import format_count, format_small
from planner.cli.console import make_console
from proxies.sweep.cells import total_flops
from proxies.sweep.folder.progress import Best, CellProgress, Progress, measure_cell, sum_up

if TYPE_CHECKING:
    from proxies.sweep.cells import SweepCell
    from proxies.sweep.executors.timing import CellEstimate
    from proxies.sweep.folder.records import Record
    from proxies.sweep.session import Session
    from proxies.sweep.spec import SweepSpec

REFRESHES = 2.0
"""Of the live view in a second."""


class LiveView:
    """The progress of a running sweep; a cell is measured again where it is looked at."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._session: Session | None = None
        self._measured: dict[str, CellProgress] = {}

    def start(self, session: Session) -> None:
        """Watch a session that begins."""
        self._session = session

    def measure(self) -> Progress | None:
        """The progress now; None before the session has begun."""
        session = self._session
        if session is None:
            return None
        spec, done = session.given.about.spec, list(session.records.done)
        cells = tuple(self._measure(spec, cell, done) for cell in session.given.cells)
        return sum_up(spec, cells, done, clock=session.clock)

    def _measure(self, spec: SweepSpec, cell: SweepCell, done: list[Record]) -> CellProgress:
        """A cell's progress, kept until its next run; the live view asks from its own thread."""
        records = [record for record in done if record.cell == cell.name]
        kept = self._measured.get(cell.name)
        if kept is None or sum(kept.statuses.values()) != len(records):
            kept = self._measured[cell.name] = measure_cell(spec, cell, records)
        return kept

    def render(self) -> Group | Text:
        """The live view."""
        progress = self.measure()
        if progress is None:
            return Text("opening corpus and studies, timing executors")
        return Group(_make_table(progress), Text(_sum_line(progress)))


@contextmanager
def watch_sweep() -> Iterator[LiveView]:
    """Watch a sweep, live on stderr where that is a terminal."""
    watch = LiveView()
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield watch
        return
    with Live(
        console=console,
        get_renderable=watch.render,
        refresh_per_second=REFRESHES,
        transient=True,
    ):
        yield watch


def print_progress(progress: Progress, *, notes: Mapping[str, str]) -> None:
    """The table of cells, how far the sweep is, and a note on each cell that has one."""
    make_console().print(_make_table(progress), soft_wrap=True)
    print(_sum_line(progress))
    for cell, note in notes.items():
        print(f"{cell}: {note}")


def _make_table(progress: Progress) -> Table:
    """One line a cell: runs, and the best one with how well its optimum is known."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("params", "tokens", "runs", "best loss", "lr", "batch", "known within"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("otherwise")
    for one in progress.cells:
        table.add_row(
            format_count(one.cell.params),
            format_count(one.cell.tokens),
            f"{one.done}/{one.cell.runs}",
            *_best_cells(one.best),
            ", ".join(
                f"{n} {status}" for status, n in one.statuses.items() if status != "finished"
            ),
        )
    return table


def _best_cells(best: Best | None) -> tuple[str, str, str, str]:
    """The table's cells on the best run."""
    if best is None:
        return "", "", "", ""
    known = ""
    if best.width is not None:
        known = f"x {format_small(best.width, 2)}" if math.isfinite(best.width) else "on the edge"
    return f"{best.loss:.4f}", format_small(best.lr), format_count(best.batch_tokens), known


def _sum_line(progress: Progress) -> str:
    """How far the whole is, in one line."""
    parts = [f"{progress.done} of at most {progress.most} runs", _format_time(progress.clock)]
    if progress.tokens_per_second is not None:
        parts.append(f"{format_count(round(progress.tokens_per_second))} tokens/s")
    parts.append(f"{progress.flops:.3g} FLOPs done, at most {progress.flops_left:.3g} left")
    if progress.seconds_left is not None and progress.flops_left:
        parts.append(f"about {_format_time(progress.seconds_left)} to go")
    return ", ".join(parts)


def print_estimates(estimates: Sequence[CellEstimate], *, executor: str, at_once: int) -> None:
    """The cells of a dry run with their cost, and the whole."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("cell", "params", "tokens", "runs", "FLOPs", "tokens/s", "time"):
        table.add_column(name, justify="left" if name == "cell" else "right", no_wrap=True)
    for one in estimates:
        cell = one.cell
        table.add_row(
            cell.name,
            format_count(cell.params),
            format_count(cell.tokens),
            str(cell.runs),
            f"{cell.runs * cell.flops:.3g}",
            format_count(round(one.tokens_per_second)),
            _format_time(one.seconds),
        )
    make_console().print(table, soft_wrap=True)
    runs = sum(one.cell.runs for one in estimates)
    flops = total_flops(one.cell for one in estimates)
    seconds = math.fsum(one.seconds for one in estimates)
    print(
        f"{runs} runs, {flops:.3g} FLOPs, about {_format_time(seconds)} by {executor} "
        f"({at_once} at once, from a few timed steps)"
    )


def _format_time(seconds: float) -> str:
    """A time in its two largest units."""
    if not math.isfinite(seconds):
        return "unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
