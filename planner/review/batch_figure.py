"""The figure of `plan batch`: steps against tokens to one loss, batches as points on the curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitting.figures import LAW, MEASURED, TARGET, make_figure
from fitting.units import format_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from planner.review.batch_tradeoff import Tradeoff

CURVE_POINTS = 200


def curve(found: Tradeoff) -> list[tuple[float, float]]:
    """(tokens, steps) over their fewest, from the smallest to the largest batch of the table."""
    first, last = (
        row.batch_tokens / found.critical_batch_tokens for row in (found.rows[0], found.rows[-1])
    )
    shares = [first * (last / first) ** (k / CURVE_POINTS) for k in range(CURVE_POINTS + 1)]
    return [(1 + share, 1 + 1 / share) for share in shares]


def batch_figure(found: Tradeoff) -> Figure:
    """Tokens against steps on log axes; the plan's batch and the critical one are marked."""
    figure = make_figure(6, 4)
    axes = figure.subplots()
    line = [(e * found.fewest_tokens, s * found.fewest_steps) for e, s in curve(found)]
    axes.plot(*zip(*line, strict=True), color=LAW)
    for row in found.rows:
        planned = row.batch_tokens == found.batch_tokens
        axes.plot(row.tokens, row.steps, "o", color=TARGET if planned else MEASURED)
        axes.annotate(
            format_count(row.batch_tokens),
            (row.tokens, row.steps),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
        )
    axes.plot(2 * found.fewest_tokens, 2 * found.fewest_steps, "s", color=LAW, fillstyle="none")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tokens to the plan's loss")
    axes.set_ylabel("steps to the plan's loss")
    axes.set_title(
        f"critical batch {format_count(found.critical_batch_tokens)} tokens ({found.source}), "
        "open square\npoints: batches in tokens; the plan's in colour",
        fontsize=9,
    )
    return figure
