"""From laws to batch, learning rate, weight decay and loss, with what each came from.

The order is that of dependence: the loss level (some batch laws need it), the batch, the peak lr
at that batch, the weight decay at both. A pinned number moves what follows it: the lr along the
measured surface where that reaches, else by the saturating factor, the weight decay with the EMA
timescale. Every number keeps its witnesses, so that `planner.explanation` can redo it by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws import Law
from planner.batch import settle_batch
from planner.estimate import Z80, Estimate, estimate_from
from planner.lawbook import DEFAULT_LAWS, find_law
from planner.surfaces import BATCH_REACH, Landscape, Move, landscape_at, saturating_factor
from proxies.parametrization import OPTIMIZERS, Parametrization, multipliers

if TYPE_CHECKING:
    from planner.choices import Choices, Pins
    from planner.target import Target
    from proxies.shape import Shape

DEFAULT_SURFACE = "step-law-surface"
SATURATING_LAW = "step-law-saturating"

CONVERTED = {
    "lion": "lion takes a fifth of its lr and five times its weight decay",
    "muon": "muon takes its lr and weight decay, with the update times 0.2 sqrt(max(rows, columns))"
    " as Moonshot's (torch: match_rms_adamw); other muons want another lr",
}
"""How AdamW's numbers become another optimizer's, in words."""

ROUNDING = 0.01
"""Largest log distance between batches that counts as rounding."""

CONVERSION_LOG_SD = math.log(2) / 2
"""Of an lr carried from AdamW under SP to muP, CompleteP or Muon: half a factor of two; assumed."""

LION_LR_LOG_SD = math.log(10 / 3) / 2 / Z80
"""Of ln(AdamW's lr / Lion's), so that the published 3 to 10 is an 80% interval; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """From the lr that a law gives to the lr that is planned."""

    factor: float
    """Planned lr over the law's."""
    log_sd: float
    """Uncertainty of ln(factor); 0 where it is a rule of the parametrization."""
    reasons: tuple[str, ...]
    """One sentence for each part of the factor; empty when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """Recommended or pinned numbers with everything they were made from."""

    point: Mapping[str, float]
    """Inputs of the laws at the target."""
    laws: Mapping[str, Law]
    """The law that each quantity was asked of."""
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
    landscape: Landscape | None
    """The surface about the recommendation; None out of its reach."""
    pin_cost: float | None
    """Share of the loss that the pinned lr and batch cost; 0 without pins, None if unknown."""

    def batch_tokens(self, seq_len: int) -> int:
        """The planned batch in tokens."""
        return self.batch_sequences * seq_len


def work_out(
    target: Target,
    shape: Shape,
    choices: Choices,
    *,
    parametrization: Parametrization,
    book: Mapping[str, Law],
    user: tuple[str, ...],
) -> Hyperparameters:
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
    laws = {name: pick_law(book, name, choices, user) for name in DEFAULT_LAWS}
    point = law_inputs(target, shape)
    loss = ask("loss", laws["loss"], point)
    point |= {"loss": loss.value}
    pins = choices.pins

    free_batch = ask(
        "batch_tokens", laws["batch_tokens"], point, witness_of(laws["batch_tokens"], book, user)
    )
    at_law_batch = point | {"batch_tokens": free_batch.law.value}
    law_lr = ask(
        "lr",
        laws["lr"],
        at_law_batch,
        witness_of(laws["lr"], book, user),
        practice_at=point | {"batch_tokens": free_batch.value},
    )
    conversion = convert_lr(laws["lr"], choices, parametrization)
    surface_law = pick_surface(book, user)
    landscape = landscape_at(
        surface_law,
        point,
        lr=law_lr.value,
        batch_tokens=free_batch.value,
        same_setting=measured_together(laws["lr"], surface_law),
    )

    sequences, batch_move = settle_batch(
        target, choices, free=free_batch.value, landscape=landscape, factor=conversion.factor
    )
    batch = sequences * target.seq_len

    lr_move = move_lr(book, landscape, point, best=free_batch.value, batch_tokens=batch)
    lr = law_lr.times(1.0 if lr_move is None else lr_move.factor)
    lr = lr.times(conversion.factor, log_sd=conversion.log_sd)
    planned_lr = pins.lr or lr.value

    weight_decay = ask(
        "weight_decay",
        laws["weight_decay"],
        point | {"batch_tokens": float(batch), "lr": planned_lr / conversion.factor},
    ).times(1 / conversion.factor)
    pin_cost = price_of_pins(pins, landscape, lr=planned_lr / conversion.factor, batch_tokens=batch)
    return Hyperparameters(
        point=point,
        laws=laws,
        free_batch=free_batch,
        batch_sequences=sequences,
        batch_move=batch_move,
        lr=lr,
        law_lr=law_lr,
        lr_move=lr_move,
        conversion=conversion,
        weight_decay=weight_decay,
        loss=loss.times(1 + (pin_cost or 0.0)),
        steps=pins.steps or math.ceil(target.tokens / batch),
        landscape=landscape,
        pin_cost=pin_cost,
    )


def price_of_pins(
    pins: Pins, landscape: Landscape | None, *, lr: float, batch_tokens: float
) -> float | None:
    """Share of the loss that pinned values cost; 0 without pins, None where it is not known."""
    if pins.lr is None and pins.batch_tokens is None and pins.steps is None:
        return 0.0
    return None if landscape is None else landscape.cost(lr=lr, batch_tokens=batch_tokens)


def witness_of(law: Law, book: Mapping[str, Law], user: tuple[str, ...]) -> Law | None:
    """Practice, the second witness outside a published law's range; None for a user's own law.

    One's own sweep knows one's own setting: outside its range its interval widens, but what other
    labs used does not move it.
    """
    return None if law.name in user else book.get("practice")


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
    return book[DEFAULT_LAWS[quantity]]


def speaks_of(law: Law, quantity: str) -> bool:
    """Whether a law gives absolute numbers of a quantity."""
    part = law.quantities.get(quantity)
    return part is not None and part.form not in ("text", "exponents")


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


def ask(
    quantity: str,
    law: Law,
    at: Mapping[str, float],
    practice: Law | None = None,
    *,
    practice_at: Mapping[str, float] | None = None,
) -> Estimate:
    """The estimate of one quantity; a law that is silent here is refused by name.

    Raises:
        InputError: the law needs an input that the target does not have, or lies outside its rows.
    """
    found = estimate_from(quantity, law, practice, at=at, practice_at=practice_at)
    if found is None:
        raise InputError(
            f"law {law.name}: says nothing of {quantity} at {at['params']:.4g} params "
            f"(plan laws show {law.name})"
        )
    return found


def law_inputs(target: Target, shape: Shape) -> dict[str, float]:
    """Inputs of the laws at a target; FLOPs with attention are those of the shape."""
    params, tokens = target.params, target.tokens
    attention = shape.n_layers * shape.n_heads * shape.head_dim * target.seq_len
    return {
        "params": params,
        "tokens": tokens,
        "tokens_per_param": target.tokens_per_param,
        "flops": target.flops,
        "model_flops": (6 * params + 12 * attention) * tokens,
        "model_flops_causal": (6 * params + 6 * attention) * tokens,
        "d_model": float(shape.d_model),
        "n_layers": float(shape.n_layers),
        "seq_len": float(target.seq_len),
    }


def move_lr(
    book: Mapping[str, Law],
    landscape: Landscape | None,
    at: Mapping[str, float],
    *,
    best: float,
    batch_tokens: float,
) -> Move | None:
    """How the lr moves from the best batch to the planned one; None when they are the same.

    A batch that differs by rounding alone, under 1%, moves nothing.
    """
    if abs(math.log(batch_tokens / best)) < ROUNDING:
        return None
    near = best / BATCH_REACH <= batch_tokens <= best * BATCH_REACH
    if landscape is not None and near:
        return landscape.move_lr(batch_tokens)
    return saturating_factor(book[SATURATING_LAW], at, best=best, batch_tokens=batch_tokens)


def convert_lr(law: Law, choices: Choices, parametrization: Parametrization) -> Conversion:
    """Factor from a law's lr to the planned optimizer and parametrization.

    A law of one parametrization serves another only through SP, whose lr the hidden matrices
    keep; a law of the planned optimizer and parametrization is used as it is.

    Raises:
        InputError: the law was measured under muP or CompleteP, and the plan is not.
    """
    factor, log_sd, reasons = 1.0, 0.0, []
    optimizer = OPTIMIZERS[choices.optimizer]
    measured_with = law.range.optimizer or "adamw"
    if choices.optimizer != measured_with:
        if measured_with != "adamw":
            raise InputError(
                f"law {law.name}: measured with {measured_with}, the plan is for "
                f"{choices.optimizer}; add --optimizer {measured_with} or choose another law"
            )
        factor /= optimizer.adamw_factor
        log_sd = LION_LR_LOG_SD if choices.optimizer == "lion" else CONVERSION_LOG_SD
        reasons.append(
            f"{law.name} was measured with adamw; {CONVERTED[choices.optimizer]} (assumed); "
            "tune it at a small size"
        )
    measured_in = law.range.parametrization or "sp"
    if choices.parametrization != measured_in:
        if measured_in != "sp":
            raise InputError(
                f"law {law.name}: measured under {measured_in}, the plan is under "
                f"{choices.parametrization}; add --parametrization {measured_in} or choose another"
            )
        log_sd = math.hypot(log_sd, CONVERSION_LOG_SD)
        width = 1 / multipliers(parametrization, optimizer=optimizer).matrix_lr
        factor *= width
        reasons.append(
            f"{law.name} was measured under sp; hidden matrices keep its lr under "
            f"{choices.parametrization}, so the base lr is {width:g} times it (assumed); "
            "check it with a small model"
        )
    return Conversion(factor=factor, log_sd=log_sd, reasons=tuple(reasons))
