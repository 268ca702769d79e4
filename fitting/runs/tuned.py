"""The runs that say their lr and batch, as columns: what surfaces and cells are fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.arrays import Floats

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from fitting.arrays import Mask
    from fitting.runs.table import Runs


@dataclass(frozen=True, slots=True)
class TunedRuns:
    """Runs as columns of equal length, all above 0 and finite but for losses.

    A cell is the runs of one params and tokens, by their exact numbers.
    """

    params: Floats
    tokens: Floats
    lr: Floats
    batch_tokens: Floats
    loss: Floats
    """Final loss, nats per token; infinite where the run diverged, NaN where it has none yet."""

    def take(self, kept: Mask) -> TunedRuns:
        """Some of the runs."""
        return TunedRuns(*(getattr(self, name)[kept] for name in self.__slots__))

    def finished(self) -> TunedRuns:
        """The runs that have a loss."""
        return self.take(np.isfinite(self.loss))

    def cells(self) -> Floats:
        """(params, tokens) of each cell, rising, shape (cells, 2)."""
        return np.unique(np.column_stack([self.params, self.tokens]), axis=0)

    def by_cell(self) -> Iterator[tuple[tuple[float, float], TunedRuns]]:
        """Each cell's (params, tokens) with its runs, in rising order."""
        for params, tokens in self.cells().tolist():
            yield (params, tokens), self.take((self.params == params) & (self.tokens == tokens))


NO_RUNS = TunedRuns(np.empty(0), np.empty(0), np.empty(0), np.empty(0), np.empty(0))
"""No run at all."""


def tuned_runs(runs: Runs) -> TunedRuns:
    """Finished runs of a table with lr and batch.

    Where a cell's lr and batch were run at several weight decays, the one of lowest mean loss
    stands for them: lr and batch are then those at the best weight decay.
    """
    tuned = _at_best_weight_decay(runs.tuned, runs.cell)
    # In one order whatever the file's, so that bootstraps draw the same runs.
    tuned = tuned.sort_values(["params", "tokens", "lr", "batch_tokens", "loss"])
    # Tokens within 1% are one cell of the table.
    tokens = tuned.groupby(runs.cell[tuned.index])["tokens"].transform("median")
    columns = tuned.assign(tokens=tokens)
    return TunedRuns(*(columns[name].to_numpy(np.float64) for name in TunedRuns.__slots__))


def tried_runs(runs: Runs | None) -> TunedRuns:
    """The same with the runs that diverged, whose loss is infinite; none without a table."""
    if runs is None:
        return NO_RUNS
    tuned, diverged = tuned_runs(runs), runs.diverged
    names = [name for name in TunedRuns.__slots__ if name != "loss"]
    if not set(names) <= set(diverged.columns):
        return tuned
    lost = diverged[names].dropna().assign(loss=np.inf)
    return TunedRuns(
        *(
            np.concatenate([getattr(tuned, name), lost[name].to_numpy(np.float64)])
            for name in TunedRuns.__slots__
        )
    )


def _at_best_weight_decay(tuned: pd.DataFrame, cell: pd.Series[int]) -> pd.DataFrame:
    """The rows at the best weight decay of each cell, lr and batch."""
    if "weight_decay" not in tuned:
        return tuned
    setting = tuned.groupby([cell[tuned.index], tuned["lr"], tuned["batch_tokens"]]).ngroup()
    # Unknown weight decays count as one value.
    known = tuned["weight_decay"].fillna(-1.0)
    mean = tuned.groupby([setting, known])["loss"].transform("mean")
    return tuned[mean == mean.groupby(setting).transform("min")]
