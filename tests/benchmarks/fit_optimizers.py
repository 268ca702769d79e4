"""Fits the laws of Muon and Lion to the tuned optima of Fantastic Optimizers (arXiv 2509.02046).

    python -m tests.benchmarks.fit_optimizers [FOLDER]

prints each law with its standard errors and what the conversion from AdamW would have said, and
writes muon-tuned.toml and lion-tuned.toml to FOLDER (data/laws). The optima are rows of
data/optima.csv, Muon's in Moonshot's update as everywhere in the planner.

    ln lr = a + n ln(N / N0) + d ln(D / D0) - p ln(1 + c B*/B)

by least squares, the batch factor that of AdamW's measured one (step-law-saturating), and
ln tau = ln(B / (lr wd D)) = t + u ln(D / N) likewise. The grid of lr goes by factors of two, which
the scatter holds.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from fitting.laws.evaluate import evaluate_law
from fitting.laws.forms import evaluate_saturating
from fitting.laws.law import Law
from planner.facts.laws import read_lawbook
from planner.facts.optima import Tuned
from proxies.run.parametrization import OPTIMIZERS
from tests.measured.fit_optimizers import (
    TITLES,
    fit_lr,
    fit_weight_decay,
    law_text,
    optima,
    point_of,
)


def converted(one: Tuned, book: dict[str, Law]) -> float:
    """The lr that the conversion from AdamW gives: Step Law's at the batch, over its factor."""
    point = point_of(one)
    law = evaluate_law(book["step-law"].quantities["lr"], point)
    moved = book["step-law-saturating"].quantities["lr"]
    best = evaluate_law(book["step-law"].quantities["batch_tokens"], point)
    assert law is not None
    assert best is not None
    factor = evaluate_saturating(moved, point) / evaluate_saturating(
        moved, point | {"batch_tokens": best}
    )
    return law * factor / OPTIMIZERS[one.optimizer].adamw_factor


def main() -> None:
    book = read_lawbook()
    for optimizer in TITLES:
        rows = optima(optimizer)
        lr, decay = fit_lr(rows), fit_weight_decay(rows)
        assert lr.covariance is not None
        errors = [math.sqrt(lr.covariance.matrix[i][i]) for i in range(3)]
        c = lr.coefficients
        print(
            f"{optimizer}: lr {c['scale']:.3g} (ln ± {errors[0]:.2f}) N^{c['params']:.2f} ± "
            f"{errors[1]:.2f} D^{c['tokens']:.2f} ± {errors[2]:.2f}, scatter {lr.scatter:.2f}, "
            f"{len(rows)} optima"
        )
        t = decay.coefficients
        print(
            f"  tau {t['scale']:.2f} (D/N)^{t['tokens_per_param']:.2f}, scatter {decay.scatter:.2f}"
        )
        ratios = [math.log(one.lr / converted(one, book)) for one in rows if one.lr]
        print(
            f"  tuned over converted from AdamW: {math.exp(float(np.mean(ratios))):.2f} on "
            f"average, sd of ln {float(np.std(ratios, ddof=1)):.2f}"
        )
        if len(sys.argv) > 1:
            path = Path(sys.argv[1]) / f"{optimizer}-tuned.toml"
            path.write_text(law_text(optimizer, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
