"""What the laws say at one point, before pins, rounding and anchors: loss, batch, lr at that batch.

The target is one such point, and so is every anchor, so that an anchor at the target cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fitting.errors import InputError
from fitting.laws.law import Law
from planner.recommendation.elsewhere import extra_variance
from planner.recommendation.estimate import Estimate, estimate_from
from planner.recommendation.place import (
    BATCH_REACH,
    Move,
    PlacedSurface,
    Tuning,
    saturating_factor,
    surface_about,
)

ROUNDING = 0.01
"""Largest log distance between batches that counts as rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The laws that a plan asks."""

    laws: Mapping[str, Law]
    """The law of each quantity."""
    practice: Mapping[str, Law | None]
    """The second witness of lr and batch outside their laws' ranges; None where it has no say."""
    surface: Law | None
    same_setting: bool
    """Whether the surface was fitted on the runs behind the lr law."""
    saturating: Law
    """How lr moves with batch where the surface does not reach."""
    setups: Law | None
    """The spread between setups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The laws' numbers at one point."""

    point: Mapping[str, float]
    """Inputs of the laws, their own loss included."""
    loss: Estimate
    batch: Estimate
    lr: Estimate
    """At the law's own batch."""
    placed: PlacedSurface | None
    """The surface about these numbers; None out of its reach."""

    @property
    def at_law_batch(self) -> dict[str, float]:
        """The point at the batch that the law itself says."""
        return {**self.point, "batch_tokens": self.batch.law.value}


def survey(sources: Sources, point: Mapping[str, float]) -> Ground:
    """The laws' numbers at a point of params, tokens and what follows from them.

    Raises:
        InputError: a law needs an input that the point lacks, or lies outside its rows.
    """
    loss = ask(sources, "loss", point)
    point = {**point, "loss": loss.value}
    batch = ask(sources, "batch_tokens", point)
    lr = ask(
        sources,
        "lr",
        point | {"batch_tokens": batch.law.value},
        practice_at=point | {"batch_tokens": batch.value},
    )
    placed = surface_about(
        sources.surface,
        point,
        recommended=Tuning(lr.value, batch.value),
        same_setting=sources.same_setting,
    )
    return Ground(point=point, loss=loss, batch=batch, lr=lr, placed=placed)


def ask(
    sources: Sources,
    quantity: str,
    at: Mapping[str, float],
    *,
    practice_at: Mapping[str, float] | None = None,
) -> Estimate:
    """The estimate of one quantity; a law that is silent here is refused by name.

    Raises:
        InputError: the law needs an input that the target does not have, or lies outside its rows.
    """
    law = sources.laws[quantity]
    found = estimate_from(
        quantity,
        law,
        sources.practice.get(quantity),
        at=at,
        practice_at=practice_at,
        setup_variance=extra_variance(
            sources.setups, quantity, at, scatter=law.quantities[quantity].scatter or 0.0
        ),
    )
    if found is None:
        raise InputError(
            f"law {law.name}: says nothing of {quantity} at {at['params']:.4g} params "
            f"(plan laws show {law.name})"
        )
    return found


def move_lr(sources: Sources, ground: Ground, batch_tokens: float) -> Move | None:
    """How the lr moves from the laws' batch to another; None when they are the same.

    A batch that differs by rounding alone, under 1%, moves nothing.
    """
    best = ground.batch.value
    if abs(math.log(batch_tokens / best)) < ROUNDING:
        return None
    near = best / BATCH_REACH <= batch_tokens <= best * BATCH_REACH
    if ground.placed is not None and near:
        return ground.placed.move_lr(batch_tokens, start=Tuning(ground.lr.value, best))
    return saturating_factor(sources.saturating, ground.point, best=best, batch_tokens=batch_tokens)
