"""Step Law's runs as anchors of one another: the regret of a plan that follows one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd

from fitting.laws.law import Law
from fitting.runs.table import Runs, check_runs
from planner.facts.anchor import Anchor, make_anchor, own_errors
from planner.facts.laws import read_lawbook
from planner.plan.anchor_files import anchor_of_cell
from planner.recommendation.anchored import anchored_batch, anchored_lr, stand
from planner.recommendation.numbers import pick_sources
from planner.recommendation.sources import survey
from planner.request.choices import Choices
from proxies.run.sizing import choose_shape
from tests.measured.regret_tool import load_regret
from tests.measured.score_laws import cell_inputs

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
