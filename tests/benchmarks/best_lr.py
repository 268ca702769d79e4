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
    """Minimum of a polynomial in ln lr."""

    ln_lr: float
    loss: float
    """There, mean over seeds, nats a token."""
    curve: np.polynomial.Polynomial
    """Loss by ln lr."""
    inside: bool
    """Whether lrs below and above the lowest mean loss were tried, and the curve has a minimum."""


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


def find_optimum(losses: pd.Series[float], *, lrs: int = 5) -> Optimum:
    """Best lr by the lowest mean loss and its neighbours, as many as are there on either side.

    Of five lrs by a cubic: losses rise faster above the best lr than below it, which pulls a
    parabola through five to the middle of them, by up to 0.35 factors of 2 in
    `schedule_transfer`. Of three by a parabola.
    """
    ln_lrs, values = losses.index.to_numpy(dtype=float) * math.log(2), losses.to_numpy()
    best = ln_lrs[values.argmin()]
    near = np.abs(ln_lrs - best) < (lrs / 2) * math.log(2)
    degree = 3 if near.sum() > 4 else 2
    curve = np.polynomial.Polynomial.fit(ln_lrs[near], values[near], degree)
    flat = curve.deriv().roots()
    lowest = [x.real for x in flat if abs(x.imag) < 1e-9 and curve.deriv(2)(x.real) > 0]
    ln_lr = float(lowest[0] if lowest else best)
    return Optimum(
        ln_lr=ln_lr,
        loss=float(curve(ln_lr)),
        curve=curve,
        inside=bool(lowest and ln_lrs.min() < best < ln_lrs.max()),
    )


def seed_error(number: Callable[[Sequence[int]], float], seeds: Sequence[int]) -> float:
    """Standard error of a number of the seeds, from all resamples of them; NaN for one seed.

    The spread over resamples of n is too narrow by sqrt(1 - 1/n), which is taken out.
    """
    if len(seeds) < 2:
        return math.nan
    found = [number(some) for some in itertools.product(seeds, repeat=len(seeds))]
    return float(np.std(found) / math.sqrt(1 - 1 / len(seeds)))
