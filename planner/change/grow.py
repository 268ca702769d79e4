"""Growing a model by stacking its layers: when, how often, and what that saved where it was tried.

Source: Du et al. 2024 (arXiv 2405.15319), G_stack.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws.evaluate import evaluate_law
from fitting.units import format_count
from planner.change.base import Underway, level, replan
from planner.change.change import Change, Number, Track
from planner.facts.changes import nearest_cases
from planner.facts.laws import GROWTH_LAW
from planner.plan.make import finish_plan
from planner.request.choices import Pins
from proxies.run.shape import Shape, count_params

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.plan.draft import Draft

PUBLISHED_FACTOR = 4
"""Copies of the layers that G_stack recommends; its timing law was fitted for them."""

PUBLISHED_SPEEDUP = 1.546
"""Tokens from scratch over tokens of the stack for the same loss, at 7B and 300B tokens."""

SAME = 1e-3
"""Relative difference below which a level is that of the laws."""


def grow_run(under: Underway, *, layers: int, tokens: float) -> Change:
    """A deeper model out of a trained one.

    Args:
        under: the small model's run.
        layers: of the grown model, a multiple of the small one's.
        tokens: that the grown model is to be trained on.

    Raises:
        InputError: no whole number of copies, or fewer than two.
    """
    if under.plan.experts is not None:
        raise InputError("change grow: the plan has experts; G_stack was measured on dense models")
    small = under.run.shape
    factor = layers // small.n_layers
    if factor < 2 or layers != factor * small.n_layers:
        near = max(2, round(layers / small.n_layers)) * small.n_layers
        raise InputError(
            f"--layers {layers}: not {small.n_layers} layers twice or more often, which stacking "
            f"makes; use --layers {near}"
        )
    grown = replace(small, n_layers=layers)
    params = float(count_params(grown).params)
    ratio = level(under)
    planned = replan(under, pins=Pins(), tokens=tokens, shape=grown, params=params)
    if abs(ratio - 1) > SAME:
        pins = Pins(lr=planned.derivation.lr.value * ratio)
        planned = replan(under, pins=pins, tokens=tokens, shape=grown, params=params)
    when = stacking_tokens(under.book[GROWTH_LAW], params, tokens)
    return Change(
        kind="grow",
        title=f"{small.n_layers} layers stacked {factor} times: "
        f"{format_count(under.plan.target.params)} to {format_count(params)} params",
        numbers=(
            *grow_numbers(under, grown, when=when, params=params, tokens=tokens),
            *trained_with(under, planned, ratio=ratio),
        ),
        notes=tuple(grow_notes(under, factor, when)),
        nearest=nearest_cases("grow", params=params, tokens=tokens),
        plan=finish_plan(planned, command=under.command),
        track=Track(
            schedule=planned.run.schedule,
            peak_lr=planned.run.lr,
            steps=planned.run.schedule.steps,
        ),
    )


def stacking_tokens(law: Law, params: float, tokens: float) -> float:
    """Tokens of the small model before it is stacked, by G_stack's law of the grown model.

    Args:
        law: `growth`.
        params: of the grown model.
        tokens: of the grown model.

    Source:
        Du et al. 2024 (arXiv 2405.15319): log10 d = 0.88 log10 N + 163.27 / log10 C - 5.74.
    """
    found = evaluate_law(
        law.quantities["growth_tokens"], {"params": params, "flops": 6 * params * tokens}
    )
    assert found is not None
    return found


def grow_numbers(
    under: Underway, grown: Shape, *, when: float, params: float, tokens: float
) -> list[Number]:
    """When to stack, what the small model costs, what the stack may save."""
    small = under.plan.target.params
    saved = tokens / PUBLISHED_SPEEDUP
    cost = (small * when + params * saved) / (params * tokens)
    return [
        Number(
            name="layers",
            before=under.run.shape.n_layers,
            after=grown.n_layers,
            exact=True,
            source="copies on top of each other",
        ),
        Number(name="params", before=small, after=params, exact=True, source="counted"),
        Number(
            name="stack after, tokens",
            before=under.plan.target.tokens,
            after=when,
            source="growth; arXiv 2405.15319",
        ),
        Number(
            name="stack after, steps",
            before=under.run.schedule.steps,
            after=math.ceil(when / under.run.batch_tokens),
            source="at the small run's batch",
        ),
        Number(
            name="tokens to the loss of a fresh run",
            before=tokens,
            after=saved,
            source="if 7B at 300B holds here: 54.6% faster",
        ),
        Number(
            name="FLOPs over a fresh run's",
            before=1.0,
            after=cost,
            source="the same, small model included",
        ),
    ]


def trained_with(under: Underway, planned: Draft, *, ratio: float) -> list[Number]:
    """lr and batch of the grown model, at the level of the small one."""
    low, high = planned.derivation.lr.interval()
    batch = planned.numbers.batch_tokens
    return [
        Number(
            name="peak lr",
            before=under.run.lr,
            after=planned.numbers.lr.value,
            low=None if low is None else low * ratio,
            high=None if high is None else high * ratio,
            source=planned.derivation.law_lr.name,
        ),
        Number(
            name="batch, tokens",
            before=under.run.batch_tokens,
            after=batch.value,
            low=batch.low,
            high=batch.high,
            source=batch.law,
        ),
    ]


def grow_notes(under: Underway, factor: int, when: float) -> list[str]:
    """Where this lies outside what was published."""
    notes = []
    if factor != PUBLISHED_FACTOR:
        notes.append(
            f"the timing was fitted for {PUBLISHED_FACTOR} copies; for {factor} it is not known"
        )
    had = under.plan.target.tokens
    if when > had:
        notes.append(
            f"the small run has {format_count(had)} tokens and {format_count(when)} are wanted: "
            f"plan it with --tokens {format_count(when)}, or plan change extend"
        )
    elif under.run.schedule.decay_steps and when < had:
        notes.append(
            "whether to stack before or after the small run's decay: not known; the step above "
            "is that of its tokens alone"
        )
    notes.append(
        "the grown model's lr, batch and schedule are those of a fresh run of its size; what a "
        "stack wants instead is not known"
    )
    return notes
