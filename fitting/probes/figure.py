"""The figure of a probe against lr: the runs of each size, the law, the threshold, the target.

matplotlib is imported inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fitting.figures import LAW, MEASURED, QUIET, TARGET, log_axes, make_figure, open_axes
from fitting.probes.law import predict_probe, usable
from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fitting.arrays import Floats
    from fitting.probes.law import ProbeLaw
    from fitting.runs.table import Runs

POINTS = 80
"""Of a drawn law."""


@dataclass(frozen=True, slots=True)
class SizePanel:
    """One size: its runs, and the law there."""

    params: float
    lr: Floats
    value: Floats
    """Of the runs, shape (n,); empty for a target."""
    law_lr: Floats
    law: Floats
    """The law's value at `law_lr`."""


@dataclass(frozen=True, slots=True)
class StabilityPlotData:
    """What is drawn."""

    sizes: tuple[SizePanel, ...]
    target: SizePanel | None
    column: str
    lr_slope: float
    params_slope: float
    threshold: float
    caption: str


def stability_plot_data(
    runs: Runs, law: ProbeLaw, *, threshold: float, params: float | None
) -> StabilityPlotData:
    """The runs of each size with the law through them, and the target's law."""
    table = usable(runs.table, law.column)
    grid = np.geomspace(law.lrs[0], law.lrs[1], POINTS)

    def panel(size: float) -> SizePanel:
        rows = table[table["params"] == size].sort_values("lr")
        return SizePanel(
            params=size,
            lr=rows["lr"].to_numpy(),
            value=rows[law.column].to_numpy(),
            law_lr=grid,
            law=np.array([predict_probe(law, lr=float(lr), params=size).value for lr in grid]),
        )

    return StabilityPlotData(
        sizes=tuple(panel(size) for size in law.params),
        target=None if params is None else panel(params),
        column=law.column,
        lr_slope=law.lr_slope,
        params_slope=law.params_slope,
        threshold=threshold,
        caption=f"{len(table)} runs; {law.form} law of lr and params",
    )


def stability_figure(data: StabilityPlotData) -> Figure:
    """The runs of each size, the law through them, the threshold and the target."""
    figure = make_figure(6.4, 4.6, caption=data.caption)
    axes = open_axes(figure.add_subplot())
    for size, mark in zip(data.sizes, "osD^vP*X" * len(data.sizes), strict=False):
        axes.plot(size.lr, size.value, mark, color=MEASURED, ms=4)
        axes.plot(size.law_lr, size.law, color=LAW, linewidth=1)
        axes.annotate(format_count(size.params), (size.law_lr[-1], size.law[-1]), fontsize=8)
    if data.target is not None:
        axes.plot(data.target.law_lr, data.target.law, color=TARGET, linestyle="--", linewidth=1.2)
        place = (data.target.law_lr[0], data.target.law[0])
        axes.annotate(f"{format_count(data.target.params)}, foretold", place, fontsize=8)
    axes.axhline(data.threshold, color=QUIET, linewidth=0.8)
    log_axes(axes, x=format_small, y=format_small)
    axes.set_xlabel("peak lr")
    axes.set_ylabel(data.column.replace("_", " "))
    axes.set_title(
        f"{data.column.replace('_', ' ')} grows as lr^{data.lr_slope:.2f} "
        f"params^{data.params_slope:.2f}",
        fontsize=10,
    )
    return figure
