"""Optional trackers, by name: each is told of a run when it is done, with its curve.

A tracker is a function of the sweep's folder that returns one of a finished run; it imports its
package itself. Runs that were recorded before this session are not sent again.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.sweep.folder.about import run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from proxies.sweep.folder.records import Record

SETTINGS = ("lr", "batch_tokens", "weight_decay", "seed", "params", "tokens", "optimizer")
"""Columns of the runs table that a tracker shows as what was set."""

OUTCOMES = ("loss", "bits_per_byte", "seconds")
"""Columns that it shows as what came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a tracker is told of a run."""

    run_id: str
    settings: dict[str, float | str]
    outcomes: dict[str, float]
    """Known ones only."""
    curve: list[dict[str, float]]
    """Updates in order: step, tokens, lr, loss and more."""


Tracker = Callable[[Told], None]


@contextmanager
def open_loggers(names: Sequence[str], folder: Path) -> Iterator[Callable[[Record], None]]:
    """A function that tells all the named trackers of a record.

    Raises:
        InputError: an unknown name, or its package is not installed.
    """
    with ExitStack() as stack:
        trackers = [stack.enter_context(open_tracker(name, folder)) for name in names]

        def log(record: Record) -> None:
            if trackers:
                told = tell_of(record, folder)
                for track in trackers:
                    track(told)

        yield log


@contextmanager
def open_tracker(name: str, folder: Path) -> Iterator[Tracker]:
    """One tracker, closed at the end.

    Raises:
        InputError: as `open_loggers`.
    """
    if name not in TRACKERS:
        raise InputError(
            f"--log '{name}': no such tracker{nearest_name(name, TRACKERS)}; "
            f"known: {', '.join(TRACKERS)}"
        )
    try:
        opened = TRACKERS[name](folder)
    except ImportError as error:
        raise InputError(f"--log {name}: {error.name} is missing; pip install {name}") from error
    try:
        yield next(opened)
    finally:
        next(opened, None)


def tell_of(record: Record, folder: Path) -> Told:
    """What trackers are told of a record."""
    row = record.row
    outcomes = {name: float(row[name]) for name in OUTCOMES if name in row}
    path = run_folder(folder, str(row["run_id"])) / "curve.csv"
    curve: list[dict[str, float]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            curve = [
                {name: float(value) for name, value in line.items() if value}
                for line in csv.DictReader(file)
            ]
    return Told(
        run_id=str(row["run_id"]),
        settings={name: row[name] for name in SETTINGS if name in row},
        outcomes={name: value for name, value in outcomes.items() if math.isfinite(value)},
        curve=curve,
    )


def to_tensorboard(folder: Path) -> Iterator[Tracker]:
    """One folder a run in `DIR/tensorboard`: curves by step, settings and outcomes as hparams."""
    from torch.utils.tensorboard import SummaryWriter

    def track(told: Told) -> None:
        with SummaryWriter(str(folder / "tensorboard" / told.run_id)) as writer:
            for point in told.curve:
                for name in ("loss", "lr", "grad_norm"):
                    writer.add_scalar(f"train/{name}", point[name], int(point["step"]))
            metrics = {f"final/{name}": value for name, value in told.outcomes.items()}
            writer.add_hparams(told.settings, metrics, run_name=".")

    yield track


def to_wandb(folder: Path) -> Iterator[Tracker]:
    """One run a run, in the project named after the sweep's folder."""
    import wandb

    def track(told: Told) -> None:
        with wandb.init(
            project=folder.resolve().name,
            name=told.run_id,
            config=told.settings,
            dir=str(folder),
        ) as run:
            for point in told.curve:
                run.log(point, step=int(point["step"]))
            run.summary.update(told.outcomes)

    yield track


def to_mlflow(folder: Path) -> Iterator[Tracker]:
    """One run a run, in the experiment named after the sweep's folder."""
    import mlflow

    mlflow.set_experiment(folder.resolve().name)

    def track(told: Told) -> None:
        with mlflow.start_run(run_name=told.run_id):
            mlflow.log_params(told.settings)
            for point in told.curve:
                mlflow.log_metrics(
                    {name: point[name] for name in ("loss", "lr")}, step=int(point["step"])
                )
            mlflow.log_metrics(told.outcomes)

    yield track


TRACKERS: Mapping[str, Callable[[Path], Iterator[Tracker]]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "mlflow": to_mlflow,
}
"""A tracker by name; only tensorboard is covered by a test."""
