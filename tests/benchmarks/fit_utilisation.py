"""Fit the law of utilisation to published throughput and write `data/utilisation.toml`.

usage: python -m tests.benchmarks.fit_utilisation [FILE.toml]

Bayesian linear regression of ln(mfu) on `planner.compute.utilisation.features`: each coefficient
has a normal prior (`PRIORS`), each project (a lab's runs, or one table) an effect of its own, each
row a residual. Spreads between and within projects, of runs and of tables, are those of highest
marginal likelihood. A new project has no known effect: its spread is part of the interval.
"""

from __future__ import annotations

import statistics
import sys
import tomllib
from pathlib import Path

import numpy as np

from tests.measured.fit_utilisation import DATA, PRIORS, fit, read_rows


def write(path: Path) -> None:
    """Write the law file."""
    rows = read_rows()
    law = fit(rows)
    uptimes = [
        one["whole"] / one["steady"]
        for one in tomllib.loads((DATA / "throughput.toml").read_text("utf-8"))["uptime"]
    ]
    runs = [row for row in rows if row.setting.whole_run]
    devices = sorted({row.raw["accelerator"] for row in runs})
    lower = [[float(f"{v:.4g}") for v in row[: i + 1]] for i, row in enumerate(law.covariance)]
    lines = [
        "# Law of utilisation: made by python -m tests.benchmarks.fit_utilisation; do not edit.",
        f"runs = {len(runs)}",
        f"rows = {len(rows) - len(runs)}",
        f"measured_on = {devices}".replace("'", '"'),
        f"uptime = {min(1.0, statistics.median(uptimes)):.3f}",
        f"uptime_low = {min(uptimes):.3f}",
        f"uptime_runs = {len(uptimes)}",
        f"between_projects = {law.spreads[1]:.4f}",
        f"within_project = {law.spreads[3]:.4f}",
        f"features = {list(PRIORS)}".replace("'", '"'),
        f"coefficients = {[float(f'{v:.5g}') for v in law.mean]}",
        "covariance = [",
        *(f"    {row}," for row in lower),
        "]",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Print the law; with FILE.toml, write it there."""
    rows = read_rows()
    law = fit(rows)
    for name, value, sd in zip(PRIORS, law.mean, np.sqrt(np.diag(law.covariance)), strict=True):
        print(f"{name:24} {value:+.3f} +- {sd:.3f}")
    print("between tables, projects; within table, project:", np.round(law.spreads, 3))
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
