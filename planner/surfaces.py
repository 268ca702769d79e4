"""The measured surface about a recommendation: moves along it, its plateau, the price of a pin.

The surface was fitted on one sweep, and the law's point is not exactly its optimum. So only its
shape is used: it is shifted in ln lr and ln batch until its optimum lies on the recommendation,
which then costs nothing, and every move and price is relative to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fitting.laws import Law, Range, evaluate_law
from fitting.surface import Surface, best_batch, best_lr, best_point, surface_from
from fitting.surface_price import Plateau, Span, cost, plateau
from planner.estimate import log_distances

REACH = math.log(4)
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
    """A surface shifted so that its optimum is the recommendation."""

    law: str
    surface: Surface
    params: float
    tokens: float
    lr_shift: float
    """The surface's best lr over the recommended one."""
    batch_shift: float
    """The surface's best batch over the recommended one."""

    def cost(self, *, lr: float, batch_tokens: float) -> float:
        """Share of the loss that a point costs over the recommendation, >= 0."""
        return cost(
            self.surface,
            params=self.params,
            tokens=self.tokens,
            lr=lr * self.lr_shift,
            batch_tokens=batch_tokens * self.batch_shift,
        )

    def best_batch(self, lr: float) -> float:
        """The batch of lowest loss for an lr that is fixed."""
        best = best_batch(self.surface, self.params, self.tokens, lr * self.lr_shift)
        return best / self.batch_shift

    def best_lr(self, batch_tokens: float) -> float:
        """The lr of lowest loss for a batch that is fixed."""
        best = best_lr(self.surface, self.params, self.tokens, batch_tokens * self.batch_shift)
        return best / self.lr_shift

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
    law: Law | None, at: Mapping[str, float], *, lr: float, batch_tokens: float
) -> Landscape | None:
    """The surface of `law` about a recommendation; None where it does not reach."""
    if law is None or not within_reach(law.range, at):
        return None
    surface = surface_from(law.quantities["surface"])
    best_lr, batch = best_point(surface, at["params"], at["tokens"])
    return Landscape(
        law=law.name,
        surface=surface,
        params=at["params"],
        tokens=at["tokens"],
        lr_shift=best_lr / lr,
        batch_shift=batch / batch_tokens,
    )


def within_reach(limits: Range, at: Mapping[str, float]) -> bool:
    """Whether params and tokens lie within a factor of 4 of the surface's range."""
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
    factor = there / here
    if batch_tokens < inside:
        rule, factor = "square root", factor * math.sqrt(batch_tokens / inside)
    elif batch_tokens > inside:
        rule = "constant"
    return Move(factor=factor, rule=rule, law=law.name)


def law_best(law: Law, at: Mapping[str, float]) -> float:
    """The batch B* about which a saturating law was measured."""
    c = law.quantities["lr"].coefficients
    return c["batch_scale"] * at["tokens"] ** c["batch_exponent"]
