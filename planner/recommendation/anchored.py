"""Anchors beside what the laws say of them: the batch, lr, weight decay and loss at their level.

An lr is compared at the anchor's own batch: the law's lr is moved there as a pinned batch of a
plan would move it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from planner.recommendation.anchoring import End, Reading, anchor_estimate
from planner.recommendation.conversion import Conversion, convert_anchor
from planner.recommendation.place import Move
from planner.recommendation.sources import ROUNDING, Ground, Sources, ask, move_lr, survey

if TYPE_CHECKING:
    from planner.facts.anchor import Anchor
    from planner.recommendation.estimate import Estimate
    from planner.request.choices import Choices
    from proxies.run.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One anchor and what the laws say at its size."""

    anchor: Anchor
    ground: Ground
    conversion: Conversion
    """From the lr law's terms to the anchor's."""

    @property
    def batch_tokens(self) -> float:
        """The anchor's batch, where it says none the law's."""
        return self.anchor.batch_tokens or self.ground.batch.value

    @property
    def lr(self) -> float:
        """The anchor's lr in the law's terms."""
        return self.anchor.lr / self.conversion.factor


def stand(
    anchors: Sequence[Anchor],
    sources: Sources,
    choices: Choices,
    inputs: Callable[[Anchor], tuple[Mapping[str, float], Shape]],
) -> tuple[Standing, ...]:
    """Every anchor with the laws' numbers at its size.

    Args:
        anchors: as given.
        sources: the laws asked.
        choices: the plan's optimizer and parametrization.
        inputs: inputs of the laws at an anchor, and its shape.

    Raises:
        InputError: a law says nothing at an anchor, or it is of another optimizer.
    """
    found = []
    for anchor in anchors:
        try:
            point, shape = inputs(anchor)
            ground = survey(sources, point)
        except InputError as error:
            raise InputError(f"--anchor {anchor.name}: {error}") from error
        conversion = convert_anchor(sources.laws["lr"], anchor, choices, shape)
        found.append(Standing(anchor=anchor, ground=ground, conversion=conversion))
    return tuple(found)


def anchored_batch(sources: Sources, ground: Ground, standings: Sequence[Standing]) -> Estimate:
    """The batch at the level of the anchors that give one."""
    readings = [
        Reading(
            anchor=one.anchor,
            used=one.anchor.batch_tokens or 0.0,
            log_sd=one.anchor.log_sd["batch_tokens"],
            end=batch_end(one.ground),
        )
        for one in standings
        if "batch_tokens" in one.anchor.log_sd
    ]
    return anchor_estimate(
        "batch_tokens", sources, ground.batch, target=batch_end(ground), readings=readings
    )


def batch_end(ground: Ground) -> End:
    """A point as one end of carrying a batch."""
    return End(at=ground.point, practice_at=ground.point, said=ground.batch.law.value)


def anchored_lr(
    sources: Sources, ground: Ground, standings: Sequence[Standing], *, batch_tokens: float
) -> Estimate:
    """The lr at a batch and at the level of the anchors, in the law's terms.

    Args:
        sources: the laws asked.
        ground: what they say at the target.
        standings: the anchors.
        batch_tokens: the batch that the lr is for.
    """
    readings = [
        Reading(
            anchor=one.anchor,
            used=one.lr,
            log_sd=math.hypot(one.anchor.log_sd["lr"], one.conversion.log_sd),
            end=lr_end(sources, one.ground, one.batch_tokens),
        )
        for one in standings
    ]
    end = lr_end(sources, ground, batch_tokens)
    unanchored = ground.lr.times(end.said / ground.lr.law.value)
    return anchor_estimate("lr", sources, unanchored, target=end, readings=readings)


def lr_end(sources: Sources, ground: Ground, batch_tokens: float) -> End:
    """A point as one end of carrying an lr that is right at a batch."""
    move = move_lr(sources, ground, batch_tokens)
    return End(
        at=ground.at_law_batch,
        practice_at={**ground.point, "batch_tokens": batch_tokens},
        said=ground.lr.law.value * (1.0 if move is None else move.factor),
    )


def move_between(sources: Sources, ground: Ground, *, start: float, end: float) -> Move | None:
    """How the lr moves from one batch to another; None where they differ by rounding alone."""
    if abs(math.log(end / start)) < ROUNDING:
        return None
    there, here = (move_lr(sources, ground, batch) for batch in (end, start))
    if here is None:
        return there
    factor = (1.0 if there is None else there.factor) / here.factor
    return replace(there or here, factor=factor)


def anchored_weight_decay(
    sources: Sources,
    ground: Ground,
    standings: Sequence[Standing],
    *,
    batch_tokens: float,
    lr: float,
) -> Estimate:
    """The weight decay at a batch and an lr, at the level of the anchors, in the law's terms."""
    point = {**ground.point, "batch_tokens": batch_tokens, "lr": lr}
    said = ask(sources, "weight_decay", point)
    readings = []
    for one in standings:
        if "weight_decay" not in one.anchor.log_sd:
            continue
        assert one.anchor.weight_decay is not None
        there = {**one.ground.point, "batch_tokens": one.batch_tokens, "lr": one.lr}
        law = ask(sources, "weight_decay", there).law.value
        readings.append(
            Reading(
                anchor=one.anchor,
                used=one.anchor.weight_decay * one.conversion.factor,
                log_sd=one.anchor.log_sd["weight_decay"],
                end=End(at=there, practice_at=there, said=law),
            )
        )
    end = End(at=point, practice_at=point, said=said.law.value)
    return anchor_estimate("weight_decay", sources, said, target=end, readings=readings)


def anchored_loss(sources: Sources, ground: Ground, standings: Sequence[Standing]) -> Estimate:
    """The loss at the level of the anchors that give one."""
    readings = [
        Reading(
            anchor=one.anchor,
            used=one.anchor.loss or 0.0,
            log_sd=one.anchor.log_sd["loss"],
            end=loss_end(one.ground),
        )
        for one in standings
        if "loss" in one.anchor.log_sd
    ]
    return anchor_estimate("loss", sources, ground.loss, target=loss_end(ground), readings=readings)


def loss_end(ground: Ground) -> End:
    """A point as one end of carrying a loss."""
    return End(at=ground.point, practice_at=ground.point, said=ground.loss.law.value)
