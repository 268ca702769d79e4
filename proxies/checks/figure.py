"""The figure of a coordinate check: a panel a kind of tensor, its change against size.

A filled marker is one model's change after the last step, a line its power law, thin grey lines
are the steps before. matplotlib is imported inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fitting.figures import TARGET, make_figure, open_axes
from proxies.model.activations import KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from proxies.checks.coordinate_check import CheckResult

COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Of Okabe and Ito's palette, a layer each, beside its marker."""

MARKERS = ("o", "s", "^", "D", "v")
"""A layer each, so that colour is never alone."""

OFF = TARGET
"""Colour of a tensor that is off."""

DRAWN_LAYERS = 5
"""Layers drawn; of more, those spread evenly from first to last."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One tensor: what was measured and the power law through it."""

    label: str
    """Layer, slope with standard error, verdict."""
    off: bool
    change: npt.NDArray[np.float64]
    """After the last step, shape (size, seed)."""
    before: npt.NDArray[np.float64]
    """Mean over seeds after the earlier steps, shape (step, size); 0 where nothing moved yet. Step
    1 is left out: the head starts at zero, so only weight decay moves what comes before it."""
    law: npt.NDArray[np.float64]
    """Power law at the sizes."""


@dataclass(frozen=True, slots=True)
class CheckData:
    """What a figure of a check shows."""

    title: str
    caption: str
    variable: str
    sizes: npt.NDArray[np.float64]
    panels: dict[str, list[CheckLine]]
    """By kind of tensor, in the order of the forward pass."""


def check_data(result: CheckResult) -> CheckData:
    """What to draw of a check."""
    coordinates, spec = result.coordinates, result.spec
    sizes = np.array(coordinates.sizes, dtype=np.float64)
    panels: dict[str, list[CheckLine]] = {}
    for number, slope in enumerate(result.slopes):
        kind = next(kind for kind in KINDS if slope.tensor.endswith(kind))
        if slope.tensor.endswith("attention logits"):
            kind = "attention logits"
        change = coordinates.change[:, :, -1, number]
        log_size = np.log(sizes)
        level = np.log(change).mean()
        place = slope.tensor.removesuffix(kind).strip()
        panels.setdefault(kind, []).append(
            CheckLine(
                label=f"{place} {slope.slope:+.2f} ± {slope.standard_error:.2f} "
                f"{slope.verdict}".strip(),
                off=slope.verdict == "off",
                change=change,
                before=coordinates.change[:, :, 2:-1, number].mean(axis=1).T,
                law=np.exp(level + slope.slope * (log_size - log_size.mean())),
            )
        )
    return CheckData(
        title=f"{result.rule}: {result.headline()}",
        caption=f"{spec.seeds} seeds, {spec.steps} steps of {spec.optimizer} at base lr "
        f"{spec.lr:g}; filled: after the last step; grey: after earlier ones; "
        "labels: slope ± standard error",
        variable=coordinates.variable,
        sizes=sizes,
        panels={kind: spread(lines) for kind, lines in panels.items()},
    )


def spread(lines: list[CheckLine]) -> list[CheckLine]:
    """At most `DRAWN_LAYERS` lines, the first and the last among them."""
    chosen = np.linspace(0, len(lines) - 1, min(len(lines), DRAWN_LAYERS)).round().astype(int)
    return [lines[number] for number in chosen]


def check_figure(data: CheckData) -> Figure:
    """The figure of a check, three panels a row."""
    figure = make_figure(13.5, 8.0, caption=data.caption)
    for place, (kind, lines) in enumerate(data.panels.items(), start=1):
        axes = open_axes(figure.add_subplot(2, 3, place))
        axes.set_title(kind, fontsize=10)
        draw_panel(axes, data, lines)
        if place > 3:
            axes.set_xlabel("d_model, features" if data.variable == "width" else "layers")
        if place % 3 == 1:
            axes.set_ylabel("change since the start, root mean square")
    figure.suptitle(data.title, fontsize=12)
    return figure


def draw_panel(axes: Axes, data: CheckData, lines: list[CheckLine]) -> None:
    """Every tensor of one kind."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for number, line in enumerate(lines):
        colour = OFF if line.off else COLOURS[number % len(COLOURS)]
        for earlier in line.before:
            if earlier.all():
                axes.plot(data.sizes, earlier, color="#bbbbbb", lw=0.8, zorder=1)
        axes.plot(data.sizes, line.law, color=colour, lw=1.5, label="_")
        axes.plot(
            np.repeat(data.sizes, line.change.shape[1]), line.change.ravel(),
            MARKERS[number % len(MARKERS)], color=colour, ms=3.5, label=line.label,
        )  # fmt: skip
    axes.legend(fontsize=8, frameon=False, loc="best")
    axes.set_xticks(data.sizes, [f"{size:g}" for size in data.sizes])
    axes.minorticks_off()
    # A flat line has to look flat: never less than a decade from bottom to top.
    low, high = axes.get_ylim()
    middle, half = np.sqrt(low * high), max(np.sqrt(high / low), np.sqrt(10.0))
    axes.set_ylim(middle / half, middle * half)
