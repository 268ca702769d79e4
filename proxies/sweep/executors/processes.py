"""Runs trained side by side, each in a process of its own: one a core, or several on a GPU.

A worker trains one job at a time with one thread. It dies with its parent, however that ends; a
worker that dies itself costs no more than the updates since its job's last checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from proxies.sweep.executors.desk import Desk, Ended, Job, can_halve, failed_row, halved

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.synchronize import Event

    from proxies.sweep.spec import CorpusSpec

GPU_WORKERS = 4
"""Workers of one GPU where no number is given: small models leave most of it idle. *Assumed*; the
timing of `auto` decides whether they are used."""

LOOK = 0.2
"""Seconds between looks at whether the sweep is to stop."""

PATIENCE = 30.0
"""Seconds that a worker has to put its run down."""

DEATHS = 3
"""Workers that may die over one job before it counts as failed."""


@dataclass(slots=True)
class Worker:
    """A process that trains, seen from its parent."""

    process: SpawnProcess
    connection: Connection[Any, Any]
    job: Job | None = None
    """What it trains; None while it waits."""


def most_workers(desk: Desk) -> int:
    """Most processes: one a core, or `GPU_WORKERS`."""
    if desk.workers is not None:
        return desk.workers
    return count_cores() if desk.device == "cpu" else GPU_WORKERS


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_processes(desk: Desk) -> Iterator[Ended]:
    """Train `most_workers` runs at a time, each in its own process.

    Raises:
        InputError: a run that cannot be made, or a folder that cannot be written.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    workers: list[Worker] = []
    again: list[Job] = []
    deaths: dict[str, int] = {}
    try:
        while True:
            _hand_out(desk, workers, again, stop)
            busy = [worker for worker in workers if worker.job is not None]
            if not busy:
                return
            wait([worker.connection for worker in busy], timeout=LOOK)
            if desk.stopping():
                stop.set()
            for worker in busy:
                while worker.job is not None and worker.connection.poll():
                    try:
                        ended = hear(worker, desk)
                    except (EOFError, ConnectionResetError):
                        workers.remove(worker)
                        ended = bury(worker, again, deaths)
                    if ended is not None:
                        yield ended
    finally:
        stop.set()
        dismiss(workers)


def _hand_out(desk: Desk, workers: list[Worker], again: list[Job], stop: Event) -> None:
    """Give jobs to idle workers, starting as many workers as there are jobs for."""
    while not desk.stopping():
        idle = next((worker for worker in workers if worker.job is None), None)
        if idle is None and len(workers) >= most_workers(desk):
            return
        job = again.pop() if again else desk.next_job()
        if job is None:
            return
        if idle is None:
            idle = start_worker(desk, stop)
            workers.append(idle)
        idle.job = job
        idle.connection.send(job)


def start_worker(desk: Desk, stop: Event) -> Worker:
    """A new process, waiting for a job."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=work, args=(theirs, stop, desk.corpus, desk.device), daemon=True
    )
    process.start()
    theirs.close()
    return Worker(process, ours)


def hear(worker: Worker, desk: Desk) -> Ended | None:
    """Take one message of a worker; the end of its run if it is that.

    Raises:
        InputError: that the worker met.
        EOFError: the worker died.
    """
    kind, said = worker.connection.recv()
    if kind == "report":
        worker.connection.send(desk.report(*said))
        return None
    if kind == "refused":
        raise InputError(said)
    worker.job = None
    ended: Ended | None = said
    return ended


def bury(worker: Worker, again: list[Job], deaths: dict[str, int]) -> Ended | None:
    """Put a dead worker's job back, with less memory where it was killed; or end it as failed."""
    worker.process.join()
    worker.connection.close()
    job, code = worker.job, worker.process.exitcode
    worker.job = None
    if job is None:
        return None
    deaths[job.run_id] = deaths.get(job.run_id, 0) + 1
    if deaths[job.run_id] >= DEATHS:
        said = f"its process died {DEATHS} times (exit code {code})"
        return Ended(run_id=job.run_id, row=failed_row(halved(job)), error=said)
    # Linux kills a process that asks for more memory than there is.
    killed = code == -signal.SIGKILL
    again.append(replace(job, halvings=job.halvings + 1) if killed and can_halve(job) else job)
    return None


def dismiss(workers: list[Worker]) -> None:
    """End all workers: those that wait at once, those that train when they have put it down."""
    for worker in workers:
        try:
            worker.connection.send(None)
        except OSError:
            # Its end of the pipe is closed: it hears nothing more, so that waiting is in vain.
            worker.process.kill()
    for worker in workers:
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


def work(connection: Connection[Any, Any], stop: Event, source: CorpusSpec, device: str) -> None:
    """What a worker does: train each job it is sent, until it is sent none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=die_with_parent, daemon=True).start()
    import torch

    from proxies.corpus import open_corpus
    from proxies.sweep.executors.train_job import train_job

    torch.set_num_threads(1)

    def report(run_id: str, step: int, loss: float) -> bool:
        connection.send(("report", (run_id, step, loss)))
        return bool(connection.recv())

    try:
        corpus = open_corpus(source.source, tokenizer=source.tokenizer)
        while (job := connection.recv()) is not None:
            ended = train_job(job, corpus, device=device, report=report, stopping=stop.is_set)
            connection.send(("ended", ended))
    except InputError as error:
        connection.send(("refused", str(error)))
    except (EOFError, BrokenPipeError):
        # The parent is gone, and nobody waits for an answer.
        return


def die_with_parent() -> None:
    """End this process when its parent has ended, by whatever means."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
