"""A trainer's own config, read back: its file, what the user adds to it, the settings.

Readers live in `planner/trainers/supported`, each beside its writer. What goes wrong in one becomes
a single line here that names the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from fitting.errors import InputError, WindtunnelError
from fitting.units import format_count
from planner.request.choices import LR_BOUNDS, WEIGHT_DECAY_BOUNDS
from planner.request.target import AGREEMENT, check_scale
from planner.trainers.export import find_trainer, read_files
from planner.trainers.lengths import CUTTERS, no_cut
from planner.trainers.supported.transformers.complete import COMPLETERS, Given
from proxies.run.shape import check_shape, count_params

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from planner.plan.settings import Settings

Found = TypeVar("Found")

BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a reader may raise at a file whose values are of kinds that it never writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One run as its trainer's config says it."""

    trainer: str
    path: Path
    settings: Settings
    notes: tuple[str, ...]
    """What the file does not say and what stands in its place."""
    faults: tuple[str, ...] = ()
    """What its schedule says that no run can do; it was cut to the run to be read."""

    @property
    def params(self) -> float:
        """Non-embedding parameters of the model."""
        return float(count_params(self.settings.shape).params)

    @property
    def batch_tokens(self) -> int:
        """Tokens an optimizer step."""
        return self.settings.batch_sequences * self.settings.seq_len

    @property
    def tokens(self) -> float:
        """Tokens trained on: steps times the batch."""
        return float(self.settings.schedule.steps * self.batch_tokens)


def import_config(trainer: str, path: Path, given: Given | None = None) -> Imported:
    """The run that a trainer's config describes.

    Args:
        trainer: a module of `planner/trainers/supported`.
        path: the trainer's file, or its folder.
        given: what the user says beside the file; None for nothing.

    Raises:
        InputError: no such trainer, a file that its reader cannot read, or facts that contradict
            the file.
    """
    given = given or Given()
    read = find_trainer(trainer).read
    complete = COMPLETERS.get(trainer)
    if complete is None:
        files, notes = read_files(path), tuple[str, ...]()
    else:
        files, notes = guarded(lambda: complete(path, given), trainer, path)
    cut = CUTTERS.get(trainer, no_cut)
    files, faults = guarded(lambda: cut(files), trainer, path)
    settings = guarded(lambda: read(files), trainer, path)
    check_settings(settings, path)
    found = Imported(trainer=trainer, path=path, settings=settings, notes=notes, faults=faults)
    check_scale((found.params, found.tokens))
    check_given(found, given)
    return found


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


def check_settings(settings: Settings, path: Path) -> None:
    """Refuse what no run can have.

    Raises:
        InputError: naming the value.
    """
    check_shape(settings.shape, where=str(path))
    for name, value, (low, high) in (
        ("sequence length", settings.seq_len, (1, 1e9)),
        ("batch in sequences", settings.batch_sequences, (1, 1e9)),
        ("lr", settings.lr, LR_BOUNDS),
        ("weight decay", settings.weight_decay, WEIGHT_DECAY_BOUNDS),
        ("beta1", settings.optimizer.beta1, (0, 1)),
        ("beta2", settings.optimizer.beta2, (0, 1)),
    ):
        # Written so that nan is refused too.
        if not low <= value <= high:
            raise InputError(f"{path}: {name} {value:g} must be {low:g} to {high:g}")


def check_given(found: Imported, given: Given) -> None:
    """Refuse facts beside the file that contradict it.

    Raises:
        InputError: both numbers.
    """
    for option, value, said in (
        ("--params", given.params, found.params),
        ("--tokens", given.tokens, found.tokens),
        ("--seq-len", given.seq_len, found.settings.seq_len),
        ("--devices", given.devices, found.settings.layout.data_parallel),
    ):
        if value is not None and abs(value / said - 1) > AGREEMENT:
            raise InputError(
                f"{option} {format_count(value)}: {found.path} says {format_count(said)}; leave "
                "the option out"
            )
