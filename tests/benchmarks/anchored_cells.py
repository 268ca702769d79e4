"""Regret of every other law on Step Law's 15 dense cells, before and after one anchor.

usage: python -m tests.benchmarks.anchored_cells SHARED

The anchor is the cell of 119,992,320 params and 8B tokens of `lr_batch_runs_to_537M.csv`: by its
best run, and by its fitted optimum, which is what `--anchor runs.csv` takes. A law that gives
no batch has Step Law's. C is 6 N D, as in `score_laws`. Mean regret in percent of the best loss.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

from fitting.laws import Law
from fitting.runs import Runs, check_runs
from planner.anchor_files import anchor_of_cell
from planner.anchors import Anchor, make_anchor, own_errors
from planner.choices import Choices
from planner.ground import survey
from planner.hyperparameters import pick_sources
from planner.lawbook import read_lawbook
from planner.standing import anchored_batch, anchored_lr, stand
from proxies.sizing import choose_shape
from tests.benchmarks.regret_tool import load_regret
from tests.benchmarks.score_laws import cell_inputs

LAWS = ("deepseek", "porian", "olmo-ladder", "kaplan", "ling-moe")
"""Laws whose lr was measured elsewhere; kaplan gives no batch."""

CELL = (119_992_320, 8e9)
"""Params and tokens of the anchor."""


def cell_runs(shared: Path) -> Runs:
    """The runs of the anchor's cell."""
    table = pd.read_csv(shared / "data" / "lr_batch_runs_to_537M.csv")
    return check_runs(table[(table["params"] == CELL[0]) & (table["tokens"] == CELL[1])])


def best_run(runs: Runs) -> Anchor:
    """The cell's best run, as one would type it."""
    best = runs.tuned.sort_values("loss").iloc[0]
    lr, batch = float(best["lr"]), float(best["batch_tokens"])
    errors = own_errors(2.0, batch_tokens=batch, weight_decay=None, loss=None)
    return make_anchor(
        "best run", params=CELL[0], tokens=CELL[1], lr=lr, batch_tokens=batch, log_sd=errors
    )


def fitted_optimum(runs: Runs) -> Anchor:
    """The cell's fitted optimum."""
    return anchor_of_cell(runs, where="cell")


def mean_regret(
    tool: ModuleType, book: dict[str, Law], name: str, anchors: tuple[Anchor, ...]
) -> float:
    """Mean regret of a law over the cells, in percent."""
    choices = Choices(law=name)
    sources = pick_sources(book, choices, ())
    shape = choose_shape(CELL[0], vocab_size=32_000, tied_embeddings=False).shape
    standings = stand(
        anchors, sources, choices, lambda anchor: (cell_inputs(anchor.params, anchor.tokens), shape)
    )
    regrets: list[float] = []
    for (params, tokens), cell in tool.cells().items():
        ground = survey(sources, cell_inputs(params, tokens))
        batch = anchored_batch(sources, ground, standings).value
        lr = anchored_lr(sources, ground, standings, batch_tokens=batch).value
        regrets.append(tool.regret(cell, lr, batch))
    return sum(regrets) / len(regrets)


def regret_table(shared: Path) -> dict[str, tuple[float, float, float]]:
    """Mean regret of each law: alone, anchored by the best run, by the fitted optimum."""
    tool, book, runs = load_regret(shared), read_lawbook(), cell_runs(shared)
    kinds = ((), (best_run(runs),), (fitted_optimum(runs),))
    found = {}
    for name in LAWS:
        alone, best, fitted = (mean_regret(tool, book, name, anchors) for anchors in kinds)
        found[name] = (alone, best, fitted)
    return found


def main(shared: Path) -> None:
    for anchor in (best_run(cell_runs(shared)), fitted_optimum(cell_runs(shared))):
        print(f"anchor: lr {anchor.lr:.4g}, batch {anchor.batch_tokens:.6g}")
    print(f"{'law':12} {'alone':>8} {'best run':>9} {'fitted':>8}")
    for name, (alone, best, fitted) in regret_table(shared).items():
        print(f"{name:12} {alone:7.2f}% {best:8.2f}% {fitted:7.2f}%")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
