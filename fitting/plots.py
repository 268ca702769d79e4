"""Figures of a fit: cells with their optima, laws with bands, residuals.

`fit_data` collects what is drawn, `fit_figure` draws it. Measured is a filled marker, a bound an
open one, the law a line, 80% a band, the target a vertical rule. matplotlib is imported inside.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError
from fitting.fitted_report import log_sd_at
from fitting.laws import evaluate_law
from fitting.surface import best_point, log_penalty
from fitting.surface_interval import Z80
from fitting.table_files import replace_file
from fitting.tuned import tuned_columns
from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fitting.fitted_report import FittedLaws
    from fitting.laws import Quantity
    from fitting.runs import Runs
    from fitting.surface_optima import Optimum
    from fitting.surface_solver import Floats

SUFFIXES = (".png", ".pdf", ".svg")
"""Endings that a figure may be written under."""

MOST_CELLS = 6
"""Cells drawn, largest compute first."""

GRID = 80
"""Points along each side of a cell's contours."""

NEAR = 3.0
"""Percent of the loss: runs that pay less are those a law is judged by."""

COSTS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Contours: percent of the loss above the law's best."""

LAW, MEASURED, TARGET = "#0072B2", "#222222", "#D55E00"
"""Colours by role, of Okabe and Ito's palette, told apart by colour-blind readers."""


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


def write_plot(runs: Runs, fit: FittedLaws, path: Path) -> None:
    """Draw a fit and write the figure, whole or not at all.

    Raises:
        InputError: another ending than .png, .pdf or .svg, matplotlib is absent, or the folder
            cannot be written to.
    """
    check_suffix(path)
    buffer = io.BytesIO()
    fit_figure(fit_data(runs, fit)).savefig(buffer, format=path.suffix[1:], dpi=130)
    replace_file(path, buffer.getvalue())


