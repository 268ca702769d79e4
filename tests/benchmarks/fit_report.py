"""What `plan fit` says of Step Law's runs, and how well `plan predict` foretells larger ones.

usage: python -m tests.benchmarks.fit_report SHARED [--inside]

Laws of lr_batch_runs_to_537M.csv without the largest params foretell the loss of each of their
runs: R2 over all runs and over those within 10% of their cell's best, and how many 80% intervals
hold. Then the audit of the whole table. Held-out regret is `surface_extrapolation`'s. --inside:
only splits below 537M, on which choices may be made.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fitting.fit.laws import fit_laws
from fitting.fit.predict import predict_runs
from fitting.runs.table import check_runs, read_runs

NEAR = 1.1
"""Loss over its cell's best up to which a run is near it."""

INPUTS = ("params", "tokens", "lr", "batch_tokens")

SPLITS = {"429M from N <= 268M": (3e8, 4.5e8), "268M from N <= 215M": (2.2e8, 3e8)}
"""Largest params fitted, and the largest predicted."""

LARGEST = {"537M from N <= 429M": (4.5e8, 6e8)}


@dataclass(frozen=True, slots=True)
class Score:
    """How predictions of held-out runs did."""

    r2_all: float
    r2_near: float
    held_all: float
    """Share of 80% intervals that hold the measured loss."""
    held_near: float
    bias: float
    """Mean of ln(foretold / measured) near the best."""
    family: str
    runs: int
    near: int


def r2(loss: pd.Series[float], foretold: pd.Series[float]) -> float:
    """1 - squared error over the variance of the measured loss."""
    return float(1 - ((loss - foretold) ** 2).sum() / ((loss - loss.mean()) ** 2).sum())


def score(table: pd.DataFrame, fitted_to: float, predicted_to: float) -> Score:
    """Fit up to one size, predict every run of the next."""
    fit = fit_laws(check_runs(table[table["params"] < fitted_to]))
    held_out = table[table["params"].between(fitted_to, predicted_to)]
    rows = held_out[[*INPUTS]].to_numpy().tolist()
    found = pd.DataFrame(
        predict_runs(
            fit.to_law("small", ""), [dict(zip(INPUTS, row, strict=True)) for row in rows]
        ),
        index=held_out.index,
    )
    loss = held_out["loss"]
    near = loss < NEAR * held_out.groupby(["params", "tokens"])["loss"].transform("min")
    held = loss.between(found["low"], found["high"])
    assert fit.loss is not None
    return Score(
        r2_all=r2(loss, found["loss"]),
        r2_near=r2(loss[near], found["loss"][near]),
        held_all=float(held.mean()),
        held_near=float(held[near].mean()),
        bias=float(np.log(found["loss"] / loss)[near].mean()),
        family=fit.loss.family,
        runs=len(loss),
        near=int(near.sum()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--inside", action="store_true")
    args = parser.parse_args()
    runs = read_runs(args.shared / "data" / "lr_batch_runs_to_537M.csv")
    splits = SPLITS if args.inside else SPLITS | LARGEST
    head = "".join(f"{name:>10}" for name in ("R2", "R2 near", "held", "held near", "bias"))
    print(f"{'loss of':22}{'runs':>6}{'near':>6}{head}  family")
    for name, (fitted_to, predicted_to) in splits.items():
        found = score(runs.table, fitted_to, predicted_to)
        print(
            f"{name:22}{found.runs:6}{found.near:6}{found.r2_all:10.4f}{found.r2_near:10.4f}"
            f"{found.held_all:10.1%}{found.held_near:10.1%}{found.bias:10.2%}  {found.family}",
            flush=True,
        )
    if not args.inside:
        print()
        for audit in fit_laws(runs).audits:
            print(f"{audit.corner}: {audit.sentence()}")


if __name__ == "__main__":
    main()
