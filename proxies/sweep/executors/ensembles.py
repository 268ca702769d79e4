"""Runs trained as ensembles: those that stack go through one batched model together.

Jobs are taken ahead as long as none depends on how the others end, until a stack is full. One that
stacks with no other is a stack of one, so that a kill, after which the stacks are others, changes
no loss: a stack's rows are the same bits whatever their number, on one CPU thread and on two in
every case tried, which a run alone is not. Runs that cannot stack are trained alone, and so are
those of a stack that failed for another reason than memory; where memory ran out, stacks are half
as large from then on.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from proxies.sweep.axes import batch_lattice, sequence_bounds
from proxies.sweep.cells import count_runs
from proxies.sweep.executors.desk import Desk, Ended, Job, halved, job_folder
from proxies.sweep.search.samplers import PLANNED
from proxies.sweep.spec import AxisRange

if TYPE_CHECKING:
    from proxies.corpus import Corpus
    from proxies.sweep.spec import SweepSpec

ROWS = {"cpu": 8, "cuda": 64}
"""Runs of a stack where no number is given, by kind of device. *Assumed*: what a CPU gains it gains
with a few (`python -m tests.benchmarks.ensemble`); a GPU has room for more."""

AHEAD = 4
"""Full stacks of runs that are taken at most: a grid has several batches, and each is a stack."""


def most_rows(desk: Desk) -> int:
    """Most runs of a stack."""
    return desk.workers or ROWS[desk.device.partition(":")[0]]


def rows_together(desk: Desk, spec: SweepSpec) -> int:
    """Runs that a stack of the sweep has: those of one batch in a cell, or one in a search."""
    search = spec.search
    alone = spec.run.optimizer != "adamw" or bool(spec.run.probes)
    if PLANNED.get(search.sampler) != math.inf or alone:
        return 1
    batches = len(batch_lattice(search.batch_tokens, seq_len=spec.run.seq_len))
    if search.sampler == "random" and isinstance(search.batch_tokens, AxisRange):
        low, high = sequence_bounds(search.batch_tokens, seq_len=spec.run.seq_len)
        batches = high - low + 1
    return min(most_rows(desk), max(1, count_runs(spec) // batches))


def run_ensembles(desk: Desk) -> Iterator[Ended]:
    """Train runs that stack together, stack after stack, in this process.

    Raises:
        InputError: a run that cannot be made, or a folder that cannot be written.
    """
    from proxies.corpus import open_corpus
    from proxies.sweep.executors.train_job import free_memory, is_out_of_memory

    corpus = open_corpus(desk.corpus.source, tokenizer=desk.corpus.tokenizer)
    waiting: list[Job] = []
    alone: set[str] = set()
    most = most_rows(desk)
    while not desk.stopping():
        take_ahead(desk, waiting, enough=most)
        if not waiting or desk.spent():
            return
        if waiting[0].run_id in alone or not stacks(waiting[0]):
            yield from train_alone(waiting, corpus, desk)
            continue
        free = (job for job in waiting if job.run_id not in alone)
        stack = [job for job in free if fits(waiting[0], job)][:most]
        error = yield from train_stack(stack, waiting, corpus, desk)
        if error is None:
            continue
        free_memory(desk.device)
        if is_out_of_memory(error) and len(stack) > 1:
            most = len(stack) // 2
        else:
            alone.update(job.run_id for job in stack)


def take_ahead(desk: Desk, waiting: list[Job], *, enough: int) -> None:
    """Take runs until the first one's stack is full, as long as they do not wait for any other."""
    fitting = sum(fits(waiting[0], job) for job in waiting)
    while fitting < enough and len(waiting) < AHEAD * enough and not desk.stopping():
        if waiting and not desk.independent():
            return
        job = desk.next_job()
        if job is None:
            return
        waiting.append(job)
        fitting += fits(waiting[0], job)


def stacks(job: Job) -> bool:
    """Whether a run can be in a stack; probes look at a model of its own."""
    from proxies.train.ensemble import why_alone

    return not job.probes and why_alone(halved(job)) is None


def fits(first: Job, job: Job) -> bool:
    """Whether two runs can be in one stack; a run with itself always."""
    from proxies.train.ensemble import stackable

    if first is job:
        return True
    return stacks(job) and len(stackable([halved(first), halved(job)])) == 1


def train_alone(waiting: list[Job], corpus: Corpus, desk: Desk) -> Iterator[Ended]:
    """Train the first of the runs that wait.

    Raises:
        InputError: a run that cannot be made, or its directory cannot be written.
    """
    from proxies.sweep.executors.train_job import train_job

    ended = train_job(
        waiting[0], corpus, device=desk.device, report=desk.report, stopping=desk.stopping
    )
    if ended is not None:
        del waiting[0]
        yield ended


def train_stack(
    stack: Sequence[Job], waiting: list[Job], corpus: Corpus, desk: Desk
) -> Generator[Ended, None, Exception | None]:
    """Train runs together; each is taken from those that wait when it ends.

    Returns:
        What went wrong with the whole, where the others are to be trained otherwise.

    Raises:
        InputError: a run that cannot be made, or its directory cannot be written.
    """
    from proxies.sweep.executors.train_job import RunWatch, end_job
    from proxies.train.ensemble import each_result

    watches = [RunWatch(job, desk.report, lambda: False, desk.device) for job in stack]
    results = each_result(
        [halved(job) for job in stack],
        corpus,
        device=desk.device,
        directories=[job_folder(job) for job in stack],
        on_step=lambda place, point: watches[place].see(point),
        stopping=desk.stopping,
    )
    try:
        for place, result in results:
            waiting.remove(stack[place])
            yield end_job(watches[place], result)
    except (RuntimeError, MemoryError) as error:
        # The traceback holds the stack's tensors.
        return error.with_traceback(None)
    return None
