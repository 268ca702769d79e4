"""Regret of every other law on Step Law's 15 dense cells, before and after one anchor.

usage: python -m tests.benchmarks.anchored_cells SHARED

The anchor is the cell of 119,992,320 params and 8B tokens of `lr_batch_runs_to_537M.csv`: by its
best run, and by its fitted optimum, which is what `--anchor runs.csv` takes. A law that gives
no batch has Step Law's. C is 6 N D, as in `score_laws`. Mean regret in percent of the best loss.
Then how often the two intervals of an anchored plan hold the measured optimum of a dense cell,
with each of the other cells as the anchor, by the log distance between the two in (N, D).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path

from planner.facts.laws import read_lawbook
from planner.plan.anchor_text import read_anchors
from planner.recommendation.anchored import anchored_batch, anchored_lr, stand
from planner.recommendation.anchoring import distance_squared
from planner.recommendation.numbers import pick_sources
from planner.recommendation.sources import survey
from planner.request.choices import Choices
from proxies.run.sizing import choose_shape
from tests.benchmarks.fit_setups import inside
from tests.measured.anchored_cells import CELL, best_run, cell_runs, fitted_optimum, regret_table
from tests.measured.optimum_scatter import measured_optima
from tests.measured.score_laws import cell_inputs

DENSE = "steplaw_dense_to_537M.csv"

SAME = 0.3
"""Log distance below which two cells count as one."""


def interval_coverage(shared: Path) -> dict[str, tuple[int, float, float]]:
    """Pairs of cells and the shares held by the narrow and the wide interval, by distance."""
    path = str(shared / "data" / "lr_batch_runs_to_537M.csv")
    choices = Choices()
    sources = pick_sources(read_lawbook(), choices, ())
    shape = choose_shape(CELL[0], vocab_size=32_000, tied_embeddings=False).shape
    optima = [cell for cell in measured_optima(shared, DENSE) if not cell["edge"]]
    held: dict[str, list[tuple[bool, bool]]] = {}
    for anchor in read_anchors([path], seq_len=2048):
        standings = stand(
            (anchor,), sources, choices, lambda a: (cell_inputs(a.params, a.tokens), shape)
        )
        for cell in optima:
            point = cell_inputs(cell["params"], cell["tokens"])
            there = {"params": anchor.params, "tokens": anchor.tokens}
            apart = math.sqrt(distance_squared(there, point))
            if apart < SAME:
                continue
            ground = survey(sources, point)
            batch = anchored_batch(sources, ground, standings)
            lr = anchored_lr(sources, ground, standings, batch_tokens=batch.value)
            for name, estimate in (("lr", lr), ("batch_tokens", batch)):
                intervals = (estimate.interval(), estimate.elsewhere())
                narrow, wide = (inside(interval, cell[name]) for interval in intervals)
                label = f"{name}, {'below' if apart < 1.5 else 'above'} 1.5"
                held.setdefault(label, []).append((narrow, wide))
    return {
        label: (len(pairs), share(narrow for narrow, _ in pairs), share(wide for _, wide in pairs))
        for label, pairs in sorted(held.items())
    }


def share(held: Iterable[bool]) -> float:
    """Share that is true."""
    found = list(held)
    return sum(found) / len(found)


def main(shared: Path) -> None:
    for anchor in (best_run(cell_runs(shared)), fitted_optimum(cell_runs(shared))):
        print(f"anchor: lr {anchor.lr:.4g}, batch {anchor.batch_tokens:.6g}")
    print(f"{'law':12} {'alone':>8} {'best run':>9} {'fitted':>8}")
    for name, (alone, best, fitted) in regret_table(shared).items():
        print(f"{name:12} {alone:7.2f}% {best:8.2f}% {fitted:7.2f}%")
    print("\nan anchored plan's intervals hold the measured optimum of another cell:")
    for label, (pairs, narrow, wide) in interval_coverage(shared).items():
        print(f"{label:24} {pairs} pairs: {100 * narrow:.0f}%, elsewhere {100 * wide:.0f}%")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
