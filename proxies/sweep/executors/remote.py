"""What a node of a cluster does for a sweep, and the board through which it talks to the driver."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from proxies.sweep.executors.desk import Ended, Job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxies.corpus import Corpus
    from proxies.sweep.spec import CorpusSpec

STATE = ".pt"
"""End of the names of checkpoints, which a run that has ended does not send back."""

LOOK = 1.0
"""Seconds between a run's looks at whether the sweep is to stop."""

Files = dict[str, bytes]
"""Contents by path in a run's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutcome:
    """What comes back from a node."""

    ended: Ended | None = None
    """None where the run was put down."""
    files: Files
    """What the run leaves in its folder."""
    refused: str | None = None
    """What an `InputError` said."""


class Board:
    """Where runs ask and the driver answers: an actor beside it, which the nodes' ends leave."""

    def __init__(self) -> None:
        """No run has asked yet."""
        self._reports: asyncio.Queue[tuple[int, int, float]] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._stopped = False

    async def ask(self, attempt: int, step: int, loss: float) -> bool:
        """Whether an attempt goes on after a report: waits for the driver's answer."""
        self._answers[attempt] = asyncio.get_running_loop().create_future()
        self._reports.put_nowait((attempt, step, loss))
        return await self._answers[attempt]

    async def take(self) -> tuple[int, int, float]:
        """The next report of any attempt: its number, report step and loss."""
        return await self._reports.get()

    async def answer(self, attempt: int, *, go_on: bool) -> None:
        """Answer an attempt's last report."""
        self._answers.pop(attempt).set_result(go_on)

    async def stop(self) -> None:
        """Tell all runs to put themselves down."""
        self._stopped = True

    async def is_stopped(self) -> bool:
        """Whether they are to."""
        return self._stopped


def train_remote(
    job: Job,
    files: Files,
    source: CorpusSpec,
    *,
    fingerprint: str,
    device: str,
    board: Any,
    attempt: int,
) -> NodeOutcome:
    """Train a run on this node: from the files that the driver has of it, in a folder of its own.

    Args:
        job: without a directory.
        files: of its folder.
        source: of the corpus.
        fingerprint: of the driver's corpus.
        device: cpu or cuda.
        board: handle of the driver's `Board`.
        attempt: number that the driver knows this attempt by.
    """
    import ray
    import torch

    from proxies.sweep.executors.train_job import train_job

    torch.set_num_threads(1)
    looked = stopped = 0.0

    def report(run_id: str, step: int, loss: float) -> bool:
        return bool(ray.get(board.ask.remote(attempt, step, loss)))

    def stopping() -> bool:
        nonlocal looked, stopped
        now = time.monotonic()
        if now - looked > LOOK:
            looked, stopped = now, ray.get(board.is_stopped.remote())
        return bool(stopped)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, files)
        try:
            corpus = open_same_corpus(source, fingerprint)
            ended = train_job(
                replace(job, directory=folder),
                corpus,
                device=device,
                report=report,
                stopping=stopping,
            )
        except InputError as error:
            return NodeOutcome(files={}, refused=str(error))
        left = read_folder(folder)
    if ended is not None:
        left = {name: content for name, content in left.items() if not name.endswith(STATE)}
    return NodeOutcome(ended=ended, files=left)


@cache
def open_same_corpus(source: CorpusSpec, fingerprint: str) -> Corpus:
    """The driver's corpus, opened once a process.

    Raises:
        InputError: there is none here, or another version of it.
    """
    from proxies.corpus import open_corpus

    corpus = open_corpus(source.source, tokenizer=source.tokenizer)
    if corpus.fingerprint != fingerprint:
        raise InputError(
            f"corpus {corpus.name}: another version than the driver's; copy the driver's there"
        )
    return corpus


def read_folder(folder: Path | None) -> Files:
    """All files of a run's folder; none where there is no folder."""
    if folder is None or not folder.is_dir():
        return {}
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def write_folder(folder: Path | None, files: Mapping[str, bytes]) -> None:
    """Put files into a run's folder, each in one step.

    Raises:
        InputError: they cannot be written.
    """
    # Imported here because it brings pandas, for which a driver without files does not wait.
    from fitting.files import replace_file

    if folder is None:
        return
    for name, content in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path.parent}: cannot be written ({error.strerror})") from error
        replace_file(path, content)
