"""One job of a sweep trained in this process: reports on the way, less memory where it runs out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from proxies.checks.probes import choose_probes
from proxies.run.result import CurvePoint, RunResult, runs_row
from proxies.run.spec import RunSpec
from proxies.sweep.executors.desk import Ended, Job, can_halve, failed_row, halved, job_folder
from proxies.sweep.search.pruning import REPORTS, WHOLE, report_step
from proxies.train.loop import train_run
from proxies.train.state import UNREAD_UPDATES

if TYPE_CHECKING:
    from proxies.corpus import Corpus

NO_MEMORY = ("can't allocate memory", "out of memory")
"""What torch says, in a RuntimeError, where an allocation failed on the CPU or outside its own
allocator on a GPU."""


@dataclass(slots=True)
class RunWatch:
    """What is seen of a run's updates while they are made."""

    job: Job
    report: Callable[[str, int, float], bool]
    stopping: Callable[[], bool]
    device: str = "cpu"
    """Where it is trained."""
    points: list[CurvePoint] = field(default_factory=list)
    """Updates of this process."""
    reported: int = 0
    """Last report step."""
    started: float = 0.0
    """When the first updates that are read together here were done."""
    last: float = 0.0
    """When the last one was."""

    def see(self, point: CurvePoint) -> bool:
        """Whether the run goes on after an update."""
        self.last = time.perf_counter()
        self.points.append(point)
        if len(self.points) == self.first:
            self.started = self.last
        if self.stopping():
            return False
        step = report_step(point.tokens, self.job.spec.total_tokens)
        if not self.job.reports or step is None or step <= self.reported or step == WHOLE:
            return True
        self.reported = step
        return self.report(self.job.run_id, step, recent_loss(self.points, self.job.spec))

    @property
    def first(self) -> int:
        """Updates that are read together."""
        return UNREAD_UPDATES[torch.device(self.device).type]

    @property
    def tokens_per_second(self) -> float:
        """Of the updates after the first that are read."""
        if len(self.points) <= self.first or self.last <= self.started:
            return math.nan
        before = self.points[self.first - 1].tokens
        return (self.points[-1].tokens - before) / (self.last - self.started)


def recent_loss(points: list[CurvePoint], spec: RunSpec) -> float:
    """Mean training loss of the updates of the last 5% of the run's tokens."""
    since = points[-1].tokens - spec.total_tokens * REPORTS / WHOLE
    return fmean(point.loss for point in points if point.tokens > since)


def train_job(
    job: Job,
    corpus: Corpus,
    *,
    device: str,
    report: Callable[[str, int, float], bool],
    stopping: Callable[[], bool],
) -> Ended | None:
    """Train a run; where memory runs out, again with half the micro-batch.

    Args:
        job: goes on from the checkpoint in its directory.
        corpus: open.
        device: cpu, cuda or cuda:N.
        report: told id, report step and loss; False to stop the run as pruned.
        stopping: whether to put the run down with a checkpoint.

    Returns:
        How it ended, or None where it was put down.

    Raises:
        InputError: the run cannot be made, or its directory cannot be written.
    """
    # Probes are written for our own model; the trainer takes those of any module.
    probes: list[Any] = choose_probes(job.probes)
    while True:
        spec = halved(job)
        watch = RunWatch(job, report, stopping, device)
        try:
            result = train_run(
                spec,
                corpus,
                directory=job_folder(job),
                device=device,
                probes=probes,
                on_step=watch.see,
            )
        except (RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if not is_out_of_memory(error):
                return Ended(run_id=job.run_id, row=failed_row(spec), error=reason)
            if not can_halve(job):
                what = "out of memory with a micro-batch of one sequence"
                return Ended(run_id=job.run_id, row=failed_row(spec), error=what)
        else:
            if result.status == "pruned" and stopping():
                return None
            return end_job(watch, result)
        # The failed attempt's tensors live on in the traceback until here.
        job = replace(job, halvings=job.halvings + 1)
        free_memory(device)


def end_job(watch: RunWatch, result: RunResult) -> Ended:
    """How a job ended, by its result."""
    row = runs_row(result) | {"out_of_memory": float(watch.job.halvings)}
    if result.spec.micro_sequences is not None:
        row["micro_batch_sequences"] = float(result.spec.micro_sequences)
    return Ended(run_id=watch.job.run_id, row=row, tokens_per_second=watch.tokens_per_second)


def free_memory(device: str) -> None:
    """Give back what torch keeps of the memory of tensors that are gone."""
    if device != "cpu":
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an attempt failed for want of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in NO_MEMORY)
