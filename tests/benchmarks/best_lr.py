"""The best lr of a small sweep over factors of 2 and seeds, and its error from the seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True)
class Optimum:
    """Minimum of a parabola in ln lr."""

    ln_lr: float
    loss: float
    """There, mean over seeds, nats a token."""
    curvature: float
    """Half of the second derivative of the loss in ln lr, > 0 at a minimum."""
    inside: bool
    """Whether lrs below and above the lowest mean loss were tried."""


def whole_seeds(rows: pd.DataFrame, *, lrs: int) -> list[int]:
    """Seeds that were run at so many lrs, whatever came of it."""
    return [seed for seed in sorted(set(rows.seed)) if (rows.seed == seed).sum() == lrs]


def mean_losses(rows: pd.DataFrame, seeds: Sequence[int]) -> pd.Series[float]:
    """Mean loss by log2 lr over `seeds`, one of them perhaps several times.

    An lr at which one of them did not finish is left out.
    """
    losses = rows.assign(loss=rows.loss.where(rows.status == "finished"))
    wide = losses.pivot(index="log2_lr", columns="seed", values="loss")
    return wide.reindex(columns=list(seeds)).dropna().mean(axis=1)


def find_optimum(losses: pd.Series[float], *, reach: int = 2) -> Optimum:
    """Minimum of the parabola through the lrs within `reach` factors of 2 of the lowest loss."""
    log2_lrs, values = losses.index.to_numpy(dtype=float), losses.to_numpy()
    best = log2_lrs[values.argmin()]
    near = np.abs(log2_lrs - best) <= reach
    curvature, slope, level = np.polyfit((log2_lrs[near] - best) * math.log(2), values[near], 2)
    move = -slope / (2 * curvature)
    return Optimum(
        ln_lr=float(best * math.log(2) + move),
        loss=float(level + slope * move / 2),
        curvature=float(curvature),
        inside=bool(log2_lrs.min() < best < log2_lrs.max() and curvature > 0),
    )


def seed_error(number: Callable[[Sequence[int]], float], seeds: Sequence[int]) -> float:
    """Standard error of a number of the seeds, from all resamples of them; NaN for one seed.

    The spread over resamples of n is too narrow by sqrt(1 - 1/n), which is taken out.
    """
    if len(seeds) < 2:
        return math.nan
    found = [number(some) for some in itertools.product(seeds, repeat=len(seeds))]
    return float(np.std(found) / math.sqrt(1 - 1 / len(seeds)))
