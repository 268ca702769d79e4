"""The gradient noise scale of one's own runs against their tokens, as a critical batch.

ln noise = a + b ln tokens by least squares where runs of three budgets or more tell b, else b is
that of Power Lines and the runs give the level alone. The simple noise scale stands for the
critical batch; both laws that measured it found no effect of params.

Source: McCandlish et al. 2018 (arXiv 1812.06162); Bergsma et al. 2025 (arXiv 2505.13738), b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from fitting.intervals import student_half_width
from fitting.runs.table import read_runs

if TYPE_CHECKING:
    from pathlib import Path

EXPONENT = 0.462
"""Exponent of the tokens in Power Lines' critical batch."""

FEWEST_BUDGETS = 3
"""Distinct numbers of tokens that tell an exponent and leave an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFit:
    """ln noise = level + exponent (ln tokens - centre), of n runs."""

    source: str
    level: float
    exponent: float
    centre: float
    """Mean ln tokens of the runs."""
    n: int
    spread: float
    """Sum of squared distances of ln tokens from the centre."""
    log_sd: float | None
    """Residual standard deviation of ln noise; None where the exponent was not fitted."""

    def at(self, tokens: float) -> float:
        """The noise scale in tokens of a run of so many tokens."""
        return math.exp(self.level + self.exponent * (math.log(tokens) - self.centre))

    def interval(self, tokens: float) -> tuple[float | None, float | None]:
        """80% interval of one more run's noise scale; None where its width is not known."""
        if self.log_sd is None:
            return None, None
        far = (math.log(tokens) - self.centre) ** 2 / self.spread
        sd = self.log_sd * math.sqrt(1 + 1 / self.n + far)
        half = math.exp(student_half_width(self.n - 2) * sd)
        return self.at(tokens) / half, self.at(tokens) * half


def fit_noise(path: Path) -> NoiseFit:
    """The noise scale of the runs of a table against their tokens.

    Args:
        path: runs table with the column `noise_scale_tokens`.

    Raises:
        InputError: no run has a noise scale.
    """
    table = read_runs(path).finished
    if "noise_scale_tokens" in table:
        table = table[table["noise_scale_tokens"] > 0]
    if "noise_scale_tokens" not in table or not len(table):
        raise InputError(
            f"--noise {path}: no run has noise_scale_tokens; proxies measure it where batches are "
            "two micro-batches or more (plan proxy train)"
        )
    x = np.log(table["tokens"].to_numpy(dtype=float))
    y = np.log(table["noise_scale_tokens"].to_numpy(dtype=float))
    centre, spread = float(x.mean()), float(((x - x.mean()) ** 2).sum())
    fitted = len(np.unique(x)) >= FEWEST_BUDGETS
    exponent = float(((x - centre) * (y - y.mean())).sum() / spread) if fitted else EXPONENT
    level = float((y - exponent * (x - centre)).mean())
    rest = y - level - exponent * (x - centre)
    return NoiseFit(
        source=f"noise scale of {len(x)} runs in {path.name}",
        level=level,
        exponent=exponent,
        centre=centre,
        n=len(x),
        spread=spread,
        log_sd=math.sqrt(float((rest**2).sum()) / (len(x) - 2)) if fitted else None,
    )
