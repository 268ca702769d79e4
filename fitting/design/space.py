"""What may be run: candidates with their costs, or cells with ranges of lr and batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fitting.errors import InputError
from fitting.surface_solver import Floats

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
class Space:
    """Cells to choose from, with any lr and batch within ranges."""

    cells: Floats
    """(params, tokens) of each, shape (m, 2)."""
    lr: tuple[float, float]
    """Lowest and highest."""
    batch_tokens: tuple[float, float]
    """Lowest and highest."""
    batch_step: float = 1.0
    """A batch is a multiple of this many tokens: the sequence length."""
    fewest_steps: int = 100
    """Batches that a run has at least. *Assumed*: with fewer a run is mostly warmup."""


def target_space(
    target: tuple[float, float],
    *,
    total_flops: float,
    params: tuple[float, float] = (1e6, math.inf),
    tokens: tuple[float, float] = (1e6, math.inf),
    lr: tuple[float, float] = (1e-5, 0.1),
    batch_tokens: tuple[float, float] = (1024.0, math.inf),
    batch_step: float = 1.0,
) -> Space:
    """A ladder of cells below a target.

    Params and tokens are the target's, halved any number of times, at a third, once and three
    times its tokens per param. The largest cells take a fortieth of the budget a run, the
    smallest a factor 4^4 less. It moves with the whole budget alone, what is spent included, so
    that a search that goes on keeps its cells.

    Args:
        target: params and tokens.
        total_flops: of all runs, those made included, > 0.
        params: range of a cell's params.
        tokens: range of its tokens.
        lr: range of lr.
        batch_tokens: range of the batch.
        batch_step: a batch is a multiple of it.

    Raises:
        InputError: no cell is cheap enough within the ranges.
    """
    most = min(SHARE * total_flops, FARTHEST * 6 * target[0] * target[1])
    cells = []
    for ratio in (1 / RATIO, 1.0, RATIO):
        sizes = [
            (target[0] / 2**step, ratio * target[1] / 2**step)
            for step in range(64)
            if params[0] <= target[0] / 2**step <= params[1]
            and tokens[0] <= ratio * target[1] / 2**step <= tokens[1]
        ]
        cells += [size for size in sizes if 6 * size[0] * size[1] <= most][: LEVELS + 1]
    if not cells:
        raise InputError(
            f"--budget: no cell within the ranges takes less than {most:.3g} FLOPs a run, a "
            f"fortieth of {total_flops:.3g}; raise it or allow fewer params or tokens"
        )
    return Space(np.array(cells), lr, batch_tokens, batch_step)
