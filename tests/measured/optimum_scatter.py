"""Measured optima beside the law book's, and how far they scatter."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fitting.laws.evaluate import evaluate_law
from fitting.laws.file import read_law
from fitting.laws.law import Quantity
from planner.facts.recipes import read_recipes
from tests.measured.regret_tool import load_regret

LAWS = Path(__file__).parents[2] / "data" / "laws"
FITTED_BELOW = 270e6
"""Cells of larger N judge the interval and must not set its width."""


def measured_optima(shared: Path, table: str) -> list[dict[str, Any]]:
    """The measured optimum of each cell of a table, as the scoring tool defines it."""
    tool = load_regret(shared)
    cells = tool.cells(shared / "data" / table)
    return [{"params": n, "tokens": d} | tool.optimum(cell) for (n, d), cell in cells.items()]


def log_ratio_rms(quantity: Quantity, optima: list[dict[str, Any]], measured: str) -> float:
    """Root mean square of ln(measured / law) over optima."""
    total = 0.0
    for cell in optima:
        law = evaluate_law(quantity, {"params": cell["params"], "tokens": cell["tokens"]})
        assert law is not None
        total += math.log(cell[measured] / law) ** 2
    return math.sqrt(total / len(optima))


def scatter_of_optima(shared: Path) -> dict[str, float]:
    """Scatter of the measured lr and batch about Step Law, cells of N <= 268M inside the grid."""
    law = read_law(LAWS / "step-law.toml", trusted=True)
    optima = [
        cell
        for cell in measured_optima(shared, "lr_batch_runs_to_537M.csv")
        if not cell["edge"] and cell["params"] < FITTED_BELOW
    ]
    return {"cells": len(optima)} | {
        name: log_ratio_rms(law.quantities[name], optima, name) for name in ("lr", "batch_tokens")
    }


def loss_scatter(shared: Path, law_name: str) -> float:
    """Root mean square of ln(measured / law) of the best loss of all cells."""
    law = read_law(LAWS / f"{law_name}.toml", trusted=True)
    optima = measured_optima(shared, "lr_batch_runs_to_537M.csv")
    return log_ratio_rms(law.quantities["loss"], optima, "loss")


def lowest_diverged(shared: Path) -> float:
    """Lowest lr at which a run diverged (loss above 1.5 times its cell's best), over Step Law's."""
    tool = load_regret(shared)
    law = read_law(LAWS / "step-law.toml", trusted=True).quantities["lr"]
    found = math.inf
    for (n, d), cell in tool.cells(shared / "data" / "steplaw_dense_to_537M.csv").items():
        value = evaluate_law(law, {"params": n, "tokens": d})
        assert value is not None
        diverged = cell[cell["loss"] > 1.5 * cell["loss"].min()]
        if len(diverged):
            found = min(found, float(diverged["lr"].min()) / value)
    return found


def weight_decay_scatter() -> tuple[int, float]:
    """Root mean square of ln(used / power-lines) over published recipes in its range of D / N.

    At each recipe's own params, tokens, lr and batch. Recipes are choices, not optima.
    """
    law = read_law(LAWS / "power-lines.toml", trusted=True)
    assert law.range.tokens_per_param is not None
    low, high = law.range.tokens_per_param
    squares = []
    for recipe in read_recipes():
        batch, weight_decay = recipe.batch_tokens, recipe.weight_decay
        if not recipe.is_comparable or batch is None or not weight_decay:
            continue
        if not low <= recipe.tokens / recipe.params <= high:
            continue
        said = evaluate_law(
            law.quantities["weight_decay"],
            {
                "params": recipe.params,
                "tokens": recipe.tokens,
                "lr": recipe.lr,
                "batch_tokens": batch,
            },
        )
        assert said is not None
        squares.append(math.log(weight_decay / said) ** 2)
    return len(squares), math.sqrt(sum(squares) / len(squares))
