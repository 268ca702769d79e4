"""Parts of the plan document from the numbers, the shape, the schedule and the compute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

from fitting.laws.evaluate import evaluate_law, speaks_of
from fitting.laws.file import read_law
from fitting.laws.law import Law
from planner.facts.recipes import nearest_recipes
from planner.plan import document as doc
from planner.recommendation.elsewhere import SETUPS
from planner.recommendation.estimate import Estimate
from planner.recommendation.numbers import Hyperparameters
from planner.recommendation.place import BATCH_REACH, Landscape
from proxies.run.parametrization import Parametrization
from proxies.run.schedule import Schedule
from proxies.run.shape import Shape, count_params, flops_per_token

if TYPE_CHECKING:
    from planner.compute.estimate import Compute
    from planner.request.choices import Choices
    from planner.request.target import Target

Part = TypeVar("Part")

COMPARED = ("loss", "batch_tokens", "lr", "weight_decay")
"""Quantities of which other laws are asked, in the order in which one needs the other."""

NEAREST = 3
"""Published runs shown beside a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """Where a plan lies on a surface."""

    landscape: Landscape
    lr: float
    """In the terms of the law it came from."""
    batch_tokens: float
    factor: float
    """Planned lr over the law's."""


def value_of(estimate: Estimate, pinned: float | None) -> doc.Value:
    """An estimate, or a pinned number, as the plan's value."""
    if pinned is not None:
        return doc.Value(value=pinned, low=pinned, high=pinned, law="pinned")
    low, high = estimate.interval()
    return doc.Value(
        value=estimate.value,
        low=low,
        high=high,
        law=estimate.name,
        weights=estimate.weights,
        elsewhere=bounds_of(estimate.elsewhere()),
    )


def bounds_of(interval: tuple[float | None, float | None]) -> doc.Bounds | None:
    """An interval as a part of the plan; None where its width is not known."""
    low, high = interval
    return None if low is None or high is None else doc.Bounds(low=low, high=high)


