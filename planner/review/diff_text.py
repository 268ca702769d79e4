"""What changed between two plans, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fitting.units import format_count, format_small

if TYPE_CHECKING:
    from planner.review.diff import Change, Difference

LARGE = 1e5
"""From here on numbers are printed as counts: 442K, 1B."""

FLOPS = 1e15
"""From here on a number is FLOPs, written with an exponent."""


def difference_lines(found: Difference) -> list[str]:
    """Every change, and the cost."""
    if not found.changes:
        return ["the plans say the same"]
    width = max(len(change.key) for change in found.changes)
    lines = [change_line(change, width) for change in found.changes]
    return [*lines, "", cost_line(found)]


def change_line(change: Change, width: int) -> str:
    """`lr  9.96e-4 -> 2e-3 (2x)`."""
    factor = "" if change.factor is None else f" ({change.factor:.3g}x)"
    return f"{change.key:<{width}}  {said(change.before)} -> {said(change.after)}{factor}"


def cost_line(found: Difference) -> str:
    """What the second plan's lr and batch cost over the first's."""
    if found.cost is None:
        return f"loss: what the change costs is not known: {found.reason}"
    cost = 100 * found.cost
    if abs(cost) < 0.005:
        return "loss: lr and batch cost the same by the measured surface"
    word = "cost" if cost > 0 else "save"
    return f"loss: the second plan's lr and batch {word} {abs(cost):.2f}% of the loss"


def said(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) and value < LARGE:
        return f"{value:,}"
    return format_count(value) if LARGE <= abs(value) < FLOPS else format_small(value)
