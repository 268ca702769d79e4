"""What limited data allow: effective counts, loss, asymptotes, the best split, decay, ensembles.

The law of the repeats is the plan's own loss law where that has terms of unique tokens, as one
fitted by `plan fit` may, else `data-constrained`. Its asymptotes are its values at counts that are
beyond all saturation.

Sources: Muennighoff et al. 2023 (arXiv 2305.16264), D' = U + U r (1 - exp(-(D/U - 1) / r)) and
likewise for params; Kim et al. 2025 (arXiv 2509.14786), weight decay and ensembles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.laws.evaluate import evaluate_law, law_log_sd
from fitting.laws.law import Law, Quantity
from fitting.laws.loss import saturating_count, useful_params
from fitting.units import format_count, format_small
from planner.facts.laws import DECAY_LAW, ENSEMBLE_LAW, REPEATS_LAW
from planner.recommendation.data_part import (
    DataPart,
    DecayAdvice,
    EnsembleLoss,
    EnsemblePart,
    Forecast,
    Split,
)
from planner.recommendation.estimate import around

if TYPE_CHECKING:
    from planner.recommendation.numbers import Derivation
    from planner.request.choices import Choices
    from planner.request.target import Target

NEARLY_FREE_EPOCHS = 4
"""Epochs up to which repeats count nearly as fresh (Muennighoff et al., arXiv 2305.16264)."""

ENDLESS = 1e9
"""Factor on a count that leaves a saturating one at its limit to all digits."""

NEAR = 2.0
"""Factor within which a setting counts as the one measured; assumed."""

ENSEMBLES = (1, 2, 4, 8)
"""Numbers of models shown."""

GRID_STEP, GRID_REACH = math.log(10) / 20, 60
"""Steps of ln params, and how many each way: a factor of 1,000."""

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Repeats:
    """The law of the repeats at one amount of data."""

    law: Law
    unique_tokens: float

    @property
    def quantity(self) -> Quantity:
        """Its loss."""
        return self.law.quantities["loss"]

    @property
    def saturates(self) -> bool:
        """Whether params and tokens have effective counts with limits."""
        return self.quantity.form == "data-constrained"

    def loss(self, params: float, tokens: float) -> float:
        """Nats per token of `params` on `tokens`, the data repeated as often as that takes."""
        value = evaluate_law(self.quantity, self.point(params, tokens))
        assert value is not None
        return value

    def point(self, params: float, tokens: float) -> dict[str, float]:
        """Inputs of the law."""
        unique = min(self.unique_tokens, tokens)
        return {"params": params, "tokens": tokens, "unique_tokens": unique}

    def forecast(self, params: float, tokens: float) -> Forecast:
        """The loss with its 80% interval: covariance and scatter, where they are known."""
        point = self.point(params, tokens)
        coefficients = law_log_sd(self.quantity, point)
        known = [sd for sd in (coefficients, self.quantity.scatter) if sd is not None]
        value = self.loss(params, tokens)
        low, high = around(value, math.hypot(*known) if known else None)
        return Forecast(value=value, low=low, high=high, law=self.law.name)


def has_repeats(quantity: Quantity) -> bool:
    """Whether a loss law has terms of unique tokens."""
    terms = any(name.startswith("u") for name in quantity.coefficients)
    return quantity.form == "data-constrained" or (quantity.form == "mixed-terms" and terms)


def data_part(
    book: Mapping[str, Law], choices: Choices, target: Target, numbers: Derivation
) -> DataPart | None:
    """All that limited data say of a plan; None where the data were not limited."""
    if choices.unique_tokens is None:
        return None
    own = numbers.laws["loss"]
    repeats = Repeats(
        own if has_repeats(own.quantities["loss"]) else book[REPEATS_LAW], choices.unique_tokens
    )
    unique = min(choices.unique_tokens, target.tokens)
    epochs = target.tokens / unique
    ends = asymptotes(repeats, target)
    best, neighbours = splits(repeats, target)
    return DataPart(
        unique_tokens=unique,
        epochs=epochs,
        effective_tokens=effective_tokens(repeats, target),
        law=repeats.law.name,
        effective_params=effective_params(repeats, target),
        repeat_worth=repeat_worth(repeats, epochs),
        loss=repeats.forecast(target.params, target.tokens),
        loss_if_fresh=Repeats(repeats.law, target.tokens).loss(target.params, target.tokens),
        loss_infinite_epochs=ends[0],
        loss_infinite_params=ends[1],
        loss_infinite_both=ends[2],
        best_split=best,
        neighbours=neighbours,
        weight_decay=decay_advice(book[DECAY_LAW], choices, target, epochs=epochs),
        ensemble=ensemble_part(book[ENSEMBLE_LAW], choices.unique_tokens, target.params),
    )


def effective_tokens(repeats: Repeats, target: Target) -> float | None:
    """Fresh tokens that count as much as the repeated ones.

    By the saturating count where the law has one, else those of equal loss; None where no number
    of fresh tokens up to the plan's own has it.
    """
    tokens, unique = target.tokens, min(repeats.unique_tokens, target.tokens)
    if repeats.saturates:
        return saturating_count(unique, tokens, repeats.quantity.coefficients["r_tokens"])
    wanted = repeats.loss(target.params, tokens)

    def excess(count: float) -> float:
        return Repeats(repeats.law, count).loss(target.params, count) - wanted

    low, high = unique / ENDLESS, tokens
    if not excess(low) > 0 >= excess(high):
        return None
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def effective_params(repeats: Repeats, target: Target) -> float | None:
    """Params that the data can use; None where the law has no such count."""
    if not repeats.saturates:
        return None
    unique = min(repeats.unique_tokens, target.tokens)
    useful = useful_params(target.params, unique, repeats.quantity.coefficients)
    return saturating_count(useful, target.params, repeats.quantity.coefficients["r_params"])


def repeat_worth(repeats: Repeats, epochs: float) -> float | None:
    """dD'/dD = exp(-(epochs - 1) / r): what one more token counts, of a fresh one."""
    if not repeats.saturates:
        return None
    return math.exp(-(epochs - 1) / repeats.quantity.coefficients["r_tokens"])


