"""One job of a sweep trained in this process: reports on the way, less memory where it runs out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from proxies.probes import choose_probes
from proxies.run import CurvePoint, RunSpec, runs_row
from proxies.sweep.pruning import REPORTS, WHOLE, report_step
from proxies.sweep.trials import Ended, Job, can_halve, failed_row, halved, job_folder
from proxies.train import train_run

if TYPE_CHECKING:
    from proxies.corpus import Corpus

NO_MEMORY = ("can't allocate memory", "out of memory")
"""What torch says, in a RuntimeError, where an allocation failed on the CPU or outside its own
allocator on a GPU."""


@dataclass(slots=True)
class Watch:
    """What is seen of a run's updates while they are made."""

    job: Job
    report: Callable[[str, int, float], bool]
    stopping: Callable[[], bool]
    points: list[CurvePoint]
    """Updates of this process."""
    reported: int = 0
    """Last report step."""
    started: float = 0.0
    """When the first update here was done."""
    last: float = 0.0
    """When the last one was."""

    def see(self, point: CurvePoint) -> bool:
        """Whether the run goes on after an update."""
        self.last = time.perf_counter()
        self.started = self.started or self.last
        self.points.append(point)
        if self.stopping():
            return False
        step = report_step(point.tokens, self.job.spec.total_tokens)
        if not self.job.reports or step is None or step <= self.reported or step == WHOLE:
            return True
        self.reported = step
        return self.report(self.job.run_id, step, recent_loss(self.points, self.job.spec))

    @property
    def tokens_per_second(self) -> float:
        """Of the updates after the first."""
        if len(self.points) < 2 or self.last <= self.started:
            return math.nan
        return (self.points[-1].tokens - self.points[0].tokens) / (self.last - self.started)


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
        watch = Watch(job, report, stopping, points=[])
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
            row = runs_row(result) | {"out_of_memory": float(job.halvings)}
            if spec.micro_sequences is not None:
                row["micro_batch_sequences"] = float(spec.micro_sequences)
            return Ended(run_id=job.run_id, row=row, tokens_per_second=watch.tokens_per_second)
        # The failed attempt's tensors live on in the traceback until here.
        job = replace(job, halvings=job.halvings + 1)
        if device != "cpu":
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an attempt failed for want of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in NO_MEMORY)