def check_suffix(path: Path) -> None:
    """Refuse an ending that no figure is written under, or a missing matplotlib.

    Raises:
        InputError: which of the two.
    """
    from importlib.util import find_spec

    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: ends in '{path.suffix}'; a figure is {', '.join(SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise InputError("--plot: needs matplotlib; pip install 'windtunnel[report]'")


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


def law_panels(fit: FittedLaws) -> tuple[LawPanel, ...]:
    """lr and batch against params and tokens."""
    assert fit.surface is not None
    middle = np.exp(np.median(np.log(fit.surface.cells), axis=0))
    held = fit.target or (float(middle[0]), float(middle[1]))
    laws = (("lr", fit.lr), ("batch_tokens", fit.batch_tokens))
    return tuple(
        law_panel(fit, name, law, against=against, held=held)
        for name, law in laws
        if law is not None
        for against in ("params", "tokens")
    )


def law_panel(
    fit: FittedLaws, name: str, law: Quantity, *, against: str, held: tuple[float, float]
) -> LawPanel:
    """One law against one size."""
    assert fit.surface is not None
    column = 0 if against == "params" else 1
    sizes = fit.surface.cells[:, column].tolist()
    if fit.target is not None:
        sizes.append(fit.target[column])
    x = np.geomspace(min(sizes) / 1.5, max(sizes) * 1.5, 60)

    def at(size: float) -> dict[str, float]:
        point = {"params": held[0], "tokens": held[1]}
        return point | {against: float(size)}

    value = np.array([evaluate_law(law, at(size)) for size in x], dtype=np.float64)
    sds = [log_sd_at(law, fit.range, at(size)) for size in x]
    half = np.exp(Z80 * np.array([0.0 if sd is None else sd for sd in sds]))
    moved = []
    for optimum in fit.optima:
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
        target=None if fit.target is None else fit.target[column],
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


def fit_figure(data: FitData) -> Figure:
    """The figure of a fit, three panels a row."""
    from matplotlib.figure import Figure

    draws: list[Callable[[Axes], None]] = [cell_drawer(panel) for panel in data.cells]
    draws += [law_drawer(panel) for panel in data.laws]
    if data.residuals is not None:
        draws.append(residual_drawer(data.residuals))
    if data.loss is not None:
        draws.append(loss_drawer(data.loss))
    columns = min(3, len(draws))
    rows = math.ceil(len(draws) / columns)
    figure = Figure(figsize=(5.2 * columns, 4.2 * rows + 0.6), layout="constrained")
    for place, draw in enumerate(draws, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
    figure.supxlabel(data.caption, fontsize=9, color="#555555")
    return figure


def cell_drawer(panel: CellPanel) -> Callable[[Axes], None]:
    """Draws a cell: contours of the surface, runs, both optima."""

    def draw(axes: Axes) -> None:
        lines = axes.contour(
            panel.grid_batch, panel.grid_lr, panel.grid_cost, levels=COSTS, colors=LAW,
            linewidths=0.9, alpha=0.8,
        )  # fmt: skip
        axes.clabel(lines, fmt=lambda cost: f"+{cost:g}%", fontsize=7)
        order = np.argsort(-panel.cost)
        shade = np.clip(np.log10(np.maximum(panel.cost[order], 0.05)), -1.3, 1.0)
        axes.scatter(
            panel.batch_tokens[order], panel.lr[order], c=shade, cmap="Greys_r", vmin=-1.5,
            vmax=1.2, s=14, linewidths=0,
        )  # fmt: skip
        axes.plot(panel.law[1], panel.law[0], "x", color=LAW, ms=9, mew=2.5)
        lower = panel.measured is None or panel.law[0] <= panel.measured.lr
        mark(axes, "law", panel.law, LAW, below=lower)
        title = f"{format_count(panel.params)} params, {format_count(panel.tokens)} tokens"
        at = panel.measured
        if at is not None:
            face = "none" if at.edge else TARGET
            axes.plot(at.batch_tokens, at.lr, "o", mfc=face, mec=TARGET, ms=8)
            word = "bound" if at.edge else "measured"
            mark(axes, word, (at.lr, at.batch_tokens), TARGET, below=at.lr < panel.law[0])
            kind = "bound" if at.edge else "measured"
            title += f":\nthe law's lr is {panel.law[0] / at.lr:.2f} times the {kind}"
        log_axes(axes, x=format_count, y=format_small)
        axes.set_xlabel("batch, tokens")
        axes.set_ylabel("peak lr")
        axes.set_title(title, fontsize=10)

    return draw


def mark(axes: Axes, text: str, at: tuple[float, float], colour: str, *, below: bool) -> None:
    """A label beside a point (lr, batch), clear of its marker."""
    shown = axes.annotate(
        text,
        (at[1], at[0]),
        xytext=(6, -11 if below else 5),
        textcoords="offset points",
        color=colour,
        fontsize=9,
    )
    shown.set_bbox({"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5})


def law_drawer(panel: LawPanel) -> Callable[[Axes], None]:
    """Draws a law with its band and the cells' optima."""

    def draw(axes: Axes) -> None:
        axes.fill_between(panel.x, panel.low, panel.high, color=LAW, alpha=0.15, linewidth=0)
        axes.plot(panel.x, panel.value, color=LAW)
        bound = panel.edge > 0
        axes.plot(panel.measured_x[~bound], panel.measured[~bound], "o", color=MEASURED, ms=5)
        axes.plot(
            panel.measured_x[bound], panel.measured[bound], "o", mfc="none", mec=MEASURED, ms=5
        )
        if panel.target is not None:
            axes.axvline(panel.target, color=TARGET, linestyle="--", linewidth=1)
        is_lr = panel.quantity == "lr"
        log_axes(axes, x=format_count, y=format_small if is_lr else format_count)
        other = "tokens" if panel.against == "params" else "params"
        name = "peak lr" if is_lr else "batch, tokens"
        verb = "falls" if panel.exponent < 0 else "rises"
        axes.set_xlabel(panel.against)
        axes.set_ylabel(f"best {name}, moved to {format_count(panel.held)} {other}")
        axes.set_title(
            f"the best {name.split(',')[0]} {verb} as {panel.against}^{panel.exponent:.2f}",
            fontsize=10,
        )

    return draw


def residual_drawer(panel: ResidualPanel) -> Callable[[Axes], None]:
    """Draws the residuals of runs against what their lr and batch cost."""

    def draw(axes: Axes) -> None:
        near = panel.paid < NEAR
        axes.axhline(0, color=LAW, linewidth=1)
        axes.plot(
            np.maximum(panel.paid, 0.01), panel.residual, ".", color=MEASURED, ms=3, alpha=0.4
        )
        low, high = np.quantile(panel.residual[near], [0.1, 0.9])
        axes.set_xscale("log")
        bottom, top = -3.0, 6.0
        axes.set_ylim(bottom, top)
        beyond = int(((panel.residual < bottom) | (panel.residual > top)).sum())
        if beyond:
            axes.text(0.02, 0.97, f"{beyond} runs beyond", transform=axes.transAxes, va="top")
        axes.set_xlabel("cost of lr and batch by the surface, % of the loss")
        axes.set_ylabel("loss over the fit, %")
        axes.set_title(
            f"80% of runs that pay under {NEAR:g}% lie {low:+.2f}% to {high:+.2f}% off", fontsize=10
        )

    return draw


def loss_drawer(panel: LossPanel) -> Callable[[Axes], None]:
    """Draws the residuals of the loss law against compute."""

    def draw(axes: Axes) -> None:
        residual = 100 * np.log(panel.loss / panel.fitted)
        axes.axhline(0, color=LAW, linewidth=1)
        axes.plot(panel.flops, residual, "o", color=MEASURED, ms=4)
        axes.set_xscale("log")
        axes.set_xlabel("6 params tokens, FLOPs")
        axes.set_ylabel("loss over the loss law, %")
        typical = np.median(np.abs(residual))
        axes.set_title(
            f"{panel.form} misses half of the losses by under {typical:.2f}%", fontsize=10
        )

    return draw


def log_axes(axes: Axes, *, x: Callable[[float], str], y: Callable[[float], str]) -> None:
    """Log axes with ticks at 1, 2 and 5 in the words of people."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, show in ((axes.xaxis, x), (axes.yaxis, y)):
        low, high = axis.get_view_interval()
        wide = math.log10(high / low) > 1.5
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if wide else (1.0, 2.0, 3.0, 5.0, 7.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _, show=show: show(value)))
        axis.set_minor_formatter(NullFormatter())
