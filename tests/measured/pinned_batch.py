"""Rules for the lr of a pinned batch, judged on Step Law's cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitting.laws.plateau import move_lr
from fitting.laws.surface import Surface
from fitting.surface.fit import Effort, fit_surface
from tests.measured.step_law_cells import Cell, columns, read_cells, read_table, step_law

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
