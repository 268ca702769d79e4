"""Run a sweep, or go on with one: the folder, the executor, and a clean end however it comes."""

from __future__ import annotations

import contextlib
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.corpus import open_corpus, require_tokens
from proxies.sweep.cells import expand_cells, settle_base
from proxies.sweep.executors import EXECUTORS
from proxies.sweep.executors.cluster import require_ray
from proxies.sweep.executors.desk import Desk, Execute
from proxies.sweep.executors.timing import CellEstimate, choose_executor, estimate_cells
from proxies.sweep.folder.about import (
    About,
    check_same,
    hold_lock,
    make_sweep_folder,
    read_about,
    write_about,
)
from proxies.sweep.search.studies import open_storage
from proxies.sweep.session import Session, SessionInputs

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from fitting.laws.law import Law
    from proxies.corpus import Corpus
    from proxies.sweep.cells import SweepCell
    from proxies.sweep.folder.records import Record
    from proxies.sweep.spec import SweepSpec


DEVICES = ("cpu", "cuda")
"""Kinds of device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """With what a sweep is run."""

    executor: str = "auto"
    """A key of `EXECUTORS`; auto goes on with the last one, or times them."""
    workers: int | None = None
    """Runs at once; None for as many as the executor thinks right."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    address: str | None = None
    """Of a Ray cluster."""
    gpus: float | None = None
    """GPUs of a run on a Ray cluster, a fraction or a whole number."""
    storage: str | None = None
    """URL of a database for the studies; None for a file in the folder."""
    extend: bool = False
    """Whether a changed spec is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a session ended."""

    runs: int
    """Records that the folder has."""
    stopped: bool
    """Whether it was told to stop."""
    reasons: dict[str, str]
    """Why each closed cell needs no more runs."""
    spent: str | None
    """Which budget of the sweep is spent."""


