"""The Optuna studies of a sweep: one a cell, in a journal file or a database.

A trial is stored with its whole point in one step, as running; its number is then its place in the
study whatever is killed when. What is done is what `records` say: a study is brought up to them at
the start of a session, and the trials that ran when the last one ended run again. Samplers and
pruners work on a copy in memory, which is faster and where what they note is no half-made trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from fitting.errors import InputError
from proxies.sweep.folder.records import Record, cut_torn_line
from proxies.sweep.search.pruning import make_pruner
from proxies.sweep.search.samplers import (
    Point,
    SpecSampler,
    distributions,
    keep_varied,
    live_trials,
    save_start,
    saved_start,
)

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.study import Study

    from fitting.cells.few_runs import Start
    from proxies.sweep.folder.about import About
    from proxies.sweep.spec import SweepSpec

JOURNAL = "study.log"
"""Name of the journal file in a sweep's folder."""


@dataclass(frozen=True, slots=True)
class CellStudy:
    """The study of a cell."""

    memory: Study
    """Where it is read, sampled and pruned."""
    stored: Study
    """Where it is kept; told of each change once."""
    storage: BaseStorage
    """That `stored` is in."""

    def tell(self, record: Record) -> None:
        """Say what came of a trial.

        A run that diverged has value infinity; one that failed counts as never made.
        """
        for study in (self.memory, self.stored):
            if record.status == "pruned":
                study.tell(record.number, state=TrialState.PRUNED)
            elif record.status == "failed":
                study.tell(record.number, state=TrialState.FAIL)
            else:
                known = record.status == "finished" and math.isfinite(record.loss)
                study.tell(record.number, record.loss if known else math.inf)

    def start_from(self, start: Start) -> None:
        """Keep where the cell's search starts."""
        for study in (self.memory, self.stored):
            save_start(study, start)


@contextmanager
def refusing_storage_errors(where: str) -> Iterator[None]:
    """Say an error of Optuna's storage in one line.

    Raises:
        InputError: the studies cannot be read or written.
    """
    try:
        yield
    except (OSError, StorageInternalError, ImportError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{where}: the studies cannot be kept there ({reason})") from error


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """The storage of a sweep's studies; the caller holds the folder's lock.

    Raises:
        InputError: the file or database cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is not None:
        with refusing_storage_errors(url):
            try:
                return optuna.storages.get_storage(url)
            except ValueError as error:
                raise InputError(f"--storage {url}: {str(error).splitlines()[0]}") from error
    path = folder / JOURNAL
    cut_torn_line(path)
    with refusing_storage_errors(str(path)):
        # Whoever held it is dead, as the folder's lock is ours.
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))


def open_study(storage: BaseStorage, about: About, cell: str) -> CellStudy:
    """The study of a cell, made where it is missing.

    Raises:
        InputError: the database has one of another sweep by that name.
    """
    stored = optuna.create_study(storage=storage, study_name=cell, load_if_exists=True)
    owner = stored.user_attrs.get("sweep")
    if owner is None:
        stored.set_user_attr("sweep", about.sweep_id)
    elif owner != about.sweep_id:
        raise InputError(
            f"--storage {about.storage}: has the study {cell} of another sweep; "
            "give each sweep its own database"
        )
    memory = optuna.create_study(
        study_name=cell, sampler=SpecSampler(about.spec), pruner=make_pruner(about.spec)
    )
    start = saved_start(stored)
    if start is not None:
        save_start(memory, start)
    memory.add_trials(stored.get_trials(deepcopy=False))
    return CellStudy(memory, stored, storage)


def ask(study: CellStudy, spec: SweepSpec, *, point: Point | None = None) -> FrozenTrial:
    """A new running trial at a point, or at the one that the sampler wants.

    Raises:
        InputError: the sampler has no point left.
    """
    if point is not None:
        study.memory.enqueue_trial(keep_varied(point, distributions(spec)))
    number = study.memory.ask(distributions(spec)).number
    trial = study.memory.get_trials(deepcopy=False)[number]
    study.stored.add_trial(trial)
    return trial


def report(study: CellStudy, trial: FrozenTrial, *, step: int, loss: float) -> bool:
    """Note the loss of a running trial, and say whether it goes on."""
    of_memory, of_storage = (
        each.get_trials(deepcopy=False)[trial.number]._trial_id
        for each in (study.memory, study.stored)
    )
    study.memory._storage.set_trial_intermediate_value(of_memory, step, loss)
    study.storage.set_trial_intermediate_value(of_storage, step, loss)
    now = study.memory.get_trials(deepcopy=False)[trial.number]
    return not study.memory.pruner.prune(study.memory, now)


def catch_up(study: CellStudy, records: list[Record]) -> list[FrozenTrial]:
    """Tell a study of the records that it missed, and return the trials to run again.

    Raises:
        InputError: the study lacks a trial that is recorded.
    """
    trials = study.memory.get_trials(deepcopy=False)
    for record in records:
        if record.number >= len(trials):
            raise InputError(
                f"study {study.memory.study_name}: lacks trial {record.number}, which is recorded; "
                "restore the studies, or start again in another DIR"
            )
        if not trials[record.number].state.is_finished():
            study.tell(record)
    return [trial for trial in live_trials(study.memory) if not trial.state.is_finished()]
