"""Fit the three-term surface to all of Step Law's cells and write it as a law file.

usage: python -m tests.benchmarks.fit_step_law_surface SHARED [LAW.toml]

Prints what the fit says of its own cells; with LAW.toml, writes the law there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fitting.laws.file import make_law
from fitting.laws.law import Covariance, Law, Quantity, Range, Source
from fitting.laws.surface import (
    COEFFICIENTS,
    surface_of,
    surface_quantity,
    weights,
)
from fitting.surface.fit import SurfaceFit
from tests.measured.fit_step_law_surface import fit_all, regrets
from tests.measured.step_law_cells import read_table

SOURCE = Source(
    key="windtunnel2026surface",
    title="Three-term loss surface over learning rate and batch, fitted to Step Law's runs",
    url="https://arxiv.org/abs/2503.04715",
    evidence="fitted",
    note=(
        "Fitted here to 2,438 runs in 36 (N, D) cells with a free loss level for each cell, so it"
        " says nothing of the level of loss. Covariance: 400 refits to cells drawn with"
        " replacement, and the ridge; it does not say how wrong the form is"
        " outside the range."
    ),
    command=(
        "python -m tests.benchmarks.fit_step_law_surface ../shared data/laws/step-law-surface.toml"
    ),
)


def rounded(fit: SurfaceFit) -> Quantity:
    """The surface with the digits that its file holds: weights to 1e-6, covariance to 1e-8."""
    covariance = fit.surface.covariance
    assert covariance is not None
    surface = surface_of(
        [round(weight, 6) for weight in weights(fit.surface)],
        covariance=Covariance(
            names=list(COEFFICIENTS),
            matrix=[[round(value, 8) + 0.0 for value in row] for row in covariance.matrix],
        ),
    )
    return surface_quantity(surface, n=fit.n, r2=round(fit.r2, 4))


def to_law(fit: SurfaceFit, shared: Path) -> Law:
    """The law file's content."""
    table = read_table(shared)
    return make_law(
        "step-law-surface",
        source=SOURCE,
        limits=Range(
            params=[float(table["params"].min()), float(table["params"].max())],
            tokens=[float(table["tokens"].min()), float(table["tokens"].max())],
            batch_tokens=[float(table["batch_tokens"].min()), float(table["batch_tokens"].max())],
            optimizer="adamw",
            parametrization="sp",
            schedule=(
                "cosine to a fixed 1e-5, linear warmup of 2,000 steps, weight decay 0.1, clip 1"
            ),
            seq_len=2048,
            params_meaning="non-embedding",
        ),
        quantities={"surface": rounded(fit)},
    )


def main() -> None:
    shared = Path(sys.argv[1])
    fit = fit_all(shared)
    covariance = fit.surface.covariance
    assert covariance is not None
    for i, (name, weight) in enumerate(zip(COEFFICIENTS, weights(fit.surface), strict=True)):
        print(f"{name:22} {weight:+.3f} ± {covariance.matrix[i][i] ** 0.5:.3f}")
    cost = regrets(fit.surface, shared)
    print(
        f"runs {fit.n}, r2 within cells {fit.r2:.3f}, residual sd {100 * fit.residual_scale:.2f}%"
    )
    print(f"regret of its optimum, in sample: mean {np.mean(cost):.3f}%, worst {max(cost):.3f}%")
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_bytes(to_law(fit, shared).content)


if __name__ == "__main__":
    main()
