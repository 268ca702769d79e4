"""What a law from smaller models costs at larger ones, by prior, against Step Law as published.

usage: python -m tests.benchmarks.surface_extrapolation SHARED [--quick]

Regret is that of `tools/regret.py --table lr_batch_runs_to_537M.csv`: mean over all cells named.
"one fit" is one surface for every size, "per target" weighs cells by their distance to the
target. Coverage counts measured optima inside 80% intervals of lr and of batch (per target, no
prior), cells with an optimum on the edge of their grid left out. The 10% rows are means over
random draws of the runs up to 429M, a seed each. Settings were chosen on splits inside the
training sets, see `surface_choices`. --quick: no intervals, 4 draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fitting.cells.spline import MeasuredOptimum, measured_optima
from fitting.surface.fit import Effort
from tests.measured.step_law_cells import columns, read_table
from tests.measured.surface_extrapolation import (
    DRAWS,
    Score,
    Split,
    one_fit,
    per_target,
    published,
    splits,
    step_law_line,
    tenth,
    total,
)


def row(
    cases: list[Split], optima: list[MeasuredOptimum], effort: Effort
) -> tuple[Score, Score, Score, Score, Score]:
    """Scores of one row of the table, over its draws: none and prior, one fit and per target."""
    prior = step_law_line()
    some = Effort(bootstraps=max(effort.bootstraps, 50))
    return (
        total([one_fit(case, None, optima, effort) for case in cases]),
        total([per_target(case, None, optima, effort) for case in cases]),
        total([one_fit(case, prior, optima, some) for case in cases]),
        total([per_target(case, prior, optima, some) for case in cases]),
        total([published(case) for case in cases]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    effort = Effort(bootstraps=0 if args.quick else 100)
    optima = measured_optima(columns(read_table(args.shared)))
    rows = [[split] for split in splits(args.shared)]
    rows.append([tenth(args.shared, seed) for seed in range(4 if args.quick else DRAWS)])
    print(f"{'regret, %':32}{'':5}{'prior none':>16}{'prior step-law':>16}{'Step Law':>11}")
    heads = "".join(f"{head:>8}" for head in ("one fit", "target") * 2)
    print(f"{'':32}{'runs':>5}{heads}{'published':>11}   optima held")
    held = asked = 0
    for cases in rows:
        none, near, prior, prior_near, law = row(cases, optima, effort)
        held, asked = held + near.held, asked + near.asked
        means = "".join(f"{score.regret:8.3f}" for score in (none, near, prior, prior_near))
        print(
            f"{cases[0].name:32}{len(cases[0].runs):5}{means}{law.regret:11.3f}"
            f"   {near.held} of {near.asked}",
            flush=True,
        )
    if asked:
        print(f"intervals hold {held} of {asked}: {100 * held / asked:.0f}%")


if __name__ == "__main__":
    main()
