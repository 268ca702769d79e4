"""Loss of the largest runs of a table, predicted from the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.arrays import Floats
from fitting.loss.fit import fit_loss
from fitting.loss.result import LossFit


@dataclass(frozen=True, slots=True)
class Score:
    """How one family predicted the held-out runs."""

    family: str
    r2: float
    error: float
    coverage: float
    """Share of held-out runs in the 80% interval."""
    held_out: int


def read_table(shared: Path, name: str) -> dict[str, Floats]:
    """Columns params, tokens, loss and, where given, unique_tokens."""
    rows = pd.read_csv(shared / "data" / f"{name}_train.csv")
    return {str(column): rows[column].to_numpy(dtype=np.float64) for column in rows}


def largest(columns: dict[str, Floats], share: float) -> np.ndarray:
    """Mask of the share of rows with the largest N D."""
    size = columns["params"] * columns["tokens"]
    mask = np.zeros(len(size), dtype=bool)
    mask[np.argsort(size, kind="stable")[-round(share * len(size)) :]] = True
    return mask


def score_split(
    columns: dict[str, Floats], held: np.ndarray, *, family: str, seed: int = 0
) -> tuple[Score, LossFit]:
    """Fit without the held-out rows and predict them."""
    train = {name: column[~held] for name, column in columns.items()}
    test = {name: column[held] for name, column in columns.items()}
    fit = fit_loss(**train, family=family, rng=np.random.default_rng(seed))
    inputs = {name: test[name] for name in ("params", "tokens", "unique_tokens") if name in test}
    predicted = fit.predict(**inputs)
    loss = test["loss"]
    return Score(
        family=fit.family,
        r2=float(1 - ((loss - predicted.value) ** 2).sum() / ((loss - loss.mean()) ** 2).sum()),
        error=float(np.abs(np.log(predicted.value / loss)).mean()),
        coverage=float(((predicted.low <= loss) & (loss <= predicted.high)).mean()),
        held_out=len(loss),
    ), fit
