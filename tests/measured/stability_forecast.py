"""Stability forecasts on recorded sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitting.probes.law import crossing_lr, fit_probe
from fitting.runs.table import read_runs

ROOT = Path(__file__).parents[2]

RECORDED = ROOT / "notebooks" / "stability.csv"
"""The runs."""

PLAIN, NORMED = "no-qk-norm", "qk-norm"

THRESHOLDS = (50.0, 100.0, 300.0, 1e3, 3e3, 1e4)
"""Attention logits; the last is the one above which the paper's runs diverged."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One threshold: foretold from the two smallest sizes, and measured at the largest."""

    threshold: float
    foretold: float
    low: float
    high: float
    measured: float

    @property
    def factor(self) -> float:
        """How far off, as a factor of at least 1."""
        return float(np.exp(abs(np.log(self.foretold / self.measured))))

    @property
    def inside(self) -> bool:
        """Whether the 80% interval holds the measurement."""
        return self.low <= self.measured <= self.high


def forecasts(path: Path) -> list[Forecast]:
    """Each threshold foretold from the two smallest widths for the largest."""
    runs = read_runs(path)
    table = runs.table[runs.table["group"] == PLAIN]
    largest = float(table["params"].max())
    law = fit_probe(table[table["params"] < largest], "max_attention_logit")
    assert law is not None
    rows = table[table["params"] == largest].sort_values("lr")
    logs = np.log(rows["max_attention_logit"]), np.log(rows["lr"])
    found = []
    for threshold in THRESHOLDS:
        crossing = crossing_lr(law, params=largest, threshold=threshold)
        assert crossing is not None
        measured = float(np.exp(np.interp(np.log(threshold), *logs)))
        found.append(Forecast(threshold, crossing.value, crossing.low, crossing.high, measured))
    return found
