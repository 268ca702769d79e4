"""The ways to train a sweep's runs, by name; the sequential one is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxies.sweep.executors.cluster import count_places, run_cluster
from proxies.sweep.executors.desk import Desk, Ended, Execute
from proxies.sweep.executors.ensembles import rows_together, run_ensembles
from proxies.sweep.executors.processes import most_workers, run_processes

if TYPE_CHECKING:
    from proxies.sweep.spec import SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """A way to train runs."""

    execute: Execute
    at_once: Callable[[Desk, SweepSpec], int]
    """Runs of the sweep that it trains at a time."""
    automatic: bool
    """Whether `auto` times it against the others."""


def run_sequential(desk: Desk) -> Iterator[Ended]:
    """Train one run after the other in this process, with all the threads that torch has.

    Raises:
        InputError: a run that cannot be made, or a folder that cannot be written.
    """
    from proxies.corpus import open_corpus
    from proxies.sweep.executors.train_job import train_job

    corpus = open_corpus(desk.corpus.source, tokenizer=desk.corpus.tokenizer)
    while not desk.stopping() and (job := desk.next_job()) is not None:
        ended = train_job(
            job, corpus, device=desk.device, report=desk.report, stopping=desk.stopping
        )
        if ended is not None:
            yield ended


EXECUTORS: Mapping[str, Executor] = {
    "sequential": Executor(execute=run_sequential, at_once=lambda _desk, _spec: 1, automatic=True),
    "processes": Executor(
        execute=run_processes, at_once=lambda desk, _spec: most_workers(desk), automatic=True
    ),
    "ensemble": Executor(execute=run_ensembles, at_once=rows_together, automatic=True),
    "ray": Executor(
        execute=run_cluster, at_once=lambda desk, _spec: count_places(desk), automatic=False
    ),
}
"""An executor by name."""
