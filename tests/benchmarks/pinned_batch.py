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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitting.laws.file import read_law
from fitting.laws.plateau import move_lr
from fitting.laws.surface import Surface, best_lr, best_point, surface_from
from fitting.surface.fit import Effort, fit_surface
from tests.benchmarks.step_law_cells import Cell, columns, read_cells, read_table, step_law

FACTORS = (0.25, 0.5, 2.0, 4.0)
LAW = Path(__file__).parents[2] / "data" / "laws" / "step-law-surface.toml"

Rule = Callable[[Cell, float], float]
"""The lr for a cell at a factor of Step Law's batch."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cost of one rule, percent of loss."""

    mean: Mapping[float, float]
    """By factor."""
    worst: Mapping[float, float]
    first_three: float
    """Mean over all pins at a quarter, half and double."""


def score(rule: Rule, shared: Path) -> Row:
    """Cost of a rule over every pin inside a grid."""
    by_factor: dict[float, list[float]] = {factor: [] for factor in FACTORS}
    for cell in read_cells(shared):
        for factor in FACTORS:
            batch_tokens = factor * step_law(cell.params, cell.tokens)[1]
            if cell.covers(batch_tokens):
                loss = cell.loss(rule(cell, factor), batch_tokens)
                by_factor[factor].append(100 * (loss / cell.lowest_at(batch_tokens) - 1))
    return Row(
        mean={factor: float(np.mean(costs)) for factor, costs in by_factor.items()},
        worst={factor: max(costs) for factor, costs in by_factor.items()},
        first_three=float(np.mean([c for f in FACTORS[:3] for c in by_factor[f]])),
    )


def square_root(cell: Cell, factor: float) -> float:
    """Step Law's lr times sqrt(B/B*)."""
    return step_law(cell.params, cell.tokens)[0] * math.sqrt(factor)


def saturating(cell: Cell, factor: float) -> float:
    """Step Law's lr times the factor that saturates in B (constants fitted to these cells)."""
    saturation = math.exp(1.67 * math.log(1.218 / (1 + 0.218 / factor)))
    return step_law(cell.params, cell.tokens)[0] * saturation


def fading(surface_for: Callable[[Cell], Surface]) -> Rule:
    """`move_lr`: the rule that plans use."""

    def rule(cell: Cell, factor: float) -> float:
        lr, batch_tokens = step_law(cell.params, cell.tokens)
        return move_lr(
            surface_for(cell),
            cell.params,
            cell.tokens,
            lr=lr,
            batch_tokens=batch_tokens,
            new_batch_tokens=factor * batch_tokens,
        )

    return rule


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


def held_out(shared: Path, *, by: str) -> Callable[[Cell], Surface]:
    """A surface fitted without each cell (by "cell") or without its size (by "size")."""
    table = read_table(shared)
    surfaces: dict[tuple[float, ...], Surface] = {}

    def surface_for(cell: Cell) -> Surface:
        left_out = table["params"] == cell.params
        key: tuple[float, ...] = (cell.params,)
        if by == "cell":
            left_out &= table["tokens"] == cell.tokens
            key = (cell.params, cell.tokens)
        if key not in surfaces:
            surfaces[key] = fit_surface(
                columns(table[~left_out]), effort=Effort(bootstraps=0)
            ).surface
        return surfaces[key]

    return surface_for


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