def batch_value(numbers: Hyperparameters, choices: Choices, target: Target) -> doc.Value:
    """The batch in whole sequences, with the interval of the best batch."""
    batch = float(numbers.batch_sequences * target.seq_len)
    if choices.pins.batch_tokens is not None or choices.pins.steps is not None:
        return doc.Value(value=batch, low=batch, high=batch, law="pinned")
    move = numbers.batch_move
    factor = 1.0 if move is None else move.factor

    def ends(interval: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = interval
        if low is None or high is None:
            return None, None
        # Rounding up to one sequence may leave the interval of the best batch.
        return min(low * factor, batch), max(high * factor, batch)

    low, high = ends(numbers.free_batch.interval())
    return doc.Value(
        value=batch,
        low=low,
        high=high,
        law=numbers.free_batch.name if move is None else f"{numbers.free_batch.name}+{move.law}",
        weights=numbers.free_batch.weights,
        elsewhere=bounds_of(ends(numbers.free_batch.elsewhere())),
    )


def plateau_part(lie: Lie | None) -> doc.PlateauPart | None:
    """The plateau in the planned lr's own terms; None where no surface reaches."""
    if lie is None:
        return None
    around = lie.landscape.plateau(lr=lie.lr, batch_tokens=lie.batch_tokens)
    return doc.PlateauPart(
        lr=doc.Bounds(low=around.lr.low * lie.factor, high=around.lr.high * lie.factor),
        batch_tokens=doc.Bounds(low=around.batch_tokens.low, high=around.batch_tokens.high),
    )


def error_cost_part(lie: Lie | None) -> doc.ErrorCostPart | None:
    """What half and twice the lr or the batch cost, the other held; None without a surface."""
    if lie is None:
        return None
    here = lie.landscape.penalty(lie.lr, lie.batch_tokens)

    def price(lr: float, batch_tokens: float) -> float:
        return math.expm1(lie.landscape.penalty(lr, batch_tokens) - here)

    return doc.ErrorCostPart(
        lr=doc.HalfDouble(
            half=price(lie.lr / 2, lie.batch_tokens), double=price(lie.lr * 2, lie.batch_tokens)
        ),
        batch_tokens=doc.HalfDouble(
            half=price(lie.lr, lie.batch_tokens / 2), double=price(lie.lr, lie.batch_tokens * 2)
        ),
    )


def other_laws(
    book: Mapping[str, Law],
    numbers: Hyperparameters,
    choices: Choices,
    target: Target,
) -> tuple[doc.Alternative, ...]:
    """What every other law of the same optimizer and parametrization says of this target.

    A law is asked for its lr at its own batch, and where it has none at the planned one.
    """
    batch = float(numbers.batch_sequences * target.seq_len)
    in_use = {law.name for law in numbers.laws.values()} | set(numbers.law_lr.weights or {})
    found = []
    for law in book.values():
        if law.name in in_use or not comparable(law, choices):
            continue
        said: dict[str, float | None] = dict.fromkeys(COMPARED)
        point = dict(numbers.point)
        for name in COMPARED:
            if speaks_of(law, name):
                said[name] = evaluate_law(law.quantities[name], point)
            fallback = {"batch_tokens": batch, "lr": numbers.lr.value}.get(name)
            point[name] = said[name] or fallback or point.get(name, math.nan)
        if any(value is not None for value in said.values()):
            found.append(doc.Alternative(law=law.name, **said))
    return tuple(found)


def comparable(law: Law, choices: Choices) -> bool:
    """Whether a law was measured with the planned optimizer and parametrization, or with any."""
    optimizer, parametrization = law.range.optimizer, law.range.parametrization
    return (optimizer or "adamw", parametrization or "sp") == (
        choices.optimizer,
        choices.parametrization,
    )


def digests(book: Mapping[str, Law], numbers: Hyperparameters, choices: Choices) -> dict[str, str]:
    """sha256 of each law file that a number of the plan came from."""
    names = {law.name for law in numbers.laws.values()}
    for estimate in (numbers.lr, numbers.free_batch):
        names |= set(estimate.weights or {})
    for move in (numbers.lr_move, numbers.batch_move):
        names |= set() if move is None else {move.law}
    names |= set() if numbers.landscape is None else {numbers.landscape.law}
    names |= {SETUPS} & book.keys()
    laws = [book[name] for name in sorted(names)]
    if choices.curve is not None:
        laws.append(read_law(choices.curve))
    return {law.name: law.sha256 for law in laws}


def lie_of(numbers: Hyperparameters, choices: Choices, target: Target) -> Lie | None:
    """Where the plan, pins included, lies on its surface; None where no surface reaches."""
    if numbers.landscape is None:
        return None
    batch = numbers.batch_sequences * target.seq_len
    if abs(math.log(batch / numbers.free_batch.value)) > math.log(BATCH_REACH):
        return None
    factor = numbers.conversion.factor
    return Lie(
        landscape=numbers.landscape,
        lr=(choices.pins.lr or numbers.lr.value) / factor,
        batch_tokens=float(batch),
        factor=factor,
    )


def part_of(kind: type[Part], *sources: object, **given: object) -> Part:
    """A part of the document: what is not given is the field of that name of the first source."""
    values = dict(given)
    for name in (f.name for f in fields(kind)):  # type: ignore[arg-type]  # kinds are dataclasses
        for source in sources:
            if name not in values and hasattr(source, name):
                values[name] = getattr(source, name)
    return kind(**values)


def target_part(target: Target) -> doc.TargetPart:
    """The target's own numbers."""
    return part_of(doc.TargetPart, target)


def shape_part(shape: Shape, *, seq_len: int) -> doc.ShapePart:
    """The shape with its exact counts."""
    per_token = flops_per_token(shape, seq_len=seq_len)
    return part_of(doc.ShapePart, shape, count_params(shape), flops_per_token=per_token)


def model_part(shape: Shape) -> doc.ModelPart:
    """What the model is made of; no rope theta where positions are learned."""
    theta = shape.rope_theta if shape.positions == "rope" else None
    return part_of(doc.ModelPart, shape, rope_theta=theta, z_loss=0.0)


def schedule_part(schedule: Schedule) -> doc.SchedulePart:
    """The schedule's lengths; checkpoints only where there are several budgets."""
    checkpoints = schedule.checkpoints if schedule.kind == "wsd-s" else ()
    return part_of(
        doc.SchedulePart,
        schedule,
        checkpoints=tuple(part_of(doc.CheckpointPart, found) for found in checkpoints),
    )


def parametrization_part(parametrization: Parametrization) -> doc.ParametrizationPart:
    """The base shape and the forward multipliers."""
    return part_of(doc.ParametrizationPart, parametrization)


def compute_part(compute: Compute | None) -> doc.ComputePart | None:
    """The layout, time and memory; None without accelerators, no time without their names."""
    if compute is None:
        return None
    untimed = dict.fromkeys(("mfu", "hours", "hours_low", "hours_high", "tokens_per_second"))
    return part_of(
        doc.ComputePart,
        compute,
        compute.timing,
        memory_bytes=part_of(doc.MemoryPart, compute.memory_bytes),
        **(untimed if compute.timing is None else {}),
    )


def nearby(target: Target) -> tuple[doc.Nearby, ...]:
    """The published runs nearest to the target."""
    return tuple(
        part_of(doc.Nearby, recipe)
        for recipe in nearest_recipes(target.params, target.tokens, count=NEAREST)
    )