def run_sweep(
    spec: SweepSpec,
    folder: Path,
    *,
    law: Law | None = None,
    means: Means | None = None,
    execute: Execute | None = None,
    on_start: Callable[[Session], None] = lambda session: None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> Ending:
    """Make the runs of a sweep that are not there yet.

    A run is recorded once and on disk before it counts; a session that is killed, at any moment,
    is gone on with by the same call. SIGINT and SIGTERM put the runs under way down with
    checkpoints; a second one kills.

    Args:
        spec: checked.
        folder: of this sweep, or new.
        law: that `spec.search.law` names.
        means: executor, workers, device and storage.
        execute: an executor that is not in `EXECUTORS`, instead of the one of `means`.
        on_start: told of the session before its first run.
        on_record: told of each run that is done.

    Raises:
        InputError: another spec, another writer, a folder that cannot be written, a corpus that is
            too small, or a run that cannot be made.
    """
    means = means or Means()
    check_means(means)
    corpus, cells = open_cells(spec)
    make_sweep_folder(folder)
    with hold_lock(folder):
        desk = make_desk(spec, means)
        about = agree(spec, folder, means, corpus, find_executor(spec, cells, means, folder, desk))
        storage = open_storage(folder, about.storage)
        session = Session(
            SessionInputs(
                about=about, folder=folder, cells=cells, corpus=corpus, law=law, storage=storage
            )
        )
        desk = replace(
            desk,
            next_job=session.next_job,
            report=session.report,
            stopping=session.stopping,
            independent=session.independent,
            spent=session.out_of_time,
        )
        on_start(session)
        with stopping_on_signals(session.stop), keeping_table(session, folder):
            for ended in (execute or EXECUTORS[about.executor].execute)(desk):
                on_record(session.record(ended))
        return Ending(
            runs=len(session.records.done),
            stopped=session.stopped,
            reasons=session.closed,
            spent=session.why_spent(),
        )


def estimate_sweep(spec: SweepSpec, means: Means) -> tuple[str, Desk, list[CellEstimate]]:
    """What a sweep would take: its executor, with the desk that it had, and each cell's cost.

    Raises:
        InputError: as `run_sweep`, as far as no folder is needed.
    """
    check_means(means)
    _, cells = open_cells(spec)
    desk = make_desk(spec, means)
    name = means.executor
    if name == "auto":
        name = choose_executor(spec, cells, desk)
    return name, desk, estimate_cells(spec, cells, desk, name=name)


def check_means(means: Means) -> None:
    """Refuse means that there are not.

    Raises:
        InputError: an unknown executor or kind of device, fewer than one worker, or a cluster for
            an executor that has none.
    """
    known = ("auto", *EXECUTORS)
    if means.executor not in known:
        raise InputError(
            f"--executor '{means.executor}': no such executor"
            f"{nearest_name(means.executor, known)}; known: {', '.join(known)}"
        )
    if means.device.partition(":")[0] not in DEVICES:
        raise InputError(f"--device '{means.device}': not known; one of cpu, cuda or cuda:N")
    if means.workers is not None and means.workers < 1:
        raise InputError(f"--workers {means.workers}: at least 1")
    check_cluster(means)


def check_cluster(means: Means) -> None:
    """Refuse what there is not on a Ray cluster, and what there is only there.

    Raises:
        InputError: the first of it.
    """
    if means.executor == "ray":
        require_ray()
        if ":" in means.device:
            raise InputError(f"--device {means.device}: Ray picks the GPU of a run; say cuda")
    for name, value in (("--address", means.address), ("--gpus", means.gpus)):
        if value is not None and means.executor != "ray":
            raise InputError(f"{name} {value}: is of a Ray cluster; add --executor ray")
    if means.gpus is None:
        return
    if means.device == "cpu":
        raise InputError(f"--gpus {means.gpus:g}: the runs are on cpu; add --device cuda")
    if means.gpus <= 0 or (means.gpus > 1 and means.gpus % 1):
        raise InputError(f"--gpus {means.gpus:g}: a fraction above 0, or a whole number")


def open_cells(spec: SweepSpec) -> tuple[Corpus, tuple[SweepCell, ...]]:
    """The corpus of a sweep, and its cells with the corpus's vocabulary.

    Raises:
        InputError: there is no such corpus, or too little of it for the longest run.
    """
    corpus = open_corpus(spec.corpus.source, tokenizer=spec.corpus.tokenizer)
    cells = expand_cells(spec, vocab_size=corpus.vocab_size)
    longest = max(cell.tokens for cell in cells)
    require_tokens(corpus, tokens=longest, seq_len=spec.run.seq_len, epochs=spec.run.epochs)
    return corpus, cells


def make_desk(spec: SweepSpec, means: Means) -> Desk:
    """A desk without jobs."""
    return Desk(
        next_job=lambda: None,
        report=lambda run_id, step, loss: True,
        stopping=lambda: False,
        corpus=spec.corpus,
        workers=means.workers,
        device=means.device,
        address=means.address,
        gpus=means.gpus,
    )


def find_executor(
    spec: SweepSpec, cells: tuple[SweepCell, ...], means: Means, folder: Path, desk: Desk
) -> str:
    """The executor that was asked for; for auto the folder's, or the fastest in a short timing."""
    if means.executor != "auto":
        return means.executor
    before = read_about(folder)
    return choose_executor(spec, cells, desk) if before is None else before.executor


def agree(spec: SweepSpec, folder: Path, means: Means, corpus: Corpus, executor: str) -> About:
    """What the folder's sweep is from now on.

    Raises:
        InputError: the folder's sweep differs.
    """
    before = read_about(folder)
    spec = settle_base(spec, like=None if before is None else before.spec)
    about = About(
        sweep_id=uuid.uuid4().hex,
        spec=spec,
        corpus_fingerprint=corpus.fingerprint,
        vocab_size=corpus.vocab_size,
        executor=executor,
        storage=means.storage,
    )
    if before is not None:
        check_same(spec, before.spec, where=str(folder), extend=means.extend)
        if before.corpus_fingerprint != corpus.fingerprint:
            raise InputError(
                f"{folder}: made with another version of the corpus {corpus.name} "
                f"({before.corpus_fingerprint[:12]}, not {corpus.fingerprint[:12]}); "
                "its runs would not compare, name another DIR"
            )
        if means.storage not in (None, before.storage):
            raise InputError(
                f"--storage {means.storage}: the studies of {folder} are in "
                f"{before.storage or 'its own file'}; leave it out"
            )
        about = replace(about, sweep_id=before.sweep_id, storage=before.storage)
    if about != before:
        write_about(folder, about)
    return about


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first SIGINT or SIGTERM; the second does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in caught}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        restore()
        stop()

    for number in caught:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def keeping_table(session: Session, folder: Path) -> Iterator[None]:
    """Leave a runs table of all records, whatever ends the session.

    Raises:
        InputError: a folder that cannot be written any more; the table is the last that could be.
    """
    try:
        yield
    except BaseException as error:
        # What was wrong first is what the user should read.
        with contextlib.suppress(InputError):
            session.records.write_table()
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
        raise
    session.records.write_table()
