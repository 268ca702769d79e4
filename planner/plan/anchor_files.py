"""Anchors from files: the cells of a runs table, and what a plan was pinned to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.cells.optimum import TUNED, CellOptimum, find_optima
from fitting.errors import FitError, InputError
from fitting.laws.plateau import surface_log_sd
from fitting.laws.surface import best_point
from fitting.runs.setting import require_one_setting
from fitting.runs.table import Runs, read_runs
from fitting.runs.tuned import tuned_runs
from fitting.surface.fit import Effort, fit_surface
from planner.facts.anchor import DEFAULT_GRID, RUN_LOSS_LOG_SD, Anchor, make_anchor, own_errors
from planner.plan.file import load_plan
from planner.recommendation.value import PINNED

if TYPE_CHECKING:
    import pandas as pd

EFFORT = Effort(starts=1, bootstraps=40)
"""Work of one cell's surface: 40 refits know its standard deviation to a tenth."""


def anchor_of_plan(path: Path) -> Anchor:
    """What a plan was pinned to: the user's own values. What was planned is no measurement.

    Raises:
        InputError: not a plan, or one whose lr is not pinned.
    """
    plan = load_plan(path)
    if plan.lr.law != PINNED:
        raise InputError(
            f"--anchor {path}: its lr was planned, not tuned, so it says nothing of your setup; "
            "plan with --lr (and --batch, --weight-decay) what you tuned, or give key=value text"
        )
    rule = plan.parametrization
    batch = plan.batch_tokens.value if plan.batch_tokens.law == PINNED else None
    decay = plan.weight_decay.value or None
    decay = decay if plan.weight_decay.law == PINNED else None
    return make_anchor(
        f"--anchor {path}",
        params=plan.target.params,
        tokens=plan.target.tokens,
        lr=plan.lr.value,
        batch_tokens=batch,
        weight_decay=decay,
        optimizer=plan.optimizer.name,
        parametrization=rule.name,
        d_model=plan.shape.d_model,
        base_d_model=None if rule.name == "sp" else rule.base_d_model,
        log_sd=own_errors(DEFAULT_GRID, batch_tokens=batch, weight_decay=decay, loss=None),
    )


def anchors_of_runs(path: Path) -> tuple[Anchor, ...]:
    """An anchor for each (params, tokens) cell of a runs table.

    Where a cell's runs show an optimum inside the values tried, that with the fit's own error;
    else its best run, with half a factor of two.

    Raises:
        InputError: not a runs table, several settings in one, or no run with an lr.
    """
    runs = read_runs(path)
    where = f"--anchor {path}"
    require_one_setting(runs, where=where)
    cells = [cell for _, cell in runs.by_cell() if len(cell.tuned)]
    if not cells:
        raise InputError(f"{where}: no finished run has both lr and batch_tokens; add the columns")
    return tuple(anchor_of_cell(cell, where=where) for cell in cells)


def anchor_of_cell(cell: Runs, *, where: str) -> Anchor:
    """One cell's fitted optimum, or its best run."""
    group = require_one_setting(cell, where=where)
    best = cell.tuned.sort_values("loss").iloc[0]
    found = find_optima(cell)[0]
    fitted = fitted_values(cell, found)
    values, errors = {}, {}
    for name in TUNED:
        value = number(best, name)
        if name in fitted:
            values[name], errors[name] = fitted[name]
        elif value is not None:
            values[name] = value
            if name == "lr" or moves(name, cell, found):
                errors[name] = math.log(DEFAULT_GRID) / 2
    loss, noise = float(best["loss"]), RUN_LOSS_LOG_SD
    if found.inside and found.loss is not None and found.loss_log_sd is not None:
        loss, noise = found.loss, found.loss_log_sd
    width = number(best, "d_model")
    return make_anchor(
        where,
        params=found.params,
        tokens=found.tokens,
        lr=values["lr"],
        batch_tokens=values["batch_tokens"],
        weight_decay=values.get("weight_decay"),
        loss=loss,
        optimizer=group.optimizer,
        parametrization=group.parametrization,
        d_model=None if width is None else round(width),
        base_d_model=None if math.isnan(group.base_d_model) else round(group.base_d_model),
        log_sd=errors | {"loss": noise},
    )


def fitted_values(cell: Runs, found: CellOptimum) -> dict[str, tuple[float, float]]:
    """Best values inside those tried with the standard deviation of their log, by quantity.

    Where both lr and batch were swept, those of a three-term surface through the cell: its shape
    is known better than that of the polynomial behind `found`, which bends with the noise of a
    few runs.
    """
    values = {
        name: (best.value, best.log_sd)
        for name, best in found.best.items()
        if best.value is not None and best.log_sd is not None
    }
    if not {"lr", "batch_tokens"} <= set(found.varied):
        return values
    names = ("lr", "batch_tokens")
    try:
        fit = fit_surface(tuned_runs(cell), effort=EFFORT)
        point = best_point(fit.surface, found.params, found.tokens)
        errors = surface_log_sd(fit.surface, found.params, found.tokens)
    except FitError:
        return values
    assert errors is not None
    scatter = (fit.scatter.lr, fit.scatter.batch_tokens)
    for name, value, sd, about in zip(names, point, errors, scatter, strict=True):
        tried = found.best[name].tried
        assert tried is not None
        if not tried[0] < value < tried[1]:
            return {key: value for key, value in values.items() if key not in names}
        values[name] = (value, math.hypot(sd, about))
    return values


def moves(name: str, cell: Runs, found: CellOptimum) -> bool:
    """Whether a cell's value was chosen among several, or is all that its one run says."""
    tried = found.best[name].tried
    return len(cell.tuned) == 1 or (tried is not None and tried[0] < tried[1])


def number(row: pd.Series, name: str) -> float | None:
    """A number of a run above 0; None where the table lacks it."""
    if name not in row or not row[name] > 0:
        return None
    return float(row[name])
