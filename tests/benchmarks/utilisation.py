"""How well the law of utilisation foretells runs and tables that it has not seen.

usage: python -m tests.benchmarks.utilisation [--rows]

Whole runs (`data/whole_runs.toml`): each left out in turn, then each project; the project's own
effect is never used, since a user's is not known. Bars: GPU-hours within 25% for two thirds, and
the 80% interval holds 70 to 90%. Tables (`data/throughput.toml`): each left out in turn; bar:
median error 20%. Also: rows left out one at a time, where the rest of the table is known.
"""

from __future__ import annotations

import math
import statistics
import sys

import numpy as np

from fitting.intervals import Z80
from tests.measured.fit_utilisation import Row, read_rows
from tests.measured.utilisation import leave_out


def score(rows: list[Row], found: dict[int, tuple[float, float]], label: str) -> None:
    """Print the share within 25%, coverage and median error of whole runs."""
    runs = [found[i] for i, row in enumerate(rows) if row.setting.whole_run]
    close = statistics.fmean(abs(math.expm1(error)) <= 0.25 for error, _ in runs)
    held = statistics.fmean(abs(error) <= Z80 * sd for error, sd in runs)
    median = statistics.median(abs(math.expm1(error)) for error, _ in runs)
    print(
        f"{len(runs)} whole runs, {label} left out: hours within 25% {close:.0%}, "
        f"80% interval holds {held:.0%}, median error {median:.0%}"
    )


def main() -> None:
    """Print the scores."""
    rows = read_rows()
    by_row = leave_out(rows, lambda row: (row.project, id(row)))
    by_project = leave_out(rows, lambda row: row.project)
    score(rows, by_row, "each run")
    score(rows, by_project, "each project")
    tables = [i for i, row in enumerate(rows) if not row.setting.whole_run]
    for name in dict.fromkeys(rows[i].project for i in tables):
        errors = [abs(math.expm1(by_project[i][0])) for i in tables if rows[i].project == name]
        print(f"  {name:24} {len(errors):3} rows, median error {statistics.median(errors):.0%}")
    errors = [abs(math.expm1(by_project[i][0])) for i in tables]
    held = statistics.fmean(abs(by_project[i][0]) <= Z80 * by_project[i][1] for i in tables)
    print(
        f"{len(errors)} table rows, each table left out: median error "
        f"{statistics.median(errors):.1%}, 80% interval holds {held:.0%}"
    )
    errors = [abs(math.expm1(by_row[i][0])) for i in tables]
    print(
        f"{len(errors)} table rows, each row left out: median error {statistics.median(errors):.1%}"
    )
    if "--rows" in sys.argv:
        for i, row in enumerate(rows):
            error, sd = by_row[i]
            print(
                f"{row.project:24} {row.name:20} mfu {row.mfu:.3f} hours "
                f"{math.expm1(error):+.0%} z {error / sd:+.1f}"
            )


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
