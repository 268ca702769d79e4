"""The arithmetic of each number with its source, so that a reader can redo it by hand.

The text is a pure function of the prepared plan; nothing is computed here that the plan does not
already hold, only written out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.intervals import Z80
from fitting.laws.evaluate import log_distances
from fitting.laws.forms import FORMS, ema_fraction
from fitting.units import format_small
from planner.plan.words.anchors import explain_anchors, explain_elsewhere
from planner.plan.words.experts import explain_experts
from planner.plan.words.growth import explain_growth
from planner.plan.words.limited_data import explain_data
from planner.recommendation.estimate import Estimate, Witness
from planner.request.budget import explain_budget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.laws.law import Law, Quantity
    from planner.plan.draft import Draft
    from planner.recommendation.place import Move

DIGITS = 5
"""Significant digits of the arithmetic, so that it can be redone to the printed value."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One number of the plan and how it came about."""

    title: str
    lines: tuple[str, ...]


def explain_plan(draft: Draft) -> list[Topic]:
    """Every number of the plan, in the order in which one needs the other."""
    budget = draft.budget
    topics = [
        Topic("budget", () if budget is None else tuple(explain_budget(budget))),
        Topic("shape", (draft.chosen.reason,)),
        Topic("experts", tuple(explain_experts(draft))),
        Topic("loss", tuple(explain_loss(draft))),
        Topic("batch", tuple(explain_batch(draft))),
        Topic("peak lr", tuple(explain_lr(draft))),
        Topic("weight decay", tuple(explain_weight_decay(draft))),
        Topic("parameter groups", tuple(explain_groups(draft))),
        Topic("data", tuple(explain_data(draft))),
        Topic("schedule", tuple(explain_schedule(draft))),
        Topic("batch growth", tuple(explain_growth(draft))),
        Topic("defaults", tuple(explain_defaults(draft))),
        Topic("time and memory", tuple(explain_time(draft))),
    ]
    return [topic for topic in topics if topic.lines]


def explain_loss(draft: Draft) -> list[str]:
    """The loss law at the target, and what pins add."""
    found = draft.derivation
    lines = explain_law(found.laws["loss"], "loss", found.point, found.ground.loss.value)
    lines += explain_anchors(found.loss)
    if found.pin_cost:
        lines.append(f"times 1 + {found.pin_cost:.2g}, the price of the pins by the surface")
    return lines + explain_width(found.loss)


def explain_batch(draft: Draft) -> list[str]:
    """The batch law, practice outside its range, pins, and whole sequences."""
    found, pins = draft.derivation, draft.choices.pins
    seq_len = draft.target.seq_len
    rounded = (
        f"in whole sequences{describe_rounding(draft)}: {draft.run.batch_sequences} x {seq_len} = "
        f"{draft.run.batch_sequences * seq_len} tokens"
    )
    if pins.batch_tokens is not None:
        return [f"pinned at {format_small(pins.batch_tokens, DIGITS)} tokens", rounded]
    if pins.steps is not None:
        return [f"pinned by {pins.steps} steps: {draft.target.tokens:.6g} / {pins.steps}", rounded]
    lines = explain_estimate("batch_tokens", draft, found.ground.batch)
    lines += explain_anchors(found.free_batch)
    if found.batch_move is not None:
        lines.append(explain_move("batch", found.batch_move, "the pinned lr"))
    return [*lines, rounded, *explain_width(found.free_batch)]


def describe_rounding(draft: Draft) -> str:
    """How accelerators rounded the batch, if they did."""
    gpus = draft.choices.gpus
    if gpus is None:
        return ""
    from planner.facts.accelerators import parse_gpus

    even = draft.run.batch_sequences % parse_gpus(gpus).count == 0
    return f", a multiple of {gpus}'s count" if even else f", not a multiple of {gpus}'s count"


def explain_lr(draft: Draft) -> list[str]:
    """The lr law, practice outside its range, the move to the planned batch, conversions."""
    found, pins = draft.derivation, draft.choices.pins
    lines = [] if pins.lr is None else [f"pinned at {format_small(pins.lr, DIGITS)}; unpinned:"]
    lines += explain_estimate("lr", draft, found.ground.lr)
    if found.standings:
        lines.append("the law's lr is compared with an anchor's at the anchor's batch")
    lines += [reason for one in found.standings for reason in one.conversion.reasons]
    lines += explain_anchors(found.law_lr)
    if found.lr_move is not None:
        lines.append(explain_move("lr", found.lr_move, "the planned batch"))
    lines += found.conversion.reasons
    lines.append(f"lr = {format_small(found.lr.value, DIGITS)}")
    return lines + explain_width(found.lr)


