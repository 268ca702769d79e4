"""Warnings of a plan, in words: what, how much, what to do.

Each check is one function that returns its sentences; their order is that of weight, first what
lies outside every measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitting.laws.evaluate import evaluate_law, log_distances
from fitting.units import format_count, format_small
from planner.facts.laws import CRITICAL_LAW
from planner.plan.words.experts import expert_cautions
from planner.plan.words.growth import growth_cautions
from planner.plan.words.limited_data import data_cautions

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.plan.draft import Draft

HIGHEST_PUBLISHED_DECAY = 0.1
"""Highest AdamW weight decay of the recipes in data/recipes.csv (a test compares)."""

MOST_STEPS_TO_TRUST = 200
"""Runs of fewer steps than this lie outside every sweep of the law book; assumed."""


def collect_cautions(draft: Draft) -> tuple[str, ...]:
    """All warnings of a plan, most important first."""
    cautions = tuple(sentence for check in CHECKS for sentence in check(draft))
    compute = draft.compute
    if compute is None:
        return cautions
    # A run that fits no device needs no other warning.
    if compute.fits is False:
        return (*compute.warnings, *cautions)
    return (*cautions, *compute.warnings)


def outside_range(draft: Draft) -> list[str]:
    """Outside the law's range: by how much, the weights, the spread and the nearest runs."""
    found = draft.derivation
    law = found.laws["lr"]
    distances = log_distances(law.range, found.point)
    if not distances:
        return []
    parts = []
    for name in distances:
        low, high = getattr(law.range, name)
        here = found.point[name]
        parts.append(
            f"{name.replace('_', ' ')} {format_count(here)} outside "
            f"{format_count(low)} to {format_count(high)}"
        )
    sentence = f"outside the range of {law.name} ({'; '.join(parts)})"
    weights = found.lr.weights
    if weights is not None:
        shares = ", ".join(f"{100 * w:.0f}% {name}" for name, w in weights.items())
        sentence += f": lr is {shares} in log"
        sentence += f" ({law.name} alone says {format_small(found.law_lr.law.value)})"
    said = [a.lr for a in draft.witnesses.alternatives if a.lr is not None]
    if said:
        sentence += (
            f"; {len(said)} other laws span {format_small(min(said), 2)} to "
            f"{format_small(max(said), 2)}"
        )
    if draft.witnesses.nearest:
        runs = ", ".join(
            f"{near.run} {format_small(near.lr, 2)}" for near in draft.witnesses.nearest
        )
        sentence += f"; nearest published runs: {runs}"
    return [sentence + "; try short pilots at half and twice the lr before the run"]


def doubtful_anchors(draft: Draft) -> list[str]:
    """Anchors that look like slips, are far away, or contradict the law's slope."""
    if not draft.derivation.standings:
        return []
    # Imported here because only a plan with anchors needs it.
    from planner.plan.words.anchors import (
        contradicting_anchors,
        far_anchors,
        surprising_anchors,
        widening_anchors,
    )

    checks = (surprising_anchors, far_anchors, widening_anchors, contradicting_anchors)
    return [sentence for check in checks for sentence in check(draft)]


def no_interval(draft: Draft) -> list[str]:
    """A law without covariance or scatter has no interval."""
    silent = [
        f"{name.replace('_', ' ')} ({value.law})"
        for name, value in (
            ("lr", draft.numbers.lr),
            ("batch_tokens", draft.numbers.batch_tokens),
            ("weight_decay", draft.numbers.weight_decay),
        )
        if value.low is None and value.elsewhere is None
    ]
    if not silent:
        return []
    return [f"no interval is known for {', '.join(silent)}; sweep it or use a law that has one"]


def converted(draft: Draft) -> list[str]:
    """Numbers carried to another optimizer or parametrization; an anchor has checked them."""
    return [] if draft.derivation.standings else list(draft.derivation.conversion.reasons)


