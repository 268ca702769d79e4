"""From laws to batch, learning rate, weight decay and loss, with what each came from.

The order is that of dependence: the loss level (some batch laws need it), the batch, the peak lr
at that batch, the weight decay at both. A pinned number moves what follows it: the lr along the
measured surface where that reaches, else by the saturating factor, the weight decay with the EMA
timescale. Every number keeps its witnesses, so that `planner.plan.arithmetic` can redo it by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws.evaluate import speaks_of
from fitting.laws.law import Law
from planner.facts.laws import (
    DEFAULT_LAWS,
    DEFAULT_SURFACE,
    OPTIMIZER_LAWS,
    PRACTICE_LAW,
    REPEATS_LAW,
    SATURATING_LAW,
    SETUPS_LAW,
    find_law,
)
from planner.recommendation.anchored import (
    Standing,
    anchored_batch,
    anchored_loss,
    anchored_lr,
    anchored_weight_decay,
    move_between,
    stand,
)
from planner.recommendation.batch import settle_batch
from planner.recommendation.conversion import (
    Conversion,
    convert_lr,
    converted_law,
    measured_optimizer,
)
from planner.recommendation.estimate import Estimate
from planner.recommendation.place import Move, PlacedSurface, Tuning, surface_about
from planner.recommendation.sources import ROUNDING, Ground, Sources, survey
from proxies.run.sizing import choose_shape

if TYPE_CHECKING:
    from planner.facts.anchor import Anchor
    from planner.request.choices import Choices, Pins
    from planner.request.target import Target
    from proxies.run.parametrization import Parametrization
    from proxies.run.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """Recommended numbers, pins not yet in their place, with everything they were made from."""

    point: Mapping[str, float]
    """Inputs of the laws at the target."""
    laws: Mapping[str, Law]
    """The law that each quantity was asked of."""
    sources: Sources
    """Every law asked."""
    ground: Ground
    """What the laws say at the target without anchors."""
    standings: tuple[Standing, ...]
    """The anchors."""
    free_batch: Estimate
    """The batch before pins and rounding."""
    batch_sequences: int
    batch_move: Move | None
    """How a pinned lr moved the batch; None where it did not."""
    lr: Estimate
    """At the planned batch, for the planned optimizer and parametrization."""
    law_lr: Estimate
    """As the law says it, at the law's own batch."""
    lr_move: Move | None
    """How the planned batch moved the lr; None where it did not."""
    conversion: Conversion
    weight_decay: Estimate
    loss: Estimate
    steps: int
    placed: PlacedSurface | None
    """The surface about the recommendation; None out of its reach."""
    pin_cost: float | None
    """Share of the loss that the pinned lr and batch cost; 0 without pins, None if unknown."""

    @property
    def recommended(self) -> Tuning:
        """The lr and batch of the law, in its terms, before pins and rounding."""
        return Tuning(self.law_lr.value, self.free_batch.value)


def work_out(
    target: Target,
    shape: Shape,
    choices: Choices,
    *,
    parametrization: Parametrization,
    book: Mapping[str, Law],
    user: tuple[str, ...],
) -> Derivation:
    """Batch, lr, weight decay, loss and steps of a target.

    Args:
        target: params and tokens that the laws see.
        shape: for laws that ask for widths.
        choices: pins, law, optimizer; checked before.
        parametrization: the rule of width and depth at this shape.
        book: the law book, the user's files included.
        user: names of the user's files, which come before the defaults.

    Raises:
        InputError: the law asked for does not speak of any quantity, or needs what is not given.
    """
    sources = pick_sources(book, choices, user)
    laws, pins = sources.laws, choices.pins
    point = law_inputs(target.params, target.tokens, shape, target.seq_len)
    if choices.unique_tokens is not None:
        point["unique_tokens"] = min(choices.unique_tokens, target.tokens)
    ground = survey(sources, point)
    standings = stand(
        choices.anchors, sources, choices, lambda anchor: inputs_of(anchor, target, shape)
    )
    free_batch = anchored_batch(sources, ground, standings)
    law_lr = anchored_lr(sources, ground, standings, batch_tokens=free_batch.value)
    conversion = convert_lr(laws["lr"], choices, parametrization)
    if standings:
        # Anchors have passed the same rules, so that their error cancels or is their own.
        conversion = replace(conversion, log_sd=0.0)
    placed = _placed(sources, ground, law_lr, free_batch)

    sequences, batch_move = settle_batch(
        target,
        choices,
        free=Tuning(law_lr.value, free_batch.value),
        placed=placed,
        factor=conversion.factor,
    )
    batch = sequences * target.seq_len

    lr_move = move_between(sources, ground, start=free_batch.value, end=batch)
    lr = law_lr.times(1.0 if lr_move is None else lr_move.factor)
    lr = lr.times(conversion.factor, log_sd=conversion.log_sd)
    planned_lr = pins.lr or lr.value

    rounded = standings and abs(math.log(batch / free_batch.value)) < ROUNDING
    weight_decay = anchored_weight_decay(
        sources,
        ground,
        standings,
        batch_tokens=free_batch.value if rounded else float(batch),
        lr=planned_lr / conversion.factor,
    ).times(1 / conversion.factor)
    pin_cost = price_of_pins(
        pins,
        placed,
        at=Tuning(planned_lr / conversion.factor, batch),
        over=Tuning(law_lr.value, free_batch.value),
    )
    return Derivation(
        point=ground.point,
        laws=laws,
        sources=sources,
        ground=ground,
        standings=standings,
        free_batch=free_batch,
        batch_sequences=sequences,
        batch_move=batch_move,
        lr=lr,
        law_lr=law_lr,
        lr_move=lr_move,
        conversion=conversion,
        weight_decay=weight_decay,
        loss=anchored_loss(sources, ground, standings).times(1 + (pin_cost or 0.0)),
        steps=pins.steps or math.ceil(target.tokens / batch),
        placed=placed,
        pin_cost=pin_cost,
    )