def explain_estimate(quantity: str, draft: Draft, estimate: Estimate) -> list[str]:
    """A law's arithmetic and, outside its range, the mixing with practice."""
    found = draft.derivation
    law = found.laws[quantity]
    point = dict(found.point)
    if quantity == "lr":
        point["batch_tokens"] = found.ground.batch.law.value
    lines = explain_law(law, quantity, point, estimate.law.value)
    practice, practised = estimate.practice, found.sources.practice.get(quantity)
    if practice is None or practised is None:
        return lines
    if quantity == "lr":
        point["batch_tokens"] = found.ground.batch.value
    lines += explain_law(practised, quantity, point, practice.value)
    distances = log_distances(law.range, found.point)
    squares = " + ".join(f"{d:.3f}^2" for d in distances.values())
    spread = estimate.law.form_spread
    w = estimate.practice_weight
    lines += [
        f"log distance outside the range of {law.name}: "
        + ", ".join(f"{name} {d:.3f}" for name, d in distances.items()),
        f"v_form = {spread:g}^2 ({squares}) = {estimate.law.form_variance:.4f}",
        f"w = v_form / (v_form + v_practice) = {estimate.law.form_variance:.4f} / "
        f"({estimate.law.form_variance:.4f} + {practice.variance or 0:.4f}) = {w:.3f}",
        f"exp((1 - w) ln {format_small(estimate.law.value, DIGITS)} + w ln "
        f"{format_small(practice.value, DIGITS)}) = {format_small(mixed(estimate), DIGITS)}",
    ]
    return lines


def mixed(estimate: Estimate) -> float:
    """The two witnesses mixed in log, before any move."""
    assert estimate.practice is not None
    w = estimate.practice_weight
    return math.exp((1 - w) * math.log(estimate.law.value) + w * math.log(estimate.practice.value))


def explain_law(law: Law, quantity: str, point: Mapping[str, float], value: float) -> list[str]:
    """A law's formula with its numbers in place, and its source."""
    part = law.quantities[quantity]
    return [
        f"{law.name}: {substitute(part, point)} = {format_small(value, DIGITS)}",
        f"  {law.source.title}, {law.source.url or law.source.command} ({law.source.evidence})",
    ]


def substitute(part: Quantity, point: Mapping[str, float]) -> str:
    """The form with coefficients and inputs in place, where it is short; else its formula."""
    c = part.coefficients
    if part.form == "power":
        factors = [
            f"({point[name]:.6g} / {part.reference[name]:.6g})^{exponent:g}"
            if name in part.reference
            else f"{point[name]:.6g}^{exponent:g}"
            for name, exponent in c.items()
            if name != "scale"
        ]
        return " x ".join([f"{c['scale']:.6g}", *factors])
    if part.form == "chinchilla":
        return (
            f"{c['E']:g} + {c['A']:g} / {point['params']:.6g}^{c['alpha']:g} + "
            f"{c['B']:g} / {point['tokens']:.6g}^{c['beta']:g}"
        )
    numbers = ", ".join(f"{name} {value:.6g}" for name, value in c.items())
    return f"{FORMS[part.form].formula}, {numbers}"


def explain_weight_decay(draft: Draft) -> list[str]:
    """The EMA timescale law with its numbers."""
    found, pins = draft.derivation, draft.choices.pins
    lines = (
        []
        if pins.weight_decay is None
        else [f"pinned at {format_small(pins.weight_decay, DIGITS)}; unpinned:"]
    )
    law = found.laws["weight_decay"]
    part = law.quantities["weight_decay"]
    batch, lr = draft.numbers.batch_tokens.value, draft.numbers.lr.value
    if part.form == "ema-timescale":
        tau = ema_fraction(part, found.point)
        c = part.coefficients
        lines += [
            f"{law.name}: tau = {c['scale']:g} x {draft.target.tokens_per_param:.6g}^"
            f"{c['tokens_per_param']:g} = {tau:.4f} of the run",
            f"  {law.source.title}, {law.source.url or law.source.command} ({law.source.evidence})",
            f"weight decay = B / (lr D tau) = {batch:.6g} / ({format_small(lr, DIGITS)} x "
            f"{draft.target.tokens:.6g} x {tau:.4f}) = "
            f"{format_small(batch / (lr * draft.target.tokens * tau), DIGITS)}",
        ]
    else:
        point = {**found.point, "batch_tokens": batch, "lr": lr / found.conversion.factor}
        lines += explain_law(law, "weight_decay", point, found.weight_decay.law.value)
    lines += explain_anchors(found.weight_decay)
    return lines + explain_width(found.weight_decay)