def off_the_plateau(draft: Draft) -> list[str]:
    """A recommendation that the measured surface would move."""
    pins = draft.choices.pins
    if draft.numbers.plateau is None or pins.lr is not None or pins.batch_tokens is not None:
        return []
    found = []
    for name, value, bounds, show in (
        ("lr", draft.numbers.lr.value, draft.numbers.plateau.lr, format_small),
        (
            "batch",
            draft.numbers.batch_tokens.value,
            draft.numbers.plateau.batch_tokens,
            format_count,
        ),
    ):
        if not bounds.low <= value <= bounds.high:
            placed = draft.derivation.placed
            assert placed is not None
            found.append(
                f"{name} {show(value)} lies outside the plateau of {placed.law} "
                f"({show(bounds.low)} to {show(bounds.high)}): law and surface disagree here; "
                "try a pilot at both"
            )
    return found


def pin_price(draft: Draft) -> list[str]:
    """What pinned numbers cost."""
    pins, cost = draft.choices.pins, draft.derivation.pin_cost
    if pins.lr is None and pins.batch_tokens is None and pins.steps is None:
        return []
    if cost is None:
        return ["what the pin costs is not known this far from the measured surface"]
    if cost < 0.0005:
        return []
    placed = draft.derivation.placed
    assert placed is not None
    return [
        f"the pinned values cost about {100 * cost:.2g}% of the loss by {placed.law}; "
        f"unpinned: batch {format_count(draft.derivation.free_batch.value)}, "
        f"lr {format_small(draft.derivation.law_lr.value * draft.derivation.conversion.factor)}"
    ]


def near_the_cliff(draft: Draft) -> list[str]:
    """An lr where runs of the law's own sweep diverged."""
    found = draft.derivation
    cliff = found.laws["lr"].quantities["lr"].cliff
    if cliff is None:
        return []
    planned = draft.numbers.lr.value / found.conversion.factor
    ratio = planned / found.law_lr.law.value
    if ratio < cliff / 1.5:
        return []
    return [
        f"lr {format_small(draft.numbers.lr.value)} is {ratio:.2g} times that of "
        f"{found.laws['lr'].name}; runs of its sweep diverged from {cliff:.2g} times on; lower it"
    ]


def above_critical_batch(draft: Draft) -> list[str]:
    """A batch beyond the critical one wastes tokens."""
    batch = draft.numbers.batch_tokens.value
    law = draft.book[CRITICAL_LAW]
    critical = evaluate_law(law.quantities["critical_batch_tokens"], draft.derivation.point)
    if critical is None or batch <= critical:
        return []
    return [
        f"batch {format_count(batch)} is above the critical batch of {format_count(critical)} "
        f"({law.name}): a loss then takes {1 + batch / critical:.2g} times the fewest tokens; "
        "use a smaller batch or more tokens"
    ]


def unusual_weight_decay(draft: Draft) -> list[str]:
    """A weight decay beyond every published recipe."""
    weight_decay = draft.numbers.weight_decay.value * draft.derivation.conversion.factor
    if draft.choices.pins.weight_decay is not None or draft.choices.optimizer != "adamw":
        return []
    if weight_decay <= 2 * HIGHEST_PUBLISHED_DECAY:
        return []
    return [
        f"weight decay {format_small(draft.numbers.weight_decay.value)} is far above every "
        f"published recipe here (at most {HIGHEST_PUBLISHED_DECAY:g}); the timescale law was "
        "measured near the best batch: pin a smaller one or use a smaller batch"
    ]


def beyond_the_surface(draft: Draft) -> list[str]:
    """Plateau and prices where the surface had no runs."""
    placed = draft.derivation.placed
    if placed is None:
        return []
    law = draft.book[placed.law]
    outside = log_distances(law.range, draft.derivation.point)
    if not outside.keys() & {"params", "tokens"}:
        return []
    assert law.range.params is not None
    return [
        f"plateau and prices are extrapolated: {law.name} was fitted to runs of "
        f"{format_count(law.range.params[0])} to {format_count(law.range.params[1])} params"
    ]


def odd_head_dim(draft: Draft) -> list[str]:
    """Rotary positions need an even head dim, kernels a multiple of 8."""
    head_dim = draft.run.shape.head_dim
    if head_dim % 8 == 0:
        return []
    return [f"head dim {head_dim} is not a multiple of 8: slow or unsupported; use 64 or 128"]


def few_steps(draft: Draft) -> list[str]:
    """A run too short for the laws."""
    steps = draft.run.schedule.steps
    if steps >= MOST_STEPS_TO_TRUST:
        return []
    return [
        f"{steps} steps are fewer than any sweep behind these laws ran; "
        "use a smaller batch or more tokens"
    ]


