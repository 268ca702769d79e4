"""What an executor is given and gives back: a job, how it ended, and the desk between.

An executor is a function that takes jobs from a `Desk` as it has room for them and yields how each
ended, in any order. It returns when the desk has no job left and none of its own runs. Everything
else (which run is next, what is kept where) is the runner's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxies.run.result import RunResult, runs_row
from proxies.run.spec import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from proxies.sweep.folder.records import Row
    from proxies.sweep.spec import CorpusSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run to be trained."""

    run_id: str
    """One each in a sweep."""
    spec: RunSpec
    directory: Path | None
    """For checkpoints and the curve; None to keep nothing."""
    reports: bool = False
    """Whether the desk wants to hear of its losses on the way."""
    probes: tuple[str, ...] = ()
    """What is measured of the trained model, for `proxies.checks.probes.choose_probes`."""
    halvings: int = 0
    """How often memory ran out before: the micro-batch is halved as often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended."""

    run_id: str
    row: Row
    """Its row of the runs table, `status` and all."""
    tokens_per_second: float = math.nan
    """Of its updates after the first; NaN where there are too few to tell."""
    error: str | None = None
    """What went wrong, in one line, where `status` is failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where an executor takes jobs and asks what to do; and what it may train them on."""

    next_job: Callable[[], Job | None]
    """The next run; None where there is none now. After a run ended there may be one again."""
    report: Callable[[str, int, float], bool]
    """Told a run's id, report step and loss on the way; False to stop it as pruned."""
    stopping: Callable[[], bool]
    """Whether to put everything down: runs keep a checkpoint and are not yielded."""
    corpus: CorpusSpec
    workers: int | None = None
    """Runs at once, at least 1; None for as many as the executor thinks right."""
    independent: Callable[[], bool] = lambda: False
    """Whether the next run would be no other once those under way have ended."""
    spent: Callable[[], bool] = lambda: False
    """Whether time is up: runs that were taken and not begun are left to another session."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    address: str | None = None
    """Of a cluster, for executors that have one."""
    gpus: float | None = None
    """Of a run on a cluster with them; None for as many as the executor thinks right."""


Execute = Callable[[Desk], Iterator[Ended]]
"""An executor."""


def halved(job: Job) -> RunSpec:
    """The job's run with the micro-batch that is left of it."""
    if not job.halvings:
        return job.spec
    options = replace(job.spec.options, micro_batch_sequences=micro_sequences(job))
    return replace(job.spec, options=options)


def micro_sequences(job: Job) -> int:
    """Sequences of a micro-batch after the halvings, at least 1."""
    whole = job.spec.batching.sequences
    return max(1, min(job.spec.micro_sequences or whole, whole) >> job.halvings)


def can_halve(job: Job) -> bool:
    """Whether there is a smaller micro-batch."""
    return micro_sequences(job) > 1


def job_folder(job: Job) -> Path | None:
    """Where the attempt keeps its state: another micro-batch is another run to a checkpoint."""
    if job.directory is None or not job.halvings:
        return job.directory
    return job.directory / f"micro-{micro_sequences(job)}"


def failed_row(spec: RunSpec) -> Row:
    """The row of a run that could not be made: what it was meant to be."""
    nothing = RunResult(
        spec=spec,
        status="failed",
        tokens=0,
        unique_tokens=0,
        loss=math.nan,
        loss_se=math.nan,
        bits_per_byte=None,
        curve=(),
        probes={},
        seconds=math.nan,
        corpus="",
        corpus_fingerprint="",
    )
    return runs_row(nothing) | {"unique_tokens": math.nan}
