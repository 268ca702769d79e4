"""How much loss a wrong learning rate costs, as one number a model.

    sensitivity = mean over ln lr in [a, b] of min(loss(lr), loss at init) - lowest loss

A run that diverged counts with the loss that it started from. Parametrizations and optimizers are
compared over one range [a, b].

Source: Wortsman et al. 2023 (arXiv 2309.14322), "LR sensitivity".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.runs.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

    from fitting.runs.table import Runs

FEWEST_LRS = 3
"""Distinct lrs that a mean over lr needs."""

CELL = ("params", "tokens", "batch_tokens", "weight_decay")
"""Columns that runs of one model share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How much a wrong lr costs one model."""

    params: float
    tokens: float
    batch_tokens: float | None
    """None where the table does not say."""
    lrs: int
    """Distinct lrs in the range."""
    low: float
    """Lowest lr of the range."""
    high: float
    """Highest lr of the range."""
    best_lr: float
    """With the lowest loss of the range."""
    best_loss: float
    """Nats per token."""
    value: float | None
    """Nats per token; None where a run diverged and the loss at init is not known."""


def lr_sensitivities(runs: Runs, *, bounds: tuple[float, float] | None) -> list[Sensitivity]:
    """The sensitivity of each model that was trained at three lrs or more of the range.

    Args:
        runs: with `lr`; `loss_at_init` where runs diverged.
        bounds: lowest and highest lr; None for all that each model has.
    """
    table = runs.table[runs.outcome.isin([RunOutcome.FINISHED, RunOutcome.DIVERGED])]
    table = table[table["lr"].notna()] if "lr" in table else table.iloc[:0]
    if bounds is not None:
        inside = (table["lr"] >= bounds[0] * (1 - 1e-9)) & (table["lr"] <= bounds[1] * (1 + 1e-9))
        table = table[inside]
    known = [name for name in CELL if name in table]
    found = [measure(rows) for _, rows in table.groupby(known, dropna=False, sort=True)]
    return [each for each in found if each is not None]


def common_range(runs: Runs) -> tuple[float, float] | None:
    """The lrs that every size of the table covers; None where there is no such range."""
    if "lr" not in runs.table:
        return None
    ends = runs.table.dropna(subset=["lr"]).groupby("params")["lr"].agg(["min", "max"])
    low, high = float(ends["min"].max()), float(ends["max"].min())
    return (low, high) if low < high else None


def measure(rows: pd.DataFrame) -> Sensitivity | None:
    """The sensitivity of the runs of one model; None where they have too few lrs."""
    loss = rows["loss"].where(np.isfinite(rows["loss"]), math.inf)
    if rows["lr"].nunique() < FEWEST_LRS or not np.isfinite(loss).any():
        return None
    start = rows["loss_at_init"] if "loss_at_init" in rows else rows["loss"] * math.nan
    # Runs of one model start alike, so one that diverged at once starts where the others did.
    usual = float(start.median()) if start.notna().any() else math.inf
    capped = loss.clip(upper=start.fillna(usual)).groupby(rows["lr"]).mean()
    lrs, losses = np.log(capped.index.to_numpy(dtype=float)), capped.to_numpy()
    best = int(np.argmin(losses))
    mean = float(np.trapezoid(losses, lrs) / (lrs[-1] - lrs[0]))
    batch = float(rows["batch_tokens"].iloc[0]) if "batch_tokens" in rows else math.nan
    return Sensitivity(
        params=float(rows["params"].iloc[0]),
        tokens=float(rows["tokens"].median()),
        batch_tokens=None if math.isnan(batch) else batch,
        lrs=len(lrs),
        low=math.exp(lrs[0]),
        high=math.exp(lrs[-1]),
        best_lr=math.exp(lrs[best]),
        best_loss=float(losses[best]),
        value=mean - float(losses[best]) if math.isfinite(mean) else None,
    )
