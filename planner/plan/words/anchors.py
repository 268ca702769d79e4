"""What a plan says of its anchors: their arithmetic, and what is wrong with them.

The first part serves `--explain`, the second the warnings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.intervals import Z80
from fitting.units import format_count, format_small
from planner.recommendation.anchoring import FAR, Carried, contradiction, far_factor
from planner.recommendation.estimate import Estimate

if TYPE_CHECKING:
    from planner.plan.draft import Draft

DIGITS = 5
"""Significant digits of the arithmetic, as in `planner.plan.arithmetic`."""

SHOWN = 8
"""Anchors that the arithmetic shows; a runs table may have dozens."""

SURPRISING = 3.0
"""Standard deviations between setups above which an anchor's level is taken for a slip."""

WORDS = {
    "lr": "lr",
    "batch_tokens": "batch",
    "weight_decay": "weight decay",
    "loss": "loss",
}
"""Quantities as people call them."""


def explain_anchors(estimate: Estimate) -> list[str]:
    """How each anchor was carried to the target; nothing without any."""
    lines = []
    for carried in estimate.anchors[:SHOWN]:
        reading = carried.reading
        used, there, here, value = (
            format_small(number, DIGITS)
            for number in (reading.used, reading.end.said, carried.said, carried.law_value)
        )
        lines += [
            f"anchor {reading.anchor.name}: {used} where the law says {there}; here {used} x "
            f"{here} / {there} = {value}{describe_practice(carried)}",
            f"  own error {reading.log_sd:.3f}^2, the move {carried.coefficient_variance:.4f}, "
            f"form {carried.form_variance:.4f}, slopes elsewhere {carried.setup_variance:.4f}; "
            f"weight {carried.weight:.3f}",
        ]
    rest = len(estimate.anchors) - SHOWN
    return [*lines, f"and {rest} more anchors"] if rest > 0 else lines


def describe_practice(carried: Carried) -> str:
    """The mixing with practice, where the target lies farther outside the range."""
    if carried.practice_value is None:
        return ""
    return (
        f", along practice {format_small(carried.practice_value, DIGITS)}, mixed in log with "
        f"weight {carried.practice_weight:.3f}: {format_small(carried.value, DIGITS)}"
    )


def explain_elsewhere(estimate: Estimate) -> list[str]:
    """The interval for a setup that nobody measured."""
    if estimate.elsewhere_log_sd is None:
        return []
    factor = math.exp(Z80 * estimate.elsewhere_log_sd)
    if estimate.anchors:
        return [f"80% interval with the slopes of another setup: times or over {factor:.3f}"]
    extra = estimate.law.setup_variance or 0.0
    return [
        f"elsewhere: {extra:.4f} more between setups (setups, fitted to published sweeps): 80% "
        f"interval times or over {factor:.3f}"
    ]


def far_anchors(draft: Draft) -> list[str]:
    """Anchors so far away that little but their level survives."""
    found = []
    for standing in draft.derivation.standings:
        name, factor = far_factor(standing.anchor, draft.derivation.point)
        if factor <= FAR:
            continue
        bounds = draft.numbers.lr.elsewhere
        interval = (
            ""
            if bounds is None
            else f", in your setup {format_small(bounds.low, 2)} to {format_small(bounds.high, 2)}"
        )
        found.append(
            f"anchor {standing.anchor.name}: {format_small(factor, 2)} times from the target in "
            f"{name}, so that slopes decide the lr{interval}; tune a model nearer to it"
        )
    return found


def surprising_anchors(draft: Draft) -> list[str]:
    """Anchors whose level lies farther from the law than setups differ: most often a slip."""
    derivation, found = draft.derivation, {}
    grounds = {one.anchor.name: one.ground for one in derivation.standings}
    for name, estimate in (("batch_tokens", derivation.free_batch), ("lr", derivation.lr)):
        for carried in estimate.anchors:
            reading = carried.reading
            ground = grounds[reading.anchor.name]
            spread = (ground.lr if name == "lr" else ground.batch).elsewhere_log_sd
            # The lr was compared at the anchor's batch: where that is a slip, it looks like one.
            if spread is None or reading.anchor.name in found:
                continue
            if abs(reading.offset) <= SURPRISING * math.hypot(spread, reading.log_sd):
                continue
            factor = format_small(math.exp(abs(reading.offset)), 2)
            way = "above" if reading.offset > 0 else "below"
            slip = name == "batch_tokens" and reading.offset < 0
            found[reading.anchor.name] = (
                f"anchor {reading.anchor.name}: its {WORDS[name]} lies {factor} times {way} what "
                f"{estimate.law.name} says there, farther than setups differ; "
                + ("in sequences, write batch-sequences" if slip else "check its unit")
            )
    return list(found.values())


def widening_anchors(draft: Draft) -> list[str]:
    """Anchors so far away that the laws alone know more."""
    derivation, found = draft.derivation, []
    for name, anchored, alone in (
        ("lr", derivation.lr, derivation.ground.lr),
        ("batch_tokens", derivation.free_batch, derivation.ground.batch),
    ):
        with_anchors, without = anchored.elsewhere_log_sd, alone.elsewhere_log_sd
        # A law of another optimizer or parametrization is surer at an anchor than it looks alone.
        if not anchored.anchors or with_anchors is None or without is None:
            continue
        if derivation.conversion.reasons or with_anchors <= without:
            continue
        wide, narrow = (format_small(math.exp(Z80 * sd), 2) for sd in (with_anchors, without))
        found.append(
            f"far anchors tell less of the {WORDS[name]} than {alone.name} alone: elsewhere "
            f"times or over {wide} with them, {narrow} without; compare with the plan without them"
        )
    return found


def contradicting_anchors(draft: Draft) -> list[str]:
    """Anchors that differ more than the law's slope and their own errors allow."""
    derivation, found = draft.derivation, []
    for name, estimate in (
        ("lr", derivation.lr),
        ("batch_tokens", derivation.free_batch),
        ("weight_decay", derivation.weight_decay),
        ("loss", derivation.loss),
    ):
        worst = contradiction(name, derivation.sources, estimate.anchors)
        if worst is None:
            continue
        low, high, sds = worst
        found.append(
            f"anchors contradict the slope of {estimate.law.name} in {WORDS[name]}: "
            f"{describe_offset(low)} the law, {describe_offset(high)}, {sds:.1f} standard "
            "deviations apart; fit the slopes to your own runs with plan fit"
        )
    return found


def describe_offset(carried: Carried) -> str:
    """An anchor's level over the law's."""
    anchor = carried.reading.anchor
    factor = format_small(math.exp(carried.reading.offset), 2)
    size = f"{format_count(anchor.params)} params on {format_count(anchor.tokens)}"
    return f"{size} tokens {factor} times"
