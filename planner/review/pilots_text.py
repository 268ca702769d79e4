"""Pilots and their verdict as people read them, and as JSON."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from fitting.units import format_count, format_small
from planner.plan.file import to_plain
from planner.review.check_text import columns
from planner.review.pilots import WRONG

if TYPE_CHECKING:
    from planner.recommendation.value import Value
    from planner.review.pilots import Pilots
    from planner.review.verdict import Compared, Verdict


def pilots_lines(found: Pilots, plan: str) -> list[str]:
    """What to run, what it costs, what it would show, and the commands.

    Args:
        found: the pilots.
        plan: the plan's file, as it was typed.
    """
    share = 100 * found.fraction
    hours = "" if found.hours is None else f", {format_small(found.hours)} hours"
    rows: list[tuple[str, ...]] = [
        ("pilot", "lr", "lr right", f"{WRONG:g}x too high", f"{WRONG:g}x too low")
    ]
    rows += [
        (pilot.name, format_small(pilot.lr), *map(percent, pilot.expected.values()))
        for pilot in found.pilots
    ]
    return [
        f"{len(found.pilots)} pilots of {format_count(found.tokens)} tokens ({share:.3g}% of the "
        f"run): {found.steps:,} steps, {found.warmup_steps:,} of them warmup, batch "
        f"{format_count(found.batch_tokens)}",
        f"all together: {format_small(found.flops)} FLOPs, "
        f"{len(found.pilots) * share:.3g}% of the run{hours}",
        "",
        *columns(rows),
        f"(loss over the planned pilot's, by {found.surface}, were the plan's lr right or wrong)",
        "",
        "so short a run is best at another lr: " + length_line(found.length_factor),
        "",
        "run these, then: plan verify " + shlex.quote(plan) + " LOG.csv ... (step,lr,loss each)",
        *(f"  plan --from {shlex.quote(plan)} {shlex.join(p.options)}" for p in found.pilots),
    ]


def length_line(factor: Value) -> str:
    """`the full run's is 1.79 times it (1.04 to 3.09)`."""
    return f"the full run's is {interval(factor)} times it"


def verdict_lines(found: Verdict) -> list[str]:
    """The pilots beside what was expected, the verdict, and what to do."""
    rows: list[tuple[str, ...]] = [
        ("pilot", "lr", "of the plan's", "loss", "over planned", "expected")
    ]
    rows += [pilot_row(one) for one in found.pilots]
    lines = [*columns(rows), ""]
    if found.pilot_factor is not None:
        lines += [
            f"best lr of a run so short: {interval(found.pilot_factor)} times the planned one; "
            + length_line(found.length_factor),
        ]
    if found.factor is not None and found.lr is not None and found.cost is not None:
        lines += [
            f"the lr should move by a factor of {interval(found.factor)}: to {interval(found.lr)}",
            f"as planned it costs about {100 * found.cost:.2g}% of the loss",
        ]
    word = "stands" if found.stands else "is wrong"
    return [
        *lines,
        f"verdict: the plan {word}, with {100 * found.confidence:.0f}% confidence ({found.reason})",
    ]


def pilot_row(one: Compared) -> tuple[str, ...]:
    """One pilot: its lr, its loss, and that over the planned one's, measured and expected."""
    return (
        one.name,
        format_small(one.lr),
        f"{one.factor:.3g}x",
        "diverged" if one.loss is None else f"{one.loss:.4f}",
        "-" if one.gap is None else percent(one.gap),
        "-" if one.expected is None else percent(one.expected),
    )


def percent(gap: float) -> str:
    """A small difference of logs, in percent with its sign."""
    return f"{100 * gap:+.2f}%"


def interval(value: Value) -> str:
    """`1.79 (1.04 to 3.09)`: a value and its 80% interval."""
    if value.low is None or value.high is None:
        return format_small(value.value)
    ends = f"{format_small(value.low)} to {format_small(value.high)}"
    return f"{format_small(value.value)} ({ends})"


def pilots_to_dict(found: Pilots | Verdict) -> dict[str, Any]:
    """Pilots or a verdict as JSON; intervals are `{value, low, high, law}`."""
    plain: dict[str, Any] = to_plain(found)
    for part in plain.values():
        if isinstance(part, dict):
            part.pop("weights", None)
            part.pop("elsewhere", None)
    return plain
