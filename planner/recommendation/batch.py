"""The batch in whole sequences: free, pinned, or moved by a pinned lr, even over accelerators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.errors import InputError

if TYPE_CHECKING:
    from planner.recommendation.place import Move, PlacedSurface, Tuning
    from planner.request.choices import Choices
    from planner.request.target import Target

EVENLY = 0.15
"""Largest relative change of a free batch to divide evenly over the accelerators: about a
third of the range that costs 0.1% of the loss."""

ROUND_PIN = 0.03
"""Largest relative change of a pinned batch that is no whole number of sequences, likewise."""

TIDY = 0.03
"""Largest relative change for a share of each accelerator that is a higher power of two."""


def settle_batch(
    target: Target,
    choices: Choices,
    *,
    free: Tuning,
    placed: PlacedSurface | None,
    factor: float,
) -> tuple[int, Move | None]:
    """Sequences a batch, and how a pinned lr moved it.

    Args:
        target: tokens and sequence length.
        choices: pins, rounding and accelerators.
        free: the lr and batch before pins, in the law's terms.
        placed: the surface about them, or None.
        factor: planned lr over the law's, > 0.

    Raises:
        InputError: the batch leaves fewer than 2 steps.
    """
    pins = choices.pins
    wanted, move = pins.batch_tokens or free.batch_tokens, None
    if pins.steps is not None:
        wanted = target.tokens / pins.steps
    elif pins.lr is not None and pins.batch_tokens is None and placed is not None:
        move = placed.move_batch(pins.lr / factor, start=free)
        wanted = free.batch_tokens * move.factor
    sequences = round_batch(wanted, target, choices=choices)
    batch = sequences * target.seq_len
    if pins.steps is None and target.tokens <= batch:
        raise InputError(
            f"target: {target.tokens:.6g} tokens at a batch of {batch} are 1 step, and a schedule "
            "needs 2; take more --tokens or a smaller --batch"
        )
    return sequences, move


def round_batch(wanted: float, target: Target, *, choices: Choices) -> int:
    """Whole sequences a batch, at least one and at most the run's.

    On accelerators the batch becomes a multiple of their number, so that none stands idle: a free
    batch where that changes it by at most 15%, a pinned one that is no whole number of sequences
    by at most 3%. Pinned whole sequences stay as they are.
    """
    most = math.floor(target.tokens / target.seq_len)
    sequences = wanted / target.seq_len
    if choices.round_batch == "pow2":
        return int(2 ** min(round(math.log2(max(sequences, 1.0))), int(math.log2(most))))
    rounded = min(max(round(sequences), 1), most)
    pinned = choices.pins.batch_tokens is not None or choices.pins.steps is not None
    if choices.gpus is None or (pinned and sequences.is_integer()):
        return rounded
    # Imported here because only a plan with accelerators needs it.
    from planner.facts.accelerators import parse_gpus

    count = parse_gpus(choices.gpus).count
    return divide_evenly(sequences, count, ROUND_PIN if pinned else EVENLY, most) or rounded


def divide_evenly(sequences: float, count: int, tolerance: float, most: int) -> int | None:
    """The multiple of `count` nearest to `sequences`, with a share of each that is tidy.

    Shares of 16, 8, 4 or 2 sequences' multiples leave micro-batches a choice of divisors; they
    are taken where they are nearer than `TIDY`. None where no multiple lies within `tolerance`.
    """
    for share in (16, 8, 4, 2, 1):
        unit = count * share
        even = unit * round(sequences / unit)
        limit = tolerance if share == 1 else min(TIDY, tolerance)
        if 0 < even <= most and abs(even / sequences - 1) <= limit:
            return even
    return None
