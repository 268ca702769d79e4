"""A growing batch in words: rows of the plan's table, the arithmetic, and warnings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.units import format_count, format_small
from planner.facts.laws import CRITICAL_LAW

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from planner.plan.draft import Draft

NOT_ALONE = 1.25
"""Factor between the rule's lr and the surface's from which the plan warns; assumed."""


def growth_rows(plan: Plan) -> list[tuple[str, str]]:
    """Rows of the plan's table: what grows, and each stage."""
    growth = plan.batch_growth
    if growth is None:
        return []
    rows = [
        (
            "batch growth",
            f"{growth.kind} ({growth.source}): {growth.steps:,} updates for {plan.steps:,}, about "
            f"{growth.relative_tokens or math.nan:.2f}x the tokens to the same loss",
        )
    ]
    for stage in growth.stages:
        batch = stage.batch_sequences * plan.target.seq_len
        rows.append(
            (
                "",
                f"from token {format_count(stage.from_token) if stage.from_token else '0'}: "
                f"{stage.batch_sequences:,} sequences, {format_count(batch)} tokens, lr x "
                f"{stage.lr_factor:.3g}, beta2 {stage.beta2:.4g}",
            )
        )
    return rows


def explain_growth(draft: Draft) -> list[str]:
    """Where each stage starts and what the growth is taken to cost."""
    growth = draft.growth
    choice = draft.choices.batch_growth
    if growth is None or choice is None:
        return []
    starts = (
        f"a size starts where {choice.fraction:g} of the critical batch at the tokens seen "
        f"({growth.source}) has reached it; the planned {draft.run.batch_sequences} sequences are "
        "halved and doubled"
        if growth.kind == "noise-scale"
        else "equal steps of the batch, as many tokens each (2005.14165 ramps so)"
    )
    rule = {
        "sqrt": "sqrt(B / planned B), the rule of Adam-like optimizers (2205.10287, 2505.23971)",
        "linear": "B / planned B, the rule of SGD (1812.06162)",
        "none": "as scheduled",
    }[growth.lr_rule]
    lines = [starts, f"lr of a stage: {rule}"]
    if choice.beta2_rule == "half-life":
        lines.append(
            "beta2 of a stage: beta2^(B / planned B), its half-life in tokens (2507.07101)"
        )
    if growth.source == CRITICAL_LAW:
        law = draft.book[growth.source]
        part = law.quantities["critical_batch_tokens"].coefficients
        lines += [
            f"critical batch at t tokens: {part['scale']:g} t^{part['tokens']:g} tokens",
            f"  {law.source.title}, {law.source.url} ({law.source.evidence})",
        ]
    return [
        *lines,
        "tokens to the same loss: the sum of 1 / (1 + B / critical batch) over the tokens with the "
        f"planned batch over that with the stages = {growth.relative_tokens or math.nan:.4f}; "
        "interval not known",
        "an update's place in the schedule is the tokens seen over the planned batch",
    ]


def growth_cautions(draft: Draft) -> list[str]:
    """An lr that the surface would not take, an optimizer that ramps hurt, more tokens."""
    growth = draft.growth
    if growth is None:
        return []
    found = []
    last = growth.stages[-1]
    batch = float(last.batch_sequences * draft.target.seq_len)
    placed, start = draft.derivation.placed, draft.derivation.recommended
    if placed is not None and placed.reaches(batch, about=start.batch_tokens):
        planned = placed.move_lr(float(draft.run.batch_tokens), start=start).factor
        wanted = placed.move_lr(batch, start=start).factor / planned
        if last.lr_factor / wanted > NOT_ALONE:
            found.append(
                f"at the last stage's {format_count(batch)} tokens the lr is "
                f"{last.lr_factor:.3g} times the planned; {placed.law}, of fixed batches, wants "
                f"{wanted:.3g} times ({format_small(wanted * draft.run.lr)}): try a smaller to= "
                "or lr=none"
            )
    if draft.run.optimizer.name == "muon":
        found.append(
            "a batch ramp was a loss under Muon (Qwen3.8: 18.8% more steps); keep it fixed"
        )
    if growth.relative_tokens is not None and growth.relative_tokens > 1.1:
        saved = 1 - growth.steps * growth.relative_tokens / draft.run.schedule.steps
        found.append(
            f"the growing batch takes about {growth.relative_tokens:.2f} times the tokens to the "
            f"fixed batch's loss and {100 * saved:.0f}% fewer updates; fraction= below "
            "1 takes fewer tokens"
            if growth.kind == "noise-scale"
            else f"the ramp takes about {growth.relative_tokens:.2f} times the tokens"
        )
    return found