def explain_groups(draft: Draft) -> list[str]:
    """What muP or CompleteP does to each parameter group; nothing under SP."""
    rule, shape = draft.run.parametrization, draft.run.shape
    if rule.name == "sp":
        return []
    lines = [
        f"m = d_model / base = {shape.d_model} / {rule.base_d_model} = {rule.width_mult:g}, "
        f"r = layers / base = {shape.n_layers} / {rule.base_n_layers} = {rule.depth_mult:g}",
        f"logits x {rule.logits_multiplier:.6g}, residual x {rule.residual_multiplier:.6g}, "
        f"attention logits x {rule.attention_scale:.6g}",
    ]
    for group in draft.run.groups:
        lr = group.lr / draft.numbers.lr.value
        decay = group.weight_decay / (draft.numbers.weight_decay.value or 1.0)
        eps = "" if group.eps is None else f", eps {group.eps:.3g}"
        std = "" if group.init_std is None else f", init std {group.init_std:.4g}"
        lines.append(f"{group.name}: lr x {lr:.4g}, weight decay x {decay:.4g}{eps}{std}")
    return lines


def explain_move(name: str, move: Move, cause: str) -> str:
    """How one number moved because another was fixed."""
    how = {
        "surface": "along the measured surface",
        "saturating": "by the saturating factor",
        "square root": "by the saturating factor to a twentieth, then the square root",
        "constant": "by the saturating factor to 20 times, then not at all",
    }[move.rule]
    return f"{name} moves to {cause} {how} ({move.law}): times {move.factor:.4f}"


def explain_width(estimate: Estimate) -> list[str]:
    """The parts of the interval, and the wider one for a setup that nobody measured."""
    if estimate.log_sd is None:
        known = ["no interval: neither covariance nor scatter is known"]
        return known + explain_elsewhere(estimate)
    half = (
        f"80% interval: value times or over exp({Z80:.4f} x {estimate.log_sd:.4f}) = "
        f"{math.exp(Z80 * estimate.log_sd):.3f}"
    )
    if estimate.anchors:
        return [half, *explain_elsewhere(estimate)]
    parts = [f"{estimate.law.name}: {describe_parts(estimate.law)}"]
    if estimate.practice is not None and estimate.practice_weight > 0:
        parts.append(f"{estimate.practice.name}: {describe_parts(estimate.practice)}")
        gap = math.log(estimate.law.value / estimate.practice.value)
        parts.append(f"disagreement w (1 - w) ({gap:.3f})^2")
    rule = "" if len(parts) == 1 else " = (1 - w) law + w practice + disagreement"
    return [f"variance of ln{rule}: {'; '.join(parts)}", half, *explain_elsewhere(estimate)]


def describe_parts(witness: Witness) -> str:
    """The parts of one witness's variance."""
    parts = []
    if witness.coefficient_variance is not None:
        parts.append(f"coefficients {witness.coefficient_variance:.5f}")
    if witness.scatter is not None:
        parts.append(f"scatter {witness.scatter:.3f}^2")
    if witness.form_variance:
        parts.append(f"form {witness.form_variance:.4f}")
    return " + ".join(parts) or "not known"


def explain_schedule(draft: Draft) -> list[str]:
    """How the steps add up."""
    schedule = draft.run.schedule
    how = (
        "pinned"
        if draft.choices.pins.steps
        else (f"ceil({draft.target.tokens:.6g} / {draft.numbers.batch_tokens.value:.6g})")
    )
    return [
        f"steps = {how} = {draft.run.schedule.steps}",
        f"{schedule.warmup_steps} warmup + {schedule.stable_steps} stable + "
        f"{schedule.decay_steps} decay = {draft.run.schedule.steps}",
        "warmup: pinned"
        if draft.choices.pins.warmup_steps is not None
        else "warmup: the smaller of 2,000 and 10% of the steps, at least 1% of them (default)",
        "update s = 1..S uses lr(s): the first trains, the last is at the final lr",
        *explain_curve(draft),
    ]


def explain_curve(draft: Draft) -> list[str]:
    """What the schedule that a curve law chose saves over the usual ones."""
    if draft.choices.curve is None:
        return []
    # Imported here because a curve law needs numpy, which other plans do without.
    from planner.recommendation.schedule import chosen_gains, read_curve_law

    gains = chosen_gains(
        read_curve_law(draft.choices.curve), draft.run.schedule, draft.numbers.lr.value
    )
    return [
        f"lowest final loss by {draft.choices.curve} among decays of wsd",
        *(f"  saves {gain}" for gain in gains),
    ]


def explain_defaults(draft: Draft) -> list[str]:
    """What no law decided."""
    target, optimizer = draft.target, draft.run.optimizer
    return [
        f"sequences of {target.seq_len:,} tokens, vocabulary "
        f"{target.vocab_size:,}, clip {optimizer.grad_clip:g}: defaults unless given",
        f"betas {optimizer.beta1:g} {optimizer.beta2:g}: those of most published recipes"
        if optimizer.name == "adamw"
        else f"{optimizer.name}: its usual betas",
    ]


def explain_time(draft: Draft) -> list[str]:
    """Time, utilisation and memory on the given accelerators."""
    if draft.compute is None:
        return []
    from planner.compute.estimate import explain_compute

    return explain_compute(draft.run, draft.compute)
