"""What may be run: candidates with their costs, or cells with ranges of lr and batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitting.arrays import Floats
from fitting.errors import InputError

LEVELS = 4
"""Sizes a ladder has below its largest, a factor 2 apart each in params and in tokens."""

SHARE = 1 / 40
"""Of the budget that one run of the ladder's largest cells may take: two visits of five runs to
every cell then fit in it."""

RATIO = 3.0
"""Factor between the tokens per param of the ladder's cells. *Assumed*, as the two above: the
loss law and the exponent of D need cells off one line."""

FARTHEST = 0.1
"""Of the target's FLOPs that one run may take at most: a proxy is cheaper than what it is for."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Runs to choose from, columns of equal length."""

    params: Floats
    tokens: Floats
    lr: Floats
    batch_tokens: Floats
    flops: Floats
    """Cost of each, > 0."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a run may have: lowest and highest of each."""

    params: tuple[float, float] = (1e6, math.inf)
    tokens: tuple[float, float] = (1e6, math.inf)
    lr: tuple[float, float] = (1e-5, 0.1)
    batch_tokens: tuple[float, float] = (1024.0, math.inf)
    batch_step: float = 1.0
    """A batch is a multiple of this many tokens: the sequence length."""


RANGES = Ranges()
"""Hardly any limit."""


@dataclass(frozen=True, slots=True)
class Space:
    """Cells to choose from, with any lr and batch within ranges."""

    cells: Floats
    """(params, tokens) of each, shape (m, 2)."""
    ranges: Ranges = RANGES
    """Those of lr and batch count; cells may lie outside the others."""
    fewest_steps: int = 100
    """Batches that a run has at least. *Assumed*: with fewer a run is mostly warmup."""


def target_space(
    target: tuple[float, float],
    *,
    total_flops: float,
    ranges: Ranges = RANGES,
    least_flops: float = 0.0,
) -> Space:
    """A ladder of cells below a target.

    Params and tokens are the target's, halved any number of times, at a third, once and three
    times its tokens per param. The largest cells take a fortieth of the budget a run, the
    smallest a factor 4^4 less. It moves with the whole budget alone, what is spent included, so
    that a search that goes on keeps its cells.

    Args:
        target: params and tokens.
        total_flops: of all runs, those made included, > 0.
        ranges: what a run may have.
        least_flops: of a run; who has made larger ones gains little from smaller ones.

    Raises:
        InputError: no cell is cheap enough within the ranges.
    """
    params, tokens = ranges.params, ranges.tokens
    most = min(SHARE * total_flops, FARTHEST * 6 * target[0] * target[1])
    cells: list[tuple[int, int]] = []
    for ratio in (1 / RATIO, 1.0, RATIO):
        sizes = [
            (round(target[0] / 2**step), round(ratio * target[1] / 2**step)) for step in range(64)
        ]
        cells += [
            size
            for size in sizes
            if params[0] <= size[0] <= params[1]
            and tokens[0] <= size[1] <= tokens[1]
            and least_flops <= 6 * size[0] * size[1] <= most
        ][: LEVELS + 1]
    if not cells:
        raise InputError(
            f"budget: no run of at least {params[0]:.3g} params and {tokens[0]:.3g} tokens, and "
            f"within the other ranges, takes {most:.3g} FLOPs or less, a fortieth of "
            f"{total_flops:.3g} or a tenth of the target's; raise it, or allow smaller runs"
        )
    return Space(np.array(cells, dtype=np.float64), ranges)