def asymptotes(repeats: Repeats, target: Target) -> list[Forecast | None]:
    """The loss with infinite epochs, infinite params, and both; None where there is no limit."""
    params, tokens = target.params, target.tokens
    ends = (
        (params, tokens * ENDLESS),
        (params * ENDLESS, tokens),
        (params * ENDLESS, tokens * ENDLESS),
    )
    return [repeats.forecast(*end) if repeats.saturates else None for end in ends]


def splits(repeats: Repeats, target: Target) -> tuple[Split | None, tuple[Split, ...]]:
    """The best split of the plan's FLOPs on these data, and what stands beside it."""
    product = target.params * target.tokens

    def split(params: float) -> Split:
        tokens = product / params
        epochs = max(tokens / repeats.unique_tokens, 1.0)
        loss = repeats.loss(params, tokens)
        return Split(params=params, tokens=tokens, epochs=epochs, loss=loss)

    best = lowest(lambda params: repeats.loss(params, product / params), target.params)
    if best is None:
        return None, (split(target.params),)
    return split(best), (split(best / 2), split(target.params), split(best * 2))


def lowest(loss: Callable[[float], float], about: float) -> float | None:
    """Where a loss is lowest within a factor of 1,000 of `about`: a grid, then golden section.

    The grid is needed because a count that starts to saturate may leave two hollows. None where
    the lowest is at an end, as for a law whose loss has no turn.
    """
    grid = [about * math.exp(share * GRID_STEP) for share in range(-GRID_REACH, GRID_REACH + 1)]
    best = min(range(len(grid)), key=lambda index: loss(grid[index]))
    if best in {0, len(grid) - 1}:
        return None
    low, high = math.log(grid[best - 1]), math.log(grid[best + 1])
    while high - low > 1e-6:
        one, two = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, two) if loss(math.exp(one)) < loss(math.exp(two)) else (one, high)
    return math.exp((low + high) / 2)


def decay_advice(law: Law, choices: Choices, target: Target, *, epochs: float) -> DecayAdvice:
    """The weight decay of the nearest study of repeated data, where it covers the target."""
    quantity = law.quantities["weight_decay"]
    assert law.range.params is not None
    assert law.range.unique_tokens is not None
    low, high = law.range.params
    unique = law.range.unique_tokens[0]
    ends = [evaluate_law(quantity, {"params": n, "unique_tokens": unique}) for n in (low, high)]
    measured = (
        f"{format_small(ends[0] or 0)} to {format_small(ends[1] or 0)} at {format_count(low)} to "
        f"{format_count(high)} params on {format_count(unique)} unique tokens"
    )
    if epochs <= NEARLY_FREE_EPOCHS:
        reason = f"up to {NEARLY_FREE_EPOCHS} epochs repeats count nearly as fresh"
        return DecayAdvice(value=None, law=law.name, reason=f"no need: {reason}")
    assert choices.unique_tokens is not None
    plain = (choices.optimizer, choices.parametrization) == ("adamw", "sp")
    near = is_near(choices.unique_tokens, (unique, unique)) and is_near(target.params, (low, high))
    if not (near and plain):
        return DecayAdvice(
            value=None, law=law.name, reason=f"not known here; nearest published: {measured}"
        )
    point = {"params": target.params, "unique_tokens": choices.unique_tokens}
    return DecayAdvice(value=evaluate_law(quantity, point), law=law.name, reason=measured)


def ensemble_part(law: Law, unique_tokens: float, params: float) -> EnsemblePart:
    """L(K) = E + c / K^a of models of one size on the same data, and whether that is here."""
    quantity = law.quantities["loss"]
    assert law.range.params is not None
    assert law.range.unique_tokens is not None
    alone = evaluate_law(quantity, {"models": 1.0})
    assert alone is not None
    losses = [(count, evaluate_law(quantity, {"models": float(count)})) for count in ENSEMBLES]
    losses.append((0, quantity.coefficients["E"]))
    return EnsemblePart(
        law=law.name,
        covered=is_near(unique_tokens, law.range.unique_tokens)
        and is_near(params, law.range.params),
        params=law.range.params[0],
        unique_tokens=law.range.unique_tokens[0],
        losses=tuple(
            EnsembleLoss(models=count, loss=loss, gain=1 - loss / alone)
            for count, loss in losses
            if loss is not None
        ),
    )


def is_near(value: float, limits: tuple[float, float] | list[float]) -> bool:
    """Whether a value lies within a factor of `NEAR` of a range."""
    return limits[0] / NEAR <= value <= limits[1] * NEAR
