"""The figure of a fit of curves: measured and fitted loss, and residuals, against step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.curves.problem import block_means
from fitting.figures import LAW, MEASURED, QUIET, make_figure, open_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fitting.arrays import Floats
    from fitting.curves.fit import CurveFit
    from fitting.logs.series import Curve


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve: rows after its warmup."""

    name: str
    step: Floats
    lr: Floats
    loss: Floats
    """Measured, nats per token."""
    fitted: Floats
    block_step: Floats
    """Mean step of each block."""
    block_off: Floats
    """Mean of measured over law of each block, percent."""


@dataclass(frozen=True, slots=True)
class CurvePlotData:
    """What is drawn."""

    panels: Sequence[Panel]
    scatter: float
    """Standard deviation of a block, percent."""
    caption: str


def curve_plot_data(fit: CurveFit, curves: Sequence[Curve], *, caption: str) -> CurvePlotData:
    """The rows that a fit used, curve by curve."""
    data = fit.data
    fitted = np.exp(data.log_loss - fit.log_residual)
    panels = []
    for i, curve in enumerate(curves):
        rows, step = data.run == i, data.paths.paths[i].step
        blocks = np.unique(data.block[rows])
        steps = np.zeros(len(rows))
        steps[rows] = step
        panels.append(
            Panel(
                name=curve.name,
                step=step,
                lr=np.interp(step, curve.step, curve.lr),
                loss=np.exp(data.log_loss[rows]),
                fitted=fitted[rows],
                block_step=block_means(steps, data)[blocks],
                block_off=100 * block_means(fit.log_residual, data)[blocks],
            )
        )
    return CurvePlotData(panels, 100 * fit.scatter, caption)


def curve_figure(data: CurvePlotData) -> Figure:
    """A column a curve: loss above, residuals in the middle, lr below."""
    columns = len(data.panels)
    figure = make_figure(1.2 + 3.8 * columns, 7.0, caption=data.caption)
    axes = figure.subplots(
        3, columns, squeeze=False, sharex="col", sharey="row", height_ratios=(3, 1.4, 1)
    )
    finals = [loss for panel in data.panels for loss in panel.loss[len(panel.loss) // 8 :]]
    for panel, (top, middle, bottom) in zip(data.panels, axes.T, strict=True):
        draw_loss(top, panel)
        draw_residuals(middle, panel, data.scatter)
        bottom.plot(panel.step, panel.lr, color=QUIET)
        bottom.set_xlabel("optimizer steps")
        for axis in (top, middle, bottom):
            open_axes(axis)
    low, high = min(finals), max(finals)
    axes[0, 0].set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes[2, 0].set_ylim(bottom=0)
    for axis, label in zip(
        axes[:, 0], ("loss, nats per token", "measured over law, %", "lr"), strict=True
    ):
        axis.set_ylabel(label)
    return figure


def draw_loss(axes: Axes, panel: Panel) -> None:
    """Measured points and the law's line."""
    axes.plot(panel.step, panel.loss, ".", color=MEASURED, ms=3)
    axes.plot(panel.step, panel.fitted, color=LAW, linewidth=1.2)
    typical = 100 * float(np.mean(np.abs(panel.loss / panel.fitted - 1)))
    axes.set_title(f"{panel.name}:\n{typical:.2f}% off on average", fontsize=10)


def draw_residuals(axes: Axes, panel: Panel, scatter: float) -> None:
    """Rows, the mean of each block, and one standard deviation of a block."""
    axes.axhspan(-scatter, scatter, color=LAW, alpha=0.15, linewidth=0)
    axes.axhline(0, color=LAW, linewidth=1)
    axes.plot(
        panel.step, 100 * np.log(panel.loss / panel.fitted), ".", color=MEASURED, ms=2, alpha=0.4
    )
    axes.plot(panel.block_step, panel.block_off, "o", color=MEASURED, ms=5)
