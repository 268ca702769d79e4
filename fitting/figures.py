"""What every figure shares: colours by role, an empty sheet, log axes, and how it is saved.

A figure is drawn by `x_figure(data)` from what `x_data(...)` collects. matplotlib is imported
inside.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
"""Endings that a figure may be written under."""

LAW, MEASURED, TARGET = "#0072B2", "#222222", "#D55E00"
"""Colours by role, of Okabe and Ito's palette, told apart by colour-blind readers."""

QUIET = "#555555"
"""Colour of captions and of what stands beside the finding."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all, in the format of the path's ending.

    Raises:
        InputError: another ending than `SUFFIXES`, or the folder cannot be written to.
    """
    check_suffix(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=130)
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


def make_figure(width: float, height: float, *, caption: str = "") -> Figure:
    """An empty figure of so many inches, its caption below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if caption:
        figure.supxlabel(caption, fontsize=9, color=QUIET)
    return figure


def open_axes(axes: Axes) -> Axes:
    """The axes without the lines above and to the right, which hold nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


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
