"""The measured surface about a recommendation: moves along it, its plateau, the price of a pin.

Where the surface was fitted on the runs behind the law in use, its own place is measured and
stands. For another law only its shape is used: it is shifted in ln lr and ln batch until its
optimum lies on the recommendation, and every move and price is relative to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fitting.errors import FitError, InputError
from fitting.laws.evaluate import evaluate_law, log_distances
from fitting.laws.law import Law, Range
from fitting.laws.plateau import Plateau, Span, move_lr, plateau
from fitting.laws.surface import Surface, best_batch, best_point, log_penalty, surface_from

REACH = math.log(2)
"""How far outside the range it was fitted in the surface's shape is still used; assumed."""

BATCH_REACH = 20.0
"""Largest factor from the best batch over which lr was measured against batch (laws.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How one number moved because another was fixed."""

    factor: float
    rule: str
    """`surface`, `saturating`, `square root` or `constant`."""
    law: str
    """The law file it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """A surface about a recommendation."""

    law: str
    surface: Surface
    params: float
    tokens: float
    lr: float
    """The recommended lr, in the terms of the law it came from."""
    batch_tokens: float
    """The recommended batch."""
    lr_shift: float
    """Surface's lr over ours: 1 where the surface was fitted in the setting of the lr law."""
    batch_shift: float

    def cost(self, *, lr: float, batch_tokens: float) -> float:
        """Share of the loss that a point costs over the recommendation; 0 where it is better."""
        return max(math.expm1(self.penalty(lr, batch_tokens) - self.penalty()), 0.0)

    def penalty(self, lr: float | None = None, batch_tokens: float | None = None) -> float:
        """ln(1 + q) of the surface at a point, by default the recommendation."""
        return log_penalty(
            self.surface,
            params=self.params,
            tokens=self.tokens,
            lr=(lr or self.lr) * self.lr_shift,
            batch_tokens=(batch_tokens or self.batch_tokens) * self.batch_shift,
        )

    def move_lr(self, batch_tokens: float) -> Move:
        """How the lr moves from the recommended batch to another."""
        to = move_lr(
            self.surface,
            self.params,
            self.tokens,
            lr=self.lr * self.lr_shift,
            batch_tokens=self.batch_tokens * self.batch_shift,
            new_batch_tokens=batch_tokens * self.batch_shift,
        )
        return Move(factor=to / self.lr / self.lr_shift, rule="surface", law=self.law)

    def move_batch(self, lr: float) -> Move:
        """How the batch moves from the recommended lr to another; the law's own point fades."""
        kept = 1 / (1 + math.log2(lr / self.lr) ** 2)
        here, there = (
            best_batch(self.surface, self.params, self.tokens, value * self.lr_shift)
            for value in (self.lr, lr)
        )
        ours = self.batch_tokens * self.batch_shift
        return Move(factor=there / ours * (ours / here) ** kept, rule="surface", law=self.law)

    def plateau(self, *, lr: float, batch_tokens: float) -> Plateau:
        """The lr at this batch, and the batch at this lr, that cost at most 0.1% of the loss."""
        around = plateau(
            self.surface,
            self.params,
            self.tokens,
            lr=lr * self.lr_shift,
            batch_tokens=batch_tokens * self.batch_shift,
        )
        return Plateau(
            Span(around.lr.low / self.lr_shift, around.lr.high / self.lr_shift),
            Span(
                around.batch_tokens.low / self.batch_shift,
                around.batch_tokens.high / self.batch_shift,
            ),
        )


def landscape_at(
    law: Law | None,
    at: Mapping[str, float],
    *,
    lr: float,
    batch_tokens: float,
    same_setting: bool,
) -> Landscape | None:
    """The surface of `law` about a recommendation; None where it does not reach.

    Args:
        law: a law with a surface, or None.
        at: params and tokens.
        lr: the recommended lr, > 0.
        batch_tokens: the recommended batch, > 0.
        same_setting: whether the surface was fitted on the runs behind the recommendation. Its
            own place is then measured; otherwise only its shape is used, its optimum shifted
            onto the recommendation.
    """
    if law is None or not within_reach(law.range, at):
        return None
    surface = surface_from(law.quantities["surface"])
    try:
        best_point(surface, at["params"], at["tokens"])
    except FitError as error:
        raise InputError(f"law {law.name} [surface]: {error}") from error
    lr_shift = batch_shift = 1.0
    if not same_setting:
        best_lr, best_batch_tokens = best_point(surface, at["params"], at["tokens"])
        lr_shift, batch_shift = best_lr / lr, best_batch_tokens / batch_tokens
    return Landscape(
        law=law.name,
        surface=surface,
        params=at["params"],
        tokens=at["tokens"],
        lr=lr,
        batch_tokens=batch_tokens,
        lr_shift=lr_shift,
        batch_shift=batch_shift,
    )


def within_reach(limits: Range, at: Mapping[str, float]) -> bool:
    """Whether params and tokens lie within a factor of 2 of the surface's range."""
    distances = log_distances(limits, at)
    return all(distances.get(name, 0.0) <= REACH for name in ("params", "tokens"))


def saturating_factor(
    law: Law, at: Mapping[str, float], *, best: float, batch_tokens: float
) -> Move:
    """Factor on the lr of the best batch for another batch, where the surface does not reach.

    Within a factor of 20 of the best batch the measured saturating law; below that the square
    root continues it, above that the lr stays, since for very large batches the best lr tends to
    a constant.

    Args:
        law: a law whose lr has the form `saturating`.
        at: params and tokens.
        best: the batch that the lr was recommended for, > 0.
        batch_tokens: the batch that is planned, > 0.
    """
    quantity = law.quantities["lr"]
    inside = min(max(batch_tokens, best / BATCH_REACH), best * BATCH_REACH)
    there, here = (
        evaluate_law(quantity, {**at, "batch_tokens": value * law_best(law, at) / best})
        for value in (inside, best)
    )
    assert there is not None
    assert here is not None
    rule = "saturating"
    factor = float(there / here)
    if batch_tokens < inside:
        rule, factor = "square root", factor * math.sqrt(batch_tokens / inside)
    elif batch_tokens > inside:
        rule = "constant"
    return Move(factor=factor, rule=rule, law=law.name)


def law_best(law: Law, at: Mapping[str, float]) -> float:
    """The batch B* about which a saturating law was measured."""
    c = law.quantities["lr"].coefficients
    return float(c["batch_scale"] * at["tokens"] ** c["batch_exponent"])
