"""What `plan proxy train` is told of its batch: sizes in tokens, growth, budgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxies.run.batching import Batching


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedBatch:
    """The batch options as typed; None where one was not."""

    batch: int
    """Tokens of the first batch."""
    batching: str
    """A key of `proxies.run.batching.KINDS`."""
    max_batch: int | None = None
    """Most tokens of a batch that grows."""
    ramp_tokens: int | None = None
    """Tokens until a ramp is at its top."""
    theta: float | None = None
    """Noise that a norm test bears."""


def make_batching(typed: TypedBatch, *, seq_len: int, tokens: int) -> Batching:
    """The batch schedule of a run of `tokens`, in whole sequences.

    Raises:
        InputError: a batch that is no multiple of the sequence or above the run, or an option that
            the kind lacks.
    """
    from proxies.run.batching import KINDS, Batching
    from proxies.run.shape import check_size

    check_size(seq_len, where="--seq-len")
    most = typed.max_batch
    if most is None and typed.batching != "fixed" and typed.batching in KINDS:
        raise InputError(f"--batching {typed.batching}: grows to what? give --max-batch TOKENS")
    first = _count_sequences(typed.batch, seq_len=seq_len, where="--batch")
    if first * seq_len > tokens:
        raise InputError(
            f"--batch {first * seq_len}: more than --tokens {tokens}; give at most that"
        )
    found = Batching(
        kind=typed.batching,
        sequences=first,
        max_sequences=None
        if most is None
        else _count_sequences(most, seq_len=seq_len, where="--max-batch"),
        ramp_tokens=typed.ramp_tokens,
    )
    return found if typed.theta is None else replace(found, theta=typed.theta)


def schedule_steps(batching: Batching, *, tokens: int, seq_len: int) -> int:
    """Steps that the schedule is made over; those of the first batch where it is adaptive.

    The lr of an adaptive batch follows the tokens, so any number of steps gives the same run.
    """
    from proxies.run.batching import Batching, count_steps

    known = Batching(sequences=batching.sequences) if batching.adaptive else batching
    return count_steps(known, tokens=tokens, seq_len=seq_len)


def with_last(budgets: Sequence[int] | None, *, tokens: int) -> list[int]:
    """The budgets of a run with branches, `tokens` the largest of them; empty for a plain run.

    Raises:
        InputError: a budget of `tokens` or more.
    """
    if budgets is None:
        return []
    if max(budgets) >= tokens:
        raise InputError(f"--budgets {max(budgets)}: not below --tokens {tokens}, the largest one")
    return [*budgets, tokens]


def _count_sequences(size: int, *, seq_len: int, where: str) -> int:
    """Sequences of a batch in tokens.

    Raises:
        InputError: a batch that is no multiple of the sequence.
    """
    if size % seq_len:
        below = size // seq_len * seq_len
        near = f"{below} or {below + seq_len}" if below else str(seq_len)
        raise InputError(f"{where} {size}: is no multiple of --seq-len {seq_len}; give {near}")
    return size // seq_len
