"""The measured surface about a recommendation: moves along it, its plateau, the price of a pin.

Where the surface was fitted on the runs behind the law in use, its own place is measured and
stands. For another law only its shape is used: it is shifted in ln lr and ln batch until its
optimum lies on the recommendation, and every move and price is relative to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fitting.errors import FitError, InputError
from fitting.laws.evaluate import evaluate_law, log_distances
from fitting.laws.law import Law, Range
from fitting.laws.plateau import Plateau, Span, move_lr, plateau
from fitting.laws.surface import (
    Surface,
    SurfacePoint,
    best_batch,
    best_point,
    log_penalty,
    log_terms,
    surface_from,
    terms_of,
)
from planner.recommendation.value import ErrorCost, HalfDouble

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


@dataclass(frozen=True, slots=True)
class Tuning:
    """An lr and the batch that it is at."""

    lr: float
    """Peak, > 0."""
    batch_tokens: float
    """> 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSurface:
    """A measured surface at one size, its axes shifted onto ours."""

    law: str
    """Name of the law that it is from."""
    surface: Surface
    params: float
    tokens: float
    lr_shift: float = 1.0
    """Surface's lr over ours: 1 where the surface was fitted in the setting of the lr law."""
    batch_shift: float = 1.0
    """Surface's batch over ours."""

    def penalty(self, at: Tuning) -> float:
        """ln(1 + q) of the surface at a point."""
        return log_penalty(
            self.surface,
            params=self.params,
            tokens=self.tokens,
            lr=at.lr * self.lr_shift,
            batch_tokens=at.batch_tokens * self.batch_shift,
        )

    def best(self) -> Tuning:
        """The optimum, in our terms."""
        lr, batch_tokens = best_point(self.surface, self.params, self.tokens)
        return Tuning(lr / self.lr_shift, batch_tokens / self.batch_shift)

    def reaches(self, batch_tokens: float, *, about: float) -> bool:
        """Whether a batch lies as near to another as lr was measured against batch."""
        return abs(math.log(batch_tokens / about)) <= math.log(BATCH_REACH)

    def cost(self, at: Tuning, *, over: Tuning) -> float:
        """Share of the loss that a point costs over another; 0 where it is better."""
        return max(math.expm1(self.penalty(at) - self.penalty(over)), 0.0)

    def move_lr(self, batch_tokens: float, *, start: Tuning) -> Move:
        """How the lr moves from the one that is right at a batch to another batch."""
        to = move_lr(
            self.surface,
            self.params,
            self.tokens,
            lr=start.lr * self.lr_shift,
            batch_tokens=start.batch_tokens * self.batch_shift,
            new_batch_tokens=batch_tokens * self.batch_shift,
        )
        return Move(factor=to / start.lr / self.lr_shift, rule="surface", law=self.law)

    def move_batch(self, lr: float, *, start: Tuning) -> Move:
        """How the batch moves from what is right at an lr; the law's own point fades."""
        kept = 1 / (1 + math.log2(lr / start.lr) ** 2)
        here, there = (
            best_batch(self.surface, self.params, self.tokens, value * self.lr_shift)
            for value in (start.lr, lr)
        )
        ours = start.batch_tokens * self.batch_shift
        return Move(factor=there / ours * (ours / here) ** kept, rule="surface", law=self.law)

    def plateau(self, at: Tuning) -> Plateau:
        """The lr at this batch, and the batch at this lr, that cost at most 0.1% of the loss."""
        around = plateau(
            self.surface,
            self.params,
            self.tokens,
            lr=at.lr * self.lr_shift,
            batch_tokens=at.batch_tokens * self.batch_shift,
        )
        return Plateau(
            Span(around.lr.low / self.lr_shift, around.lr.high / self.lr_shift),
            Span(
                around.batch_tokens.low / self.batch_shift,
                around.batch_tokens.high / self.batch_shift,
            ),
        )

    def error_cost(self, at: Tuning) -> ErrorCost:
        """What half and twice the lr or the batch cost, the other held."""
        here = self.penalty(at)

        def price(lr: float, batch_tokens: float) -> float:
            there = Tuning(at.lr * lr, at.batch_tokens * batch_tokens)
            return math.expm1(self.penalty(there) - here)

        return ErrorCost(
            lr=HalfDouble(half=price(0.5, 1.0), double=price(2.0, 1.0)),
            batch_tokens=HalfDouble(half=price(1.0, 0.5), double=price(1.0, 2.0)),
        )

    def terms(self, at: Tuning) -> list[list[float]]:
        """Log of each term at a point, with its exponents of lr and batch: all a page needs.

        Returns:
            Three rows [a, g, h] so that q = sum exp(a + g ln(lr'/lr) + h ln(B'/B)).
        """
        setting = SurfacePoint(
            params=self.params,
            tokens=self.tokens,
            lr=at.lr * self.lr_shift,
            batch_tokens=at.batch_tokens * self.batch_shift,
        )
        logs = log_terms(self.surface, setting)
        pairs = zip(logs, terms_of(self.surface), strict=True)
        return [[log, term.lr, term.batch_tokens] for log, term in pairs]


def place_surface(
    law: Law, *, params: float, tokens: float, lr_shift: float = 1.0, batch_shift: float = 1.0
) -> PlacedSurface:
    """The surface of a law at a size.

    Args:
        law: a law with a surface.
        params: of the run.
        tokens: of the run.
        lr_shift: the surface's lr over ours.
        batch_shift: the surface's batch over ours.

    Raises:
        InputError: the surface has no optimum there.
    """
    surface = surface_from(law.quantities["surface"])
    try:
        best_point(surface, params, tokens)
    except FitError as error:
        raise InputError(f"law {law.name} [surface]: {error}") from error
    return PlacedSurface(
        law=law.name,
        surface=surface,
        params=params,
        tokens=tokens,
        lr_shift=lr_shift,
        batch_shift=batch_shift,
    )


def surface_about(
    law: Law | None, at: Mapping[str, float], *, recommended: Tuning, same_setting: bool
) -> PlacedSurface | None:
    """The surface of `law` about a recommendation; None where it does not reach.

    Args:
        law: a law with a surface, or None.
        at: params and tokens.
        recommended: the lr and batch of the law in use.
        same_setting: whether the surface was fitted on the runs behind the recommendation. Its
            own place is then measured; otherwise only its shape is used, its optimum shifted
            onto the recommendation.
    """
    if law is None or not within_reach(law.range, at):
        return None
    placed = place_surface(law, params=at["params"], tokens=at["tokens"])
    if same_setting:
        return placed
    best = placed.best()
    return replace(
        placed,
        lr_shift=best.lr / recommended.lr,
        batch_shift=best.batch_tokens / recommended.batch_tokens,
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
