"""The tuned runs of a table: which there are, whether they suffice for laws of lr and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats
from fitting.errors import FitError
from fitting.surface.solver import Runs as Columns

if TYPE_CHECKING:
    import pandas as pd

    from fitting.runs.setting import Group
    from fitting.runs.table import Runs

FEW_RUNS = 100
"""Tuned runs below which a table alone says too little for a prior to be left out; assumed."""

A_DECADE = 10.0
"""Span of params below which exponents of N are mostly the prior's."""

FEWEST_VALUES = 3
"""Distinct values of lr, batch or weight decay in a cell that show an optimum."""

FEWEST_SIZES = 3
"""Distinct params that laws of lr and batch need without a prior."""

TOGETHER = 0.99
"""Correlation of ln params and ln tokens over cells from which one stands for the other; assumed:
the error of an exponent is then 7 times what it would be without."""

FEWEST_CELLS = 2
"""Cells that they need with one."""


def tuned_columns(runs: Runs) -> Columns:
    """Finished runs with lr and batch, as the surface takes them.

    Where a cell's lr and batch were run at several weight decays, the one of lowest mean loss
    stands for them: lr and batch are then those at the best weight decay.
    """
    tuned = best_weight_decay(runs.tuned, runs.cell)
    # In one order whatever the file's, so that bootstraps draw the same runs.
    tuned = tuned.sort_values(["params", "tokens", "lr", "batch_tokens", "loss"])
    # Tokens within 1% are one cell; the surface tells cells apart by their exact numbers.
    tokens = tuned.groupby(runs.cell[tuned.index])["tokens"].transform("median")
    return Columns(
        params=tuned["params"].to_numpy(dtype=np.float64),
        tokens=tokens.to_numpy(dtype=np.float64),
        lr=tuned["lr"].to_numpy(dtype=np.float64),
        batch_tokens=tuned["batch_tokens"].to_numpy(dtype=np.float64),
        loss=tuned["loss"].to_numpy(dtype=np.float64),
    )


def schedule_notes(runs: Runs) -> list[str]:
    """A note where runs of several schedules are pooled: each has its own best lr."""
    finished = runs.finished
    if "schedule" not in finished:
        return []
    names = sorted(set(finished["schedule"].dropna()))
    if len(names) < 2:
        return []
    return [
        f"{len(names)} schedules are pooled ({', '.join(names)}), though each has its own best lr: "
        "fit each by itself to see the difference"
    ]


def best_weight_decay(tuned: pd.DataFrame, cell: pd.Series[int]) -> pd.DataFrame:
    """The rows at the best weight decay of each cell, lr and batch."""
    if "weight_decay" not in tuned:
        return tuned
    setting = tuned.groupby([cell[tuned.index], tuned["lr"], tuned["batch_tokens"]]).ngroup()
    # Unknown weight decays count as one value.
    known = tuned["weight_decay"].fillna(-1.0)
    mean = tuned.groupby([setting, known])["loss"].transform("mean")
    return tuned[mean == mean.groupby(setting).transform("min")]


def check_tuned(runs: Runs, *, with_prior: bool) -> None:
    """Refuse tables whose tuned runs cannot say where the best lr and batch lie.

    Raises:
        FitError: what is too few, and what would do.
    """
    tuned = runs.tuned
    if len(tuned) == 0:
        raise FitError("no finished run has both lr and batch_tokens; add those columns")
    cells = runs.cell[tuned.index]
    if cells.nunique() < FEWEST_CELLS:
        raise FitError(f"1 (params, tokens) cell, {FEWEST_CELLS} needed; add runs at other sizes")
    if not varies(runs, "lr"):
        raise FitError("lr takes fewer than 3 values in every cell; sweep it at two sizes")
    sizes = tuned["params"].nunique()
    if not with_prior and sizes < FEWEST_SIZES:
        raise FitError(
            f"{sizes} distinct params, {FEWEST_SIZES} needed to fit lr on params and tokens; "
            "add a size or pass --prior step-law"
        )
    if not with_prior and not varies(runs, "batch_tokens"):
        raise FitError(
            "batch_tokens takes fewer than 3 values in every cell; sweep it or pass --prior "
            "step-law"
        )
    one_data_a_size(tuned)


def one_data_a_size(tuned: pd.DataFrame) -> None:
    """Refuse runs of one size on different amounts of distinct data: their best lr may differ.

    Raises:
        FitError: the size and its amounts.
    """
    if "unique_tokens" not in tuned:
        return
    amounts = tuned.groupby(["params", "tokens"])["unique_tokens"].nunique(dropna=False)
    if (amounts > 1).any():
        raise FitError(
            f"runs of {int((amounts > 1).sum())} sizes differ in unique_tokens; fit each amount "
            "by itself"
        )


def varies(runs: Runs, name: str) -> bool:
    """Whether a column takes 3 values above 0 or more in some cell of tuned runs."""
    tuned = runs.tuned
    if name not in tuned or len(tuned) == 0:
        return False
    values = tuned[name].where(tuned[name] > 0)
    return bool(values.groupby(runs.cell[tuned.index]).nunique().max() >= FEWEST_VALUES)


def unused_notes(runs: Runs) -> list[str]:
    """Finished runs that laws of lr and batch cannot use."""
    finished, tuned = len(runs.finished), len(runs.tuned)
    if tuned in (0, finished):
        return []
    return [f"{finished - tuned} of {finished} finished runs lack lr or batch: used for nothing"]


def together_notes(cells: Floats) -> list[str]:
    """Whether tokens rise so closely with params that no fit can tell their exponents apart.

    Args:
        cells: (params, tokens) of each cell, shape (cells, 2).
    """
    log_n, log_d = np.log(cells).T
    if np.ptp(log_n) == 0 or np.ptp(log_d) == 0:
        one = "params" if np.ptp(log_n) == 0 else "tokens"
        return [f"every run has the same {one}: its exponents are the prior's; add runs at others"]
    if abs(np.corrcoef(log_n, log_d)[0, 1]) < TOGETHER:
        return []
    return [
        "tokens rise with params in these runs: their exponents are told apart by the prior "
        "alone, though not along that rise; add runs at other tokens per param"
    ]


def wants_default_prior(runs: Runs, group: Group) -> bool:
    """Whether the default prior applies: runs that say too little of AdamW's lr and batch.

    Fewer than 100 tuned runs, params spanning less than a decade, or a batch that is swept in no
    cell; under muP and CompleteP always. Nothing is published of other optimizers.
    """
    tuned = runs.tuned
    if group.optimizer != "adamw" or len(tuned) == 0:
        return False
    if group.parametrization != "sp" or not varies(runs, "batch_tokens"):
        return True
    span = float(tuned["params"].max() / tuned["params"].min())
    return len(tuned) < FEW_RUNS or span < A_DECADE