def moved_pin(draft: Draft) -> list[str]:
    """A pinned batch that became another in whole sequences, evenly over the accelerators."""
    pinned, run = draft.choices.pins.batch_tokens, draft.run
    if pinned is None or abs(run.batch_tokens / pinned - 1) <= 0.005:
        return []
    return [
        f"the pinned batch of {format_count(pinned)} is taken as {run.batch_sequences} sequences "
        f"of {run.seq_len}, {format_count(run.batch_tokens)} tokens, to be whole "
        "and even; pin that number for another"
    ]


def inexact_steps(draft: Draft) -> list[str]:
    """Whole steps of whole sequences that miss the tokens by more than 1%."""
    run, tokens = draft.run, draft.target.tokens
    if abs(run.tokens / tokens - 1) <= 0.01:
        return []
    return [
        f"{run.schedule.steps} steps of {run.batch_sequences} sequences train "
        f"{format_count(run.tokens)} tokens, not {format_count(tokens)}: a batch is whole "
        "sequences"
    ]


def other_schedule(draft: Draft) -> list[str]:
    """A law measured under another schedule than the planned one."""
    law = draft.derivation.laws["lr"]
    measured, planned = law.range.schedule, draft.run.schedule.kind
    if measured is None and law.source.evidence == "fitted":
        return [
            f"{law.name} does not say under which schedule its runs were; the plan is {planned}"
        ]
    if measured is None or measured == planned:
        return []
    short = measured.split(",")[0]
    return [f"{law.name} was measured under another schedule ({short}); the plan is {planned}"]


def beyond_the_curves(draft: Draft) -> list[str]:
    """A schedule chosen by a curve law that saw no such lr or length."""
    if draft.choices.curve is None:
        return []
    # Imported here because a curve law needs numpy, which other plans do without.
    from planner.recommendation.schedule import lr_caution, read_curve_law, steps_caution

    law = read_curve_law(draft.choices.curve)
    of_lr, of_steps = (
        lr_caution(law, draft.numbers.lr.value),
        steps_caution(law, draft.run.schedule.steps),
    )
    chosen = f"{of_lr}: the schedule is chosen as if it were that" if of_lr else None
    return [caution for caution in (chosen, of_steps) if caution is not None]


def cautions_of_laws(draft: Draft) -> list[str]:
    """What the laws in use say of themselves, each once."""
    laws = {law.name: law for law in draft.derivation.laws.values()}
    return [f"{name}: {law.source.caution}" for name, law in laws.items() if law.source.caution]


def loss_outside_range(draft: Draft) -> list[str]:
    """A loss law asked outside its range, where the lr law's own warning does not say so."""
    found = draft.derivation
    law = found.laws["loss"]
    distances = log_distances(law.range, found.point)
    if law.name == found.laws["lr"].name or not distances:
        return []
    low, high = getattr(law.range, next(iter(distances)))
    return [
        f"the loss of {law.name} is asked outside its range ({next(iter(distances))} "
        f"{format_count(low)} to {format_count(high)}); its interval is wider there"
    ]


def loss_level(draft: Draft) -> list[str]:
    """A published loss is that of another tokenizer and corpus, unless an anchor gives its own."""
    law = draft.derivation.laws["loss"]
    if law.source.evidence == "fitted" or draft.derivation.loss.anchors:
        return []
    return [
        f"the level of the expected loss is not known: it is that of {law.name}'s data and "
        "tokenizer; rank plans by it, or give an --anchor with its loss for a forecast"
    ]


CHECKS: tuple[Callable[[Draft], list[str]], ...] = (
    cautions_of_laws,
    doubtful_anchors,
    expert_cautions,
    outside_range,
    loss_outside_range,
    near_the_cliff,
    off_the_plateau,
    pin_price,
    above_critical_batch,
    data_cautions,
    growth_cautions,
    converted,
    unusual_weight_decay,
    beyond_the_surface,
    odd_head_dim,
    few_steps,
    moved_pin,
    inexact_steps,
    no_interval,
    other_schedule,
    beyond_the_curves,
    loss_level,
)
"""Every check, most important first."""
