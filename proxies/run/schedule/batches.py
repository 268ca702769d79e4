"""Tokens against steps, where the batch may differ from step to step.

Progress s is in steps, so a schedule that was made in steps is read at a token count by
`lr_fraction(schedule, steps_at(tokens, batch_tokens))`. Within a step tokens grow evenly.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def tokens_at(s: float, batch_tokens: Sequence[int]) -> float:
    """Tokens trained after `s` steps.

    Args:
        s: steps done, in [0, S]; between whole ones tokens grow linearly.
        batch_tokens: tokens of each of the S updates, at least 1 each.

    Raises:
        InputError: `s` outside [0, S], or a batch without tokens.

    Example:
        >>> tokens_at(2.5, [100, 100, 400])
        400.0
    """
    totals = running_totals(batch_tokens)
    if not 0 <= s <= len(batch_tokens):
        raise InputError(f"step {s}: outside 0..{len(batch_tokens)} of the batch schedule")
    whole = int(s)
    done = totals[whole]
    return done if s == whole else done + (s - whole) * batch_tokens[whole]


def steps_at(tokens: float, batch_tokens: Sequence[int]) -> float:
    """Progress s after `tokens` tokens, the inverse of `tokens_at`; exact at whole steps.

    Args:
        tokens: tokens trained, from 0 to the sum of the batches.
        batch_tokens: tokens of each of the S updates, at least 1 each.

    Raises:
        InputError: more tokens than the batches hold, or a batch without tokens.

    Example:
        >>> steps_at(400, [100, 100, 400])
        2.5
    """
    after = steps_of_run(tokens, batch_tokens)
    totals = running_totals(batch_tokens)
    if totals[after] == tokens:
        return after
    return after - (totals[after] - tokens) / batch_tokens[after - 1]


def steps_of_run(tokens: float, batch_tokens: Sequence[int]) -> int:
    """Whole updates that train at least `tokens`: the S of a schedule.

    Raises:
        InputError: as `steps_at`.

    Example:
        >>> steps_of_run(201, [100, 100, 400])
        3
    """
    totals = running_totals(batch_tokens)
    if not 0 <= tokens <= totals[-1]:
        raise InputError(f"tokens {tokens:.6g}: outside 0..{totals[-1]} of the batch schedule")
    return bisect_left(totals, tokens)


def running_totals(batch_tokens: Sequence[int]) -> list[int]:
    """Tokens after 0, 1... S updates.

    Raises:
        InputError: no batch, or one without tokens.
    """
    for number, tokens in enumerate(batch_tokens, start=1):
        if not tokens >= 1:
            raise InputError(f"batch of update {number}: {tokens} tokens; at least 1")
    if not batch_tokens:
        raise InputError("batch schedule: has no updates; a run has at least 1")
    return [0, *accumulate(batch_tokens)]
