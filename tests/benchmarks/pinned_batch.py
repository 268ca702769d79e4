"""What a pinned batch costs, by rule for the lr: extra loss over the best lr at that batch.

usage: python -m tests.benchmarks.pinned_batch SHARED

Batches are a quarter, half, double and four times Step Law's, where inside the grid of each of
the 36 cells; the best lr at a batch is the lowest of the cell's smoothed loss. Rows marked
"one cell out" and "one size out" move the lr by a surface that was fitted without that cell, or
without all cells of that size.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from fitting.laws.file import read_law
from fitting.laws.surface import Surface, best_lr, best_point, surface_from
from tests.measured.pinned_batch import FACTORS, LAW, Rule, fading, held_out, score, square_root
from tests.measured.step_law_cells import Cell, step_law


def saturating(cell: Cell, factor: float) -> float:
    """Step Law's lr times the factor that saturates in B (constants fitted to these cells)."""
    saturation = math.exp(1.67 * math.log(1.218 / (1 + 0.218 / factor)))
    return step_law(cell.params, cell.tokens)[0] * saturation


def ratio(surface: Surface) -> Rule:
    """Step Law's lr times the ratio of the surface's best lrs."""

    def rule(cell: Cell, factor: float) -> float:
        lr, batch = step_law(cell.params, cell.tokens)
        there = best_lr(surface, cell.params, cell.tokens, factor * batch)
        return lr * there / best_lr(surface, cell.params, cell.tokens, batch)

    return rule


def shifted(surface: Surface) -> Rule:
    """The surface moved in lr and batch until its optimum is Step Law's point."""

    def rule(cell: Cell, factor: float) -> float:
        lr, batch = best_point(surface, cell.params, cell.tokens)
        there = best_lr(surface, cell.params, cell.tokens, factor * batch)
        return step_law(cell.params, cell.tokens)[0] * there / lr

    return rule


def own(surface: Surface) -> Rule:
    """The surface's own best lr, Step Law's left out."""

    def rule(cell: Cell, factor: float) -> float:
        batch_tokens = factor * step_law(cell.params, cell.tokens)[1]
        return best_lr(surface, cell.params, cell.tokens, batch_tokens)

    return rule


def rules(shared: Path) -> dict[str, Rule]:
    """Every rule of the table."""
    surface = surface_from(read_law(LAW).quantities["surface"])
    return {
        "square root of the batch": square_root,
        "saturating factor": saturating,
        "surface's ratio": ratio(surface),
        "surface moved to its point": shifted(surface),
        "surface's own lr": own(surface),
        "move_lr": fading(lambda _: surface),
        "move_lr, one cell out": fading(held_out(shared, by="cell")),
        "move_lr, one size out": fading(held_out(shared, by="size")),
    }


def main() -> None:
    shared = Path(sys.argv[1])
    print(
        f"{'mean / worst, %':28}" + "".join(f"{f'B x {f:g}':>16}" for f in FACTORS) + "   first 3"
    )
    for name, rule in rules(shared).items():
        row = score(rule, shared)
        cells = "".join(f"{row.mean[f]:>8.3f} / {row.worst[f]:.3f}" for f in FACTORS)
        print(f"{name:28}{cells}   {row.first_three:7.3f}")


if __name__ == "__main__":
    main()
