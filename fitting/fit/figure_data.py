"""What the figures of a fit show: cells with their optima, laws with bands, residuals.

Arrays alone, so that a report can embed them; `fitting.fit.figure` draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.fit.enough import tuned_columns
from fitting.intervals import Z80
from fitting.laws.evaluate import evaluate_law, log_sd_at
from fitting.laws.surface import best_point, log_penalty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.arrays import Floats
    from fitting.cells.spline import Optimum
    from fitting.fit.result import FittedLaws
    from fitting.laws.law import Quantity, Range
    from fitting.runs.table import Runs

MOST_CELLS = 6
"""Cells drawn, largest compute first."""

GRID = 80
"""Points along each side of a cell's contours."""


@dataclass(frozen=True, slots=True, eq=False)
class CellPanel:
    """One cell: its runs, the fitted surface, the optimum measured and by the law."""

    params: float
    tokens: float
    lr: Floats
    """Of the runs, shape (n,)."""
    batch_tokens: Floats
    cost: Floats
    """Loss of the runs over the best of the surface, percent, shape (n,)."""
    grid_lr: Floats
    """Shape (GRID,)."""
    grid_batch: Floats
    grid_cost: Floats
    """Percent above the surface's best, shape (GRID, GRID), rows along lr."""
    law: tuple[float, float]
    """lr and batch."""
    measured: Optimum | None


@dataclass(frozen=True, slots=True, eq=False)
class LawPanel:
    """A law against params or tokens, the other held; cells moved there along the law."""

    quantity: str
    against: str
    held: float
    """Value of the other size."""
    exponent: float
    x: Floats
    value: Floats
    low: Floats
    """Lower end of 80% of cells."""
    high: Floats
    measured_x: Floats
    measured: Floats
    edge: Floats
    """1 where the optimum is a bound, else 0."""
    target: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ResidualPanel:
    """ln(loss / fit) in percent of each run against what its lr and batch cost."""

    paid: Floats
    """Percent of the loss, by the surface."""
    residual: Floats
    """Percent."""


@dataclass(frozen=True, slots=True, eq=False)
class LossPanel:
    """Loss levels against the loss law."""

    flops: Floats
    loss: Floats
    """Of cells at their best, or of runs where nothing was tuned."""
    fitted: Floats
    form: str


@dataclass(frozen=True, slots=True, eq=False)
class FitData:
    """Everything that a fit's figure shows."""

    cells: tuple[CellPanel, ...]
    laws: tuple[LawPanel, ...]
    residuals: ResidualPanel | None
    loss: LossPanel | None
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What lines of laws are drawn over."""

    limits: Range
    """Of the runs behind the laws."""
    sizes: tuple[tuple[float, float], ...]
    """params and tokens that lines must reach, one pair at least."""
    optima: tuple[Optimum, ...]
    """Measured."""
    target: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What points of one cell cost by the surface."""

    fit: FittedLaws
    params: float
    tokens: float
    least: float
    """ln(1 + q) at the surface's optimum."""

    def percent(self, lr: float, batch_tokens: float) -> float:
        """Percent of the loss above the surface's best."""
        return 100 * math.expm1(self.penalty(lr, batch_tokens) - self.least)

    def penalty(self, lr: float, batch_tokens: float) -> float:
        """ln(1 + q)."""
        assert self.fit.surface is not None
        return log_penalty(
            self.fit.surface.surface,
            params=self.params,
            tokens=self.tokens,
            lr=float(lr),
            batch_tokens=float(batch_tokens),
        )


def cost_at(fit: FittedLaws, params: float, tokens: float) -> Cost:
    """What points of one cell cost."""
    assert fit.surface is not None
    cost = Cost(fit, params, tokens, 0.0)
    return replace(cost, least=cost.penalty(*best_point(fit.surface.surface, params, tokens)))


def fit_data(runs: Runs, fit: FittedLaws) -> FitData:
    """What a fit's figure shows."""
    tuned = fit.surface is not None
    return FitData(
        cells=cell_panels(runs, fit) if tuned else (),
        laws=law_panels(fit) if tuned else (),
        residuals=residual_panel(runs, fit) if tuned else None,
        loss=loss_panel(runs, fit),
        caption=fit.title(),
    )


def cell_panels(runs: Runs, fit: FittedLaws) -> tuple[CellPanel, ...]:
    """The largest cells that were swept in lr and batch."""
    assert fit.surface is not None
    columns = tuned_columns(runs)
    measured = {(optimum.params, optimum.tokens): optimum for optimum in fit.optima}
    panels = []
    order = np.argsort(-fit.surface.cells.prod(axis=1), kind="stable")
    for place in order.tolist():
        params, tokens = fit.surface.cells[place].tolist()
        here = (columns.params == params) & (columns.tokens == tokens)
        lr, batch_tokens = columns.lr[here], columns.batch_tokens[here]
        if len(np.unique(lr)) < 3 or len(np.unique(batch_tokens)) < 3:
            continue
        law = best_point(fit.surface.surface, params, tokens)
        cost = cost_at(fit, params, tokens)
        offset = fit.surface.offsets[place] + cost.least
        grid_lr = np.geomspace(min(lr.min(), law[0]) / 1.3, max(lr.max(), law[0]) * 1.3, GRID)
        grid_batch = np.geomspace(
            min(batch_tokens.min(), law[1]) / 1.3, max(batch_tokens.max(), law[1]) * 1.3, GRID
        )
        panels.append(
            CellPanel(
                params=params,
                tokens=tokens,
                lr=lr,
                batch_tokens=batch_tokens,
                cost=100 * np.expm1(np.log(columns.loss[here]) - offset),
                grid_lr=grid_lr,
                grid_batch=grid_batch,
                grid_cost=np.array([[cost.percent(a, b) for b in grid_batch] for a in grid_lr]),
                law=law,
                measured=measured.get((params, tokens)),
            )
        )
        if len(panels) == MOST_CELLS:
            break
    return tuple(panels)