def pick_sources(book: Mapping[str, Law], choices: Choices, user: tuple[str, ...]) -> Sources:
    """The laws that a plan asks.

    Raises:
        InputError: the law asked for is unknown, or gives no number for any quantity.
    """
    laws = {name: pick_law(book, name, choices, user) for name in DEFAULT_LAWS}
    surface = pick_surface(book, user)
    return Sources(
        laws=laws,
        practice={name: witness_of(laws[name], book, user) for name in ("lr", "batch_tokens")},
        surface=surface,
        same_setting=measured_together(laws["lr"], surface),
        saturating=book[SATURATING_LAW],
        setups=book.get(SETUPS_LAW),
    )


def inputs_of(anchor: Anchor, target: Target, shape: Shape) -> tuple[dict[str, float], Shape]:
    """Inputs of the laws at an anchor and its shape: the target's at its params, else a usual one.

    Raises:
        InputError: no shape has so few params.
    """
    if anchor.params != target.params:
        shape = choose_shape(
            anchor.params, vocab_size=shape.vocab_size, tied_embeddings=shape.tied_embeddings
        ).shape
    return law_inputs(anchor.params, anchor.tokens, shape, target.seq_len), shape


def _placed(
    sources: Sources, ground: Ground, lr: Estimate, batch: Estimate
) -> PlacedSurface | None:
    """The surface about the recommendation, moved onto it where anchors have moved that."""
    if not lr.anchors and not batch.anchors:
        return ground.placed
    recommended = Tuning(lr.value, batch.value)
    return surface_about(sources.surface, ground.point, recommended=recommended, same_setting=False)


def price_of_pins(
    pins: Pins, placed: PlacedSurface | None, *, at: Tuning, over: Tuning
) -> float | None:
    """Share of the loss that pinned values cost; 0 without pins, None where it is not known."""
    if pins.lr is None and pins.batch_tokens is None and pins.steps is None:
        return 0.0
    return None if placed is None else placed.cost(at, over=over)


def witness_of(law: Law, book: Mapping[str, Law], user: tuple[str, ...]) -> Law | None:
    """Practice, the second witness outside a published law's range; None for a user's own law.

    One's own sweep knows one's own setting: outside its range its interval widens, but what other
    labs used does not move it. Practice is AdamW's; for a law of another optimizer its lr is
    converted, and what that may be off by goes into its scatter.
    """
    practice = None if law.name in user else book.get(PRACTICE_LAW)
    optimizer = measured_optimizer(law)
    if practice is None or optimizer not in OPTIMIZER_LAWS:
        return practice
    return converted_law(practice, optimizer)


def pick_law(
    book: Mapping[str, Law], quantity: str, choices: Choices, user: tuple[str, ...]
) -> Law:
    """The law of one quantity: the one asked for, a user's file, else the default.

    Raises:
        InputError: the law asked for is unknown, or gives no number for any quantity.
    """
    if choices.law is not None:
        asked = find_law(book, choices.law)
        if not any(speaks_of(asked, name) for name in DEFAULT_LAWS):
            raise InputError(
                f"--law '{choices.law}': gives no lr, batch, weight decay or loss in numbers "
                f"(plan laws show {choices.law})"
            )
        if speaks_of(asked, quantity):
            return asked
    for name in reversed(user):
        if speaks_of(book[name], quantity):
            return book[name]
    if quantity == "loss" and choices.unique_tokens is not None:
        return book[REPEATS_LAW]
    usual = DEFAULT_LAWS[quantity]
    own = OPTIMIZER_LAWS.get(choices.optimizer, {}).get(quantity, usual)
    return book.get(own, book[usual])


def pick_surface(book: Mapping[str, Law], user: tuple[str, ...]) -> Law | None:
    """The surface of the last user's file that has one, else the shipped one."""
    for name in (*reversed(user), DEFAULT_SURFACE):
        if name in book and "surface" in book[name].quantities:
            return book[name]
    return None


def measured_together(law: Law, surface_law: Law | None) -> bool:
    """Whether a surface was fitted on the runs behind an lr law."""
    pairs = {(DEFAULT_LAWS["lr"], DEFAULT_SURFACE), (law.name, law.name)}
    return surface_law is not None and (law.name, surface_law.name) in pairs


def law_inputs(params: float, tokens: float, shape: Shape, seq_len: int) -> dict[str, float]:
    """Inputs of the laws at params and tokens; FLOPs with attention are those of the shape."""
    attention = shape.n_layers * shape.n_heads * shape.head_dim * seq_len
    return {
        "params": params,
        "tokens": tokens,
        "tokens_per_param": tokens / params,
        "flops": 6 * params * tokens,
        "model_flops": (6 * params + 12 * attention) * tokens,
        "model_flops_causal": (6 * params + 6 * attention) * tokens,
        "d_model": float(shape.d_model),
        "n_layers": float(shape.n_layers),
        "seq_len": float(seq_len),
    }
