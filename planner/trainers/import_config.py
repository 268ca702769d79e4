"""A trainer's own config, read back: its file, what the user adds to it, the run.

Readers live in `planner/trainers/supported`, each beside its writer. What goes wrong in one becomes
a single line here that names the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from fitting.errors import InputError, WindtunnelError
from fitting.units import format_count
from planner.request.target import check_scale
from planner.trainers.export import find_trainer
from planner.trainers.files import Given
from proxies.run.defaults import AGREEMENT, LR_BOUNDS, WEIGHT_DECAY_BOUNDS
from proxies.run.shape import check_shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxies.run.spec import RunSpec

Found = TypeVar("Found")

BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a reader may raise at a file whose values are of kinds that it never writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    """A trainer's config as it was read."""

    trainer: str
    path: Path
    run: RunSpec
    """What it trains."""
    notes: tuple[str, ...]
    """What the file does not say and what stands in its place."""
    faults: tuple[str, ...] = ()
    """What its schedule says that no run can do; it was cut to the run to be read."""


def import_config(trainer: str, path: Path, given: Given | None = None) -> TrainerConfig:
    """The run that a trainer's config describes.

    Args:
        trainer: a module of `planner/trainers/supported`.
        path: the trainer's file, or its folder.
        given: what the user says beside the file; None for nothing.

    Raises:
        InputError: no such trainer, a file that its reader cannot read, or facts that contradict
            the file.
    """
    said = given or Given()
    found = find_trainer(trainer)
    files, notes = guarded(lambda: found.complete(path, said), trainer, path)
    faults = guarded(lambda: found.faults(files), trainer, path)
    run = guarded(lambda: found.read(files), trainer, path)
    check_run_read(run, path)
    check_scale((float(run.active.params), float(run.total_tokens)))
    check_given(run, path, said)
    return TrainerConfig(trainer=trainer, path=path, run=run, notes=notes, faults=faults)


def guarded(read: Callable[[], Found], trainer: str, path: Path) -> Found:
    """What a reader finds; whatever it raises names the file and is one line.

    Raises:
        InputError: the file is not what the trainer writes.
    """
    try:
        return read()
    except WindtunnelError as error:
        raise InputError(f"{path}: {error}") from error
    except BROKEN as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path}: not a config of {trainer} that can be read ({reason}); plan trainers says "
            "what is"
        ) from error


def check_run_read(run: RunSpec, path: Path) -> None:
    """Refuse what no run can have.

    Raises:
        InputError: naming the value.
    """
    check_shape(run.shape, where=str(path))
    for name, value, (low, high) in (
        ("sequence length", run.seq_len, (1, 1e9)),
        ("batch in sequences", run.batch_sequences, (1, 1e9)),
        ("lr", run.lr, LR_BOUNDS),
        ("weight decay", run.weight_decay, WEIGHT_DECAY_BOUNDS),
        ("beta1", run.optimizer.beta1, (0, 1)),
        ("beta2", run.optimizer.beta2, (0, 1)),
    ):
        # Written so that nan is refused too.
        if not low <= value <= high:
            raise InputError(f"{path}: {name} {value:g} must be {low:g} to {high:g}")


def check_given(run: RunSpec, path: Path, given: Given) -> None:
    """Refuse facts beside the file that contradict it.

    Raises:
        InputError: both numbers.
    """
    for option, value, said in (
        ("--params", given.params, run.active.params),
        ("--tokens", given.tokens, run.total_tokens),
        ("--seq-len", given.seq_len, run.seq_len),
        ("--devices", given.devices, run.layout.data),
    ):
        if value is not None and abs(value / said - 1) > AGREEMENT:
            raise InputError(
                f"{option} {format_count(value)}: {path} says {format_count(said)}; leave "
                "the option out"
            )
