"""Optuna studies, from a journal file or a database, by Optuna's own storage classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fitting.errors import InputError
from fitting.runs.readers import RunsReader, Track, as_table

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

SQLITE_MAGIC = b"SQLite format 3\x00"
"""First bytes of a SQLite file."""

SQLITE_URL = "sqlite:///"
"""What a URL of a SQLite file starts with."""

JOURNAL_KEY = b'"op_code"'
"""What each line of a journal file holds."""

STATES = {
    "COMPLETE": "finished",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
"""Status by Optuna's TrialState."""


def _recognizes(path: str) -> bool:
    """Whether it is a database URL, a SQLite file or a journal."""
    if "://" in path:
        return True
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        start = file.read(400)
    return start.startswith(SQLITE_MAGIC) or JOURNAL_KEY in start


def _read(path: str, track: Track) -> pd.DataFrame:
    """One row a trial: `run_id` (study/number), `status`, `loss` (its value), and what was set.

    A pruned or failed trial without a value keeps an empty loss.

    Raises:
        InputError: the storage cannot be read, has no trial, or a study has several objectives.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna raises errors of SQLAlchemy, JSON and its own here, with no common class.
    try:
        storage = open_storage(path)
        names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    except Exception as error:  # turned into one line, with its cause
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not an Optuna storage ({reason})") from error
    return as_table([row for study in studies for row in study_rows(study, path)], path, "trial")


def open_storage(path: str) -> BaseStorage:
    """The storage behind a URL, a SQLite file or a journal file, which must be there.

    Raises:
        FileNotFoundError: a file is missing; Optuna would make an empty one.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    file = Path(path.removeprefix(SQLITE_URL))
    if "://" in path and not path.startswith(SQLITE_URL):
        return RDBStorage(path, skip_table_creation=True)
    if not file.is_file():
        raise FileNotFoundError("no such file")
    if file.read_bytes()[: len(SQLITE_MAGIC)] == SQLITE_MAGIC:
        # Another tool's database, such as MLflow's, must not be given Optuna's tables.
        return RDBStorage(f"{SQLITE_URL}{file.resolve()}", skip_table_creation=True)
    return JournalStorage(JournalFileBackend(path))


def study_rows(study: Study, path: str) -> list[dict[str, object]]:
    """The trials of one study.

    Raises:
        InputError: it has several objectives, so that its loss is not one number.
    """
    if len(study.directions) > 1:
        raise InputError(
            f"{path}: study '{study.study_name}' has {len(study.directions)} objectives; "
            "export the one that is the loss as CSV (study.trials_dataframe)"
        )
    return [
        {
            **trial.user_attrs,
            **trial.params,
            "run_id": f"{study.study_name}/{trial.number}",
            "status": STATES[trial.state.name],
            "loss": trial.value,
        }
        for trial in study.get_trials(deepcopy=False)
    ]


READER = RunsReader(_recognizes, _read)
