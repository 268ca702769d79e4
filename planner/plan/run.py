"""The run of a plan: what was chosen and what was derived, put together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fitting.laws.law import Law
from planner.recommendation.numbers import Derivation
from planner.request.choices import Choices
from planner.request.target import Target
from proxies.run.parametrization import OPTIMIZERS, Parametrization, make_parametrization
from proxies.run.schedule import Checkpoint, Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec, make_run

if TYPE_CHECKING:
    from planner.compute.estimate import Compute
    from planner.request.growth import BatchGrowthPart


def parametrization_of(choices: Choices, shape: Shape) -> Parametrization:
    """The rule of width and depth at a shape, from the base that was chosen."""
    return make_parametrization(
        choices.parametrization,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        base_d_model=choices.base_d_model,
        base_n_layers=choices.base_n_layers,
        base_head_dim=choices.base_head_dim,
    )


def plan_schedule(choices: Choices, derivation: Derivation, target: Target) -> Schedule:
    """The schedule over the planned steps; WSD-S checkpoints are budgets in whole steps."""
    if choices.curve is not None:
        # Imported here because a curve law needs numpy, which other plans do without.
        from planner.recommendation.schedule import best_schedule, read_curve_law

        return best_schedule(
            read_curve_law(choices.curve),
            steps=derivation.steps,
            lr=choices.pins.lr or derivation.lr.value,
            warmup_steps=choices.pins.warmup_steps,
        )
    batch = derivation.batch_sequences * target.seq_len
    checkpoints = tuple(
        Checkpoint(derivation.steps if tokens == target.tokens else math.ceil(tokens / batch))
        for tokens in choices.checkpoint_tokens
    )
    return make_schedule(
        choices.schedule,
        steps=derivation.steps,
        warmup_steps=choices.pins.warmup_steps,
        checkpoints=checkpoints,
    )


def planned_run(
    choices: Choices,
    target: Target,
    shape: Shape,
    derivation: Derivation,
    schedule: Schedule,
    parametrization: Parametrization,
) -> RunSpec:
    """The run with its numbers, pinned or recommended."""
    pins = choices.pins
    decay = derivation.weight_decay.value if pins.weight_decay is None else pins.weight_decay
    return make_run(
        shape=shape,
        seq_len=target.seq_len,
        batch_sequences=derivation.batch_sequences,
        schedule=schedule,
        optimizer=OPTIMIZERS[choices.optimizer],
        lr=pins.lr or derivation.lr.value,
        weight_decay=decay,
        parametrization=parametrization,
        experts=choices.experts,
    )


def plan_compute(choices: Choices, run: RunSpec) -> Compute | None:
    """Layout, time and memory on the given accelerators; None where none were given.

    Raises:
        InputError: the accelerators are not known.
    """
    if choices.gpus is None:
        return None
    # Imported here because only a plan with accelerators needs it.
    from planner.compute.estimate import estimate_compute
    from planner.facts.accelerators import parse_gpus

    return estimate_compute(run, parse_gpus(choices.gpus), price=choices.price)


def plan_growth(choices: Choices, run: RunSpec, book: Mapping[str, Law]) -> BatchGrowthPart | None:
    """The stages of a growing batch; None where it is fixed.

    Raises:
        InputError: no second batch to grow to.
    """
    if choices.batch_growth is None:
        return None
    # Imported here because only a growing batch needs it.
    from planner.recommendation.growth import growth_part

    return growth_part(book, run, choices.batch_growth)
