"""Loss of the largest runs, predicted from the others: the chosen family beside Chinchilla's.

    python -m tests.benchmarks.loss_extrapolation SHARED

Step Law's cells stand for a level: the best loss of a cell, smoothed by a thin-plate spline over
(log2 lr, log2 batch) as `tools/regret.py` does it; those of 537M are predicted from smaller ones.
For each table the runs with the largest N D are held out and `fit_loss` sees only the rest: it
chooses family and ridge by corners of its own. R2 is that of the loss of the held-out runs,
error the mean of |ln(predicted / measured)|, coverage the share of them in the 80% interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import RBFInterpolator

from fitting.arrays import Floats
from tests.measured.loss_extrapolation import largest, read_table, score_split

SPLITS = (("farseer", 0.10), ("data_constrained", 0.13), ("data_constrained", 0.20))
"""Table and the share of its runs that is held out."""


def read_cells(shared: Path) -> dict[str, Floats]:
    """Params, tokens and smoothed best loss of each cell of Step Law's runs."""
    rows = pd.read_csv(shared / "data" / "lr_batch_runs_to_537M.csv")
    found = []
    for _, cell in rows.groupby(["params", "tokens"]):
        near = cell[cell["loss"] < 1.08 * cell["loss"].min()]
        at = np.log2(near[["lr", "batch_tokens"]].to_numpy(dtype=np.float64))
        spline = RBFInterpolator(
            at, near["loss"].to_numpy(), smoothing=1e-4, kernel="thin_plate_spline"
        )
        axes = [np.linspace(low, high, 61) for low, high in zip(at.min(0), at.max(0), strict=True)]
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=1)
        first = cell.iloc[0]
        found.append((first["params"], first["tokens"], spline(grid).min()))
    params, tokens, loss = np.array(found, dtype=np.float64).T
    return {"params": params, "tokens": tokens, "loss": loss}


def compare(shared: Path) -> None:
    """Print the table."""
    cases = []
    for name, share in SPLITS:
        columns = read_table(shared, name)
        cases.append((f"{name}, largest {share:.0%}", columns, largest(columns, share)))
    cells = read_cells(shared)
    for limit in (4.3e8, 2.7e8):
        fewer = (cells["params"] <= limit) | (cells["params"] > 5e8)
        kept = {name: column[fewer] for name, column in cells.items()}
        cases.append((f"step law, N <= {limit / 1e6:.0f}M", kept, kept["params"] > 5e8))
    for label, columns, held in cases:
        for family in ("auto", "chinchilla"):
            score, _ = score_split(columns, held, family=family)
            print(
                f"{label:<29} ({score.held_out:>2}) {score.family:<21} R2 {score.r2:7.4f}  "
                f"error {score.error:.2%}  held {score.coverage:.0%}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder of the measurements")
    compare(parser.parse_args().shared)