def law_panels(fit: FittedLaws) -> tuple[LawPanel, ...]:
    """lr and batch of a fit against params and tokens."""
    laws = {"lr": fit.lr, "batch_tokens": fit.batch_tokens}
    known = {name: law for name, law in laws.items() if law is not None}
    return scope_panels(known, scope_of(fit))


def scope_of(fit: FittedLaws) -> Scope:
    """What a fit's lines are drawn over: its cells and its target."""
    assert fit.surface is not None
    cells = tuple((params, tokens) for params, tokens in fit.surface.cells.tolist())
    return Scope(limits=fit.range, sizes=cells, optima=fit.optima, target=fit.target)


def scope_panels(laws: Mapping[str, Quantity], scope: Scope) -> tuple[LawPanel, ...]:
    """Laws of lr and batch against params and tokens, the other size held at the target.

    Args:
        laws: `lr` and `batch_tokens`, as far as known: powers of params and tokens.
        scope: what the lines are drawn over; without a target its median size is held.
    """
    middle = np.exp(np.median(np.log(np.array(scope.sizes)), axis=0))
    held = scope.target or (float(middle[0]), float(middle[1]))
    return tuple(
        law_panel(name, law, scope, against=against, held=held)
        for name, law in laws.items()
        for against in ("params", "tokens")
    )


def law_panel(
    name: str, law: Quantity, scope: Scope, *, against: str, held: tuple[float, float]
) -> LawPanel:
    """One law against one size."""
    column = 0 if against == "params" else 1
    sizes = [size[column] for size in scope.sizes]
    if scope.target is not None:
        sizes.append(scope.target[column])
    x = np.geomspace(min(sizes) / 1.5, max(sizes) * 1.5, 60)

    def at(size: float) -> dict[str, float]:
        point = {"params": held[0], "tokens": held[1]}
        return point | {against: float(size)}

    value = np.array([evaluate_law(law, at(size)) for size in x], dtype=np.float64)
    sds = [log_sd_at(law, scope.limits, at(size)) for size in x]
    half = np.exp(Z80 * np.array([0.0 if sd is None else sd for sd in sds]))
    moved = []
    for optimum in scope.optima:
        own = {"params": optimum.params, "tokens": optimum.tokens}
        here, there = evaluate_law(law, own), evaluate_law(law, at(own[against]))
        assert here is not None
        assert there is not None
        moved.append((own[against], getattr(optimum, name) * there / here, float(optimum.edge)))
    points = np.array(moved).reshape(len(moved), 3)
    return LawPanel(
        quantity=name,
        against=against,
        held=held[1 - column],
        exponent=law.coefficients[against],
        x=x,
        value=value,
        low=value / half,
        high=value * half,
        measured_x=points[:, 0],
        measured=points[:, 1],
        edge=points[:, 2],
        target=None if scope.target is None else scope.target[column],
    )


def residual_panel(runs: Runs, fit: FittedLaws) -> ResidualPanel:
    """Each tuned run's loss over the surface."""
    assert fit.surface is not None
    columns = tuned_columns(runs)
    cells: list[list[float]] = fit.surface.cells.tolist()
    costs = {(n, d): cost_at(fit, n, d) for n, d in cells}
    offsets = {(n, d): o for (n, d), o in zip(cells, fit.surface.offsets.tolist(), strict=True)}
    paid, residual = [], []
    rows = np.column_stack(
        [columns.params, columns.tokens, columns.lr, columns.batch_tokens, np.log(columns.loss)]
    )
    for n, d, lr, batch_tokens, log_loss in rows.tolist():
        penalty = costs[n, d].penalty(lr, batch_tokens)
        paid.append(100 * math.expm1(penalty - costs[n, d].least))
        residual.append(100 * (log_loss - offsets[n, d] - penalty))
    return ResidualPanel(paid=np.array(paid), residual=np.array(residual))


def loss_panel(runs: Runs, fit: FittedLaws) -> LossPanel | None:
    """Loss levels of cells, or losses of runs, against the loss law."""
    if fit.loss is None:
        return None
    if fit.surface is not None:
        params, tokens = fit.surface.cells.T
        least = [cost_at(fit, n, d).least for n, d in fit.surface.cells.tolist()]
        loss = np.exp(fit.surface.offsets + np.array(least))
        fitted = fit.loss.predict(params, tokens).value
    else:
        used = runs.finished
        params, tokens = used["params"].to_numpy(), used["tokens"].to_numpy()
        loss = used["loss"].to_numpy()
        unique = used["unique_tokens"].to_numpy() if "unique_tokens" in used else None
        fitted = fit.loss.predict(params, tokens, unique_tokens=unique).value
    return LossPanel(flops=6 * params * tokens, loss=loss, fitted=fitted, form=fit.loss.family)
