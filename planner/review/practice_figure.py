"""The figure of `plan laws compare`: published over planned lr, a row a lab.

`comparison_data` collects what is drawn, `comparison_figure` draws it. matplotlib is imported
inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from fitting.figures import LAW, MEASURED, make_figure
from planner.review.practice import PLAN, Factor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRow:
    """One lab of the figure; where laws are anchored, its sizes beside the anchor's."""

    name: str
    is_tuned: bool
    """Whether its values are optima; else choices."""
    plan: tuple[float, ...]
    """Published over planned lr, a run each."""
    others: tuple[float, ...]
    """Medians of the other laws, a law each."""


def comparison_data(factors: Sequence[Factor]) -> list[LabRow]:
    """A row a lab, tuned ones first; with anchors, its other sizes with the anchor."""
    anchored = any(one.anchored is not None for one in factors)
    found: dict[tuple[bool, str], dict[str, list[float]]] = {}
    for one in factors:
        said = one.anchored if anchored else one.said
        if one.quantity == "lr" and said is not None:
            laws = found.setdefault((one.is_tuned, one.setup), {})
            laws.setdefault(one.law, []).append(one.used / said)
    return [
        LabRow(
            name=setup,
            is_tuned=is_tuned,
            plan=tuple(laws.get(PLAN, ())),
            others=tuple(
                math.exp(median(map(math.log, ratios)))
                for law, ratios in laws.items()
                if law != PLAN
            ),
        )
        for (is_tuned, setup), laws in sorted(found.items(), key=lambda item: not item[0][0])
    ]


def comparison_figure(factors: Sequence[Factor]) -> Figure:
    """Factors on a log axis; optima are filled, choices open, other laws' medians short bars."""
    rows = comparison_data(factors)
    anchored = any(one.anchored is not None for one in factors)
    figure = make_figure(7.5, 1.2 + 0.28 * len(rows))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.plot(row.others, [place] * len(row.others), "|", color=LAW, markersize=9, zorder=1)
        axes.plot(
            row.plan,
            [place] * len(row.plan),
            "o",
            color=MEASURED,
            fillstyle="full" if row.is_tuned else "none",
            markersize=5,
            zorder=2,
        )
    axes.axvline(1.0, color=MEASURED, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("published lr over the planned one at the same params, tokens and batch")
    inside = [0.5 <= ratio <= 2 for row in rows if row.is_tuned for ratio in row.plan]
    share = 100 * sum(inside) / max(len(inside), 1)
    anchor = ", anchored at the lab's smallest model" if anchored else ""
    axes.set_title(
        f"{share:.0f}% of tuned learning rates lie within a factor of two of the plan{anchor}\n"
        "filled: tuned; open: recipes; bars: medians of the other laws",
        fontsize=9,
    )
    return figure
