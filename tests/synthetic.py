"""Runs tables with a known truth: small, fast, and seeded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fitting.laws.surface import Setting, Surface, best_point, log_terms, surface_of
from fitting.surface.solver import FREE, basis

TRUTH = dict(
    zip(
        FREE,
        (-3.5, -0.1, -0.5, -4.2, 0.1, 0.2, 0.35, -0.8, -5.6, 0.55, -0.2, 1.3),
        strict=True,
    )
)
"""Free weights of a surface whose optimum lies well inside `LRS` and `BATCHES`."""

SIZES = (6e7, 1.2e8, 2.5e8)
TOKENS = (2e9, 8e9, 3e10)
LRS = tuple((2.0 ** np.arange(-11.5, -6, 0.75)).tolist())
BATCHES = tuple((2.0 ** np.arange(16, 22)).tolist())
TIMESCALE, SLOPE = 0.8, -0.5
"""Weight decay: tau = TIMESCALE (D/N)^SLOPE."""


def true_surface() -> Surface:
    """The surface behind every table."""
    return surface_of((basis() @ np.array([*TRUTH.values()])).tolist())


def true_level(params: float, tokens: float) -> float:
    """Loss that no lr and batch reach."""
    return float(1.7 + 400 / params**0.34 + 400 / tokens**0.28)


def true_loss(params: float, tokens: float, lr: float, batch_tokens: float) -> float:
    """Loss of a run without noise."""
    terms = np.exp(log_terms(true_surface(), Setting(params, tokens, lr, batch_tokens)))
    return float(true_level(params, tokens) * (1 + terms.sum()))


def tuned_table(
    seed: int = 0,
    *,
    sizes: tuple[float, ...] = SIZES,
    tokens: tuple[float, ...] = TOKENS,
    lrs: tuple[float, ...] = LRS,
    batches: tuple[float, ...] = BATCHES,
    noise: float = 0.002,
) -> pd.DataFrame:
    """A grid of lr and batch in each cell; losses with log-normal noise."""
    grid = [(n, d, lr, b) for n in sizes for d in tokens for lr in lrs for b in batches]
    table = pd.DataFrame(grid, columns=["params", "tokens", "lr", "batch_tokens"])
    rng = np.random.default_rng(seed)
    exact = np.array([true_loss(*row) for row in grid])
    return table.assign(loss=exact * np.exp(noise * rng.normal(size=len(table))))


def decayed_table(seed: int = 0, *, noise: float = 0.001) -> pd.DataFrame:
    """A tuned table of three sizes at one lr and batch grid, with weight decay varied too."""
    base = tuned_table(seed, lrs=LRS[2::2], batches=BATCHES[1::2], tokens=(2e9, 2e10), noise=noise)
    blocks = []
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        ratio = base["tokens"] / base["params"]
        best = [true_point(n, d) for n, d in base[["params", "tokens"]].to_numpy()]
        lr, batch_tokens = np.array(best).T
        decay = batch_tokens / (lr * base["tokens"] * TIMESCALE * ratio**SLOPE)
        cost = 0.01 * np.log(factor) ** 2
        blocks.append(base.assign(weight_decay=factor * decay, loss=base["loss"] * np.exp(cost)))
    return pd.concat(blocks, ignore_index=True)


def loss_table(seed: int = 0, *, noise: float = 0.001) -> pd.DataFrame:
    """Runs without lr and batch."""
    grid = [(n, d) for n in (6e7, 1.2e8, 2.5e8, 5e8) for d in (2e9, 8e9, 3e10, 1e11)]
    table = pd.DataFrame(grid, columns=["params", "tokens"])
    rng = np.random.default_rng(seed)
    exact = np.array([true_level(*row) for row in grid])
    return table.assign(loss=exact * np.exp(noise * rng.normal(size=len(table))))


def true_point(params: float, tokens: float) -> tuple[float, float]:
    """The best lr and batch."""
    return best_point(true_surface(), params, tokens)
