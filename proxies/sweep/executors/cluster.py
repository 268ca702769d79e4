"""Runs trained on a Ray cluster, each a task with a core or part of a GPU, on any number of nodes.

The driver alone writes the sweep's folder: a run trains in a temporary folder of its node, from
the files that the driver has of it, and what it leaves comes back with its end. The nodes need this
package and, where the corpus is a file, that at the same path. A run whose node or process is lost
is handed out again; nodes may come and go.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from proxies.sweep.executors.desk import Desk, Ended, Job, can_halve, failed_row, halved
from proxies.sweep.executors.processes import DEATHS, GPU_WORKERS, LOOK, PATIENCE
from proxies.sweep.executors.remote import (
    Board,
    NodeOutcome,
    read_folder,
    train_remote,
    write_folder,
)

if TYPE_CHECKING:
    from types import ModuleType

NODE_LOSSES = 20
"""Nodes that a run may lose before it counts as failed: the end of a spot machine says little about
the run."""

ANSWER = 10.0
"""Seconds that the head of a cluster has to answer."""

WAITING = 10_000
"""Runs that may wait for the driver's answer at a time."""


@dataclass(slots=True)
class Cluster:
    """The runs that are under way, seen from the driver."""

    ray: ModuleType
    desk: Desk
    board: Any
    """Handle of the actor through which runs and driver talk."""
    fingerprint: str
    """Of the corpus that every node must have."""
    under_way: dict[Any, tuple[int, Job]] = field(default_factory=dict)
    """Number of the attempt and job, by the reference of its outcome."""
    again: list[Job] = field(default_factory=list)
    """Jobs whose attempts were lost."""
    losses: dict[tuple[str, str], int] = field(default_factory=dict)
    """Attempts lost by run and by how."""
    attempts: int = 0


def require_ray() -> None:
    """Refuse to go on without Ray, in one line that names the extra.

    Raises:
        InputError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise InputError("--executor ray: needs ray; pip install 'windtunnel[cluster]'")


def run_cluster(desk: Desk) -> Iterator[Ended]:
    """Train runs on the nodes of a Ray cluster, as many at a time as it has room for.

    Raises:
        InputError: Ray is not installed, there is no such cluster, a run cannot be made, or a
            folder cannot be written.
    """
    from proxies.corpus import open_corpus

    corpus = open_corpus(desk.corpus.source, tokenizer=desk.corpus.tokenizer)
    with join_cluster(desk.address) as ray:
        cluster = Cluster(ray, desk, make_board(ray), corpus.fingerprint)
        report = cluster.board.take.remote()
        give_up = None
        while True:
            if give_up is None and desk.stopping():
                give_up = time.monotonic() + PATIENCE
                cluster.board.stop.remote()
            _hand_out(cluster)
            if not cluster.under_way or (give_up is not None and time.monotonic() > give_up):
                return
            ready, _ = ray.wait([report, *cluster.under_way], timeout=LOOK)
            if report in ready:
                answer(cluster, *ray.get(report))
                report = cluster.board.take.remote()
                continue
            for reference in ready:
                ended = collect(cluster, reference)
                if ended is not None:
                    yield ended


def count_places(desk: Desk) -> int:
    """Runs that a cluster has room for.

    Raises:
        InputError: as `run_cluster`.
    """
    with join_cluster(desk.address) as ray:
        return find_room(ray, desk)


@contextmanager
def join_cluster(address: str | None) -> Iterator[ModuleType]:
    """Ray, connected to a cluster; without an address to `RAY_ADDRESS` or one on this machine.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    require_ray()
    check_address(address)
    import ray

    # Ray puts a handler of its own on SIGTERM.
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"--address {address}: no Ray cluster to be reached ({said})") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str | None) -> None:
    """Refuse an address where nobody listens, for which Ray itself would wait for minutes.

    Raises:
        InputError: it is no host and port, or nobody listens there.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--address '{address}': no cluster's; HOST:PORT of its head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except OSError as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error


def make_board(ray: ModuleType) -> Any:
    """The actor through which runs and driver talk, on the driver's own node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    options = {
        "num_cpus": 0,
        "max_concurrency": WAITING,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    return ray.remote(**options)(Board).remote()


def find_room(ray: ModuleType, desk: Desk) -> int:
    """Runs to be handed out at a time: what was asked for, or what the nodes of now can take.

    At least one, which waits for a node where there is none.
    """
    if desk.workers is not None:
        return desk.workers
    name, share = ("CPU", 1.0) if desk.device == "cpu" else ("GPU", gpu_share(desk))
    return max(1, int(ray.cluster_resources().get(name, 0.0) / share + 1e-6))


def gpu_share(desk: Desk) -> float:
    """GPUs of a run."""
    return desk.gpus or 1 / GPU_WORKERS


def _hand_out(cluster: Cluster) -> None:
    """Give jobs to the cluster as far as it has room."""
    ray, desk = cluster.ray, cluster.desk
    gpus = 0 if desk.device == "cpu" else gpu_share(desk)
    task = ray.remote(max_retries=0, num_cpus=1, num_gpus=gpus)(train_remote)
    most = find_room(ray, desk)
    while len(cluster.under_way) < most and not desk.stopping():
        job = cluster.again.pop() if cluster.again else desk.next_job()
        if job is None:
            return
        cluster.attempts += 1
        outcome = task.remote(
            replace(job, directory=None),
            read_folder(job.directory),
            desk.corpus,
            fingerprint=cluster.fingerprint,
            device=desk.device,
            board=cluster.board,
            attempt=cluster.attempts,
        )
        cluster.under_way[outcome] = (cluster.attempts, job)


def answer(cluster: Cluster, attempt: int, step: int, loss: float) -> None:
    """Answer a report; an attempt that was given up for lost hears that it is to stop."""
    job = dict(cluster.under_way.values()).get(attempt)
    go_on = job is not None and cluster.desk.report(job.run_id, step, loss)
    cluster.board.answer.remote(attempt, go_on=go_on)


def collect(cluster: Cluster, reference: Any) -> Ended | None:
    """Take what came of an attempt; the end of its run if it is that.

    Raises:
        InputError: that the node met, or the run's folder cannot be written.
    """
    lost = cluster.ray.exceptions
    _, job = cluster.under_way.pop(reference)
    try:
        outcome: NodeOutcome = cluster.ray.get(reference)
    except lost.OutOfMemoryError:
        smaller = replace(job, halvings=job.halvings + 1) if can_halve(job) else job
        return lose(cluster, smaller, "process", most=DEATHS)
    except (lost.WorkerCrashedError, lost.LocalRayletDiedError):
        return lose(cluster, job, "process", most=DEATHS)
    except (lost.NodeDiedError, lost.ObjectLostError):
        return lose(cluster, job, "node", most=NODE_LOSSES)
    if outcome.refused is not None:
        raise InputError(f"a node of the cluster: {outcome.refused}")
    write_folder(job.directory, outcome.files)
    return outcome.ended


def lose(cluster: Cluster, job: Job, what: str, *, most: int) -> Ended | None:
    """Put a lost attempt's job back, or end it as failed where that came too often."""
    key = (job.run_id, what)
    cluster.losses[key] = cluster.losses.get(key, 0) + 1
    if cluster.losses[key] < most:
        cluster.again.append(job)
        return None
    said = f"its {what} died {most} times"
    return Ended(run_id=job.run_id, row=failed_row(halved(job)), error=said)
