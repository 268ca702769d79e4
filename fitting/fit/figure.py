"""Figures of a fit: cells with their optima, laws with bands, residuals.

`fitting.fit.figure_data.fit_data` collects what is drawn, `fit_figure` draws it. Measured is a
filled marker, a bound an open one, the law a line, 80% a band, the target a vertical rule.
matplotlib is imported inside.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fitting.figures import LAW, MEASURED, TARGET, log_axes, make_figure, open_axes
from fitting.units import format_count, format_size, format_small

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fitting.fit.figure_data import CellPanel, FitData, LawPanel, LossPanel, ResidualPanel

NEAR = 3.0
"""Percent of the loss: runs that pay less are those a law is judged by."""

COSTS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Contours: percent of the loss above the law's best."""


def fit_figure(data: FitData) -> Figure:
    """The figure of a fit, three panels a row."""
    draws: list[Callable[[Axes], None]] = [partial(draw_cell, panel=one) for one in data.cells]
    draws += [partial(draw_law, panel=one) for one in data.laws]
    if data.residuals is not None:
        draws.append(partial(draw_run_residuals, panel=data.residuals))
    if data.loss is not None:
        draws.append(partial(draw_loss_residuals, panel=data.loss))
    columns = min(3, len(draws))
    rows = math.ceil(len(draws) / columns)
    figure = make_figure(5.2 * columns, 4.2 * rows + 0.6, caption=data.caption)
    for place, draw in enumerate(draws, start=1):
        draw(open_axes(figure.add_subplot(rows, columns, place)))
    return figure


def draw_cell(axes: Axes, panel: CellPanel) -> None:
    """A cell: contours of the surface, runs, both optima."""
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
    title = format_size(panel.params, panel.tokens)
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


def draw_law(axes: Axes, panel: LawPanel) -> None:
    """A law with its band and the cells' optima."""
    axes.fill_between(panel.x, panel.low, panel.high, color=LAW, alpha=0.15, linewidth=0)
    axes.plot(panel.x, panel.value, color=LAW)
    bound = panel.edge > 0
    axes.plot(panel.measured_x[~bound], panel.measured[~bound], "o", color=MEASURED, ms=5)
    axes.plot(panel.measured_x[bound], panel.measured[bound], "o", mfc="none", mec=MEASURED, ms=5)
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


def draw_run_residuals(axes: Axes, panel: ResidualPanel) -> None:
    """The residuals of runs against what their lr and batch cost."""
    near = panel.paid < NEAR
    axes.axhline(0, color=LAW, linewidth=1)
    axes.plot(np.maximum(panel.paid, 0.01), panel.residual, ".", color=MEASURED, ms=3, alpha=0.4)
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


def draw_loss_residuals(axes: Axes, panel: LossPanel) -> None:
    """The residuals of the loss law against compute."""
    residual = 100 * np.log(panel.loss / panel.fitted)
    axes.axhline(0, color=LAW, linewidth=1)
    axes.plot(panel.flops, residual, "o", color=MEASURED, ms=4)
    axes.set_xscale("log")
    axes.set_xlabel("6 params tokens, FLOPs")
    axes.set_ylabel("loss over the loss law, %")
    typical = np.median(np.abs(residual))
    axes.set_title(f"{panel.form} misses half of the losses by under {typical:.2f}%", fontsize=10)
