"""The numbers of a plan: each recommended or pinned value with its intervals and its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.laws.plateau import Plateau, Span

if TYPE_CHECKING:
    from planner.recommendation.estimate import Estimate
    from planner.recommendation.numbers import Derivation
    from planner.request.choices import Pins

PINNED = "pinned"
"""The law of a value that the user fixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One recommended number with its 80% interval and its source."""

    value: float
    low: float | None
    """Lower end of the 80% interval; None where none is known."""
    high: float | None
    law: str
    """The law's name, `pinned`, or two sources joined by `+`."""
    weights: dict[str, float] | None = None
    """Weight of each source in log, where two are mixed."""
    elsewhere: Span | None = None
    """80% interval for a setup that nobody measured; None where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfDouble:
    """Share of the loss that half and twice a number cost, all else as planned."""

    half: float
    double: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCost:
    """What being wrong by a factor of two costs, by the measured surface."""

    lr: HalfDouble
    batch_tokens: HalfDouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a plan recommends, pins included."""

    lr: Value
    batch_tokens: Value
    weight_decay: Value
    loss: Value
    plateau: Plateau | None
    """The range that costs at most 0.1% of the loss; None where no surface reaches."""
    error_cost: ErrorCost | None
    """None where no surface reaches."""


def value_of(estimate: Estimate, pinned: float | None) -> Value:
    """An estimate, or a pinned number, as the plan's value."""
    if pinned is not None:
        return Value(value=pinned, low=pinned, high=pinned, law=PINNED)
    low, high = estimate.interval()
    return Value(
        value=estimate.value,
        low=low,
        high=high,
        law=estimate.name,
        weights=estimate.weights,
        elsewhere=_span(estimate.elsewhere()),
    )


def batch_value(derivation: Derivation, pins: Pins, *, seq_len: int) -> Value:
    """The batch in whole sequences, with the interval of the best batch."""
    batch = float(derivation.batch_sequences * seq_len)
    if pins.batch_tokens is not None or pins.steps is not None:
        return Value(value=batch, low=batch, high=batch, law=PINNED)
    move, free = derivation.batch_move, derivation.free_batch
    factor = 1.0 if move is None else move.factor

    def ends(interval: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = interval
        if low is None or high is None:
            return None, None
        # Rounding up to one sequence may leave the interval of the best batch.
        return min(low * factor, batch), max(high * factor, batch)

    low, high = ends(free.interval())
    return Value(
        value=batch,
        low=low,
        high=high,
        law=free.name if move is None else f"{free.name}+{move.law}",
        weights=free.weights,
        elsewhere=_span(ends(free.elsewhere())),
    )


def _span(interval: tuple[float | None, float | None]) -> Span | None:
    """An interval as a part of the plan; None where its width is not known."""
    low, high = interval
    return None if low is None or high is None else Span(low=low, high=high)
