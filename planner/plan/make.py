"""The recommendation: from a target and choices to a complete plan.

`recommend` is the Python API; the command line calls `prepare` and prints what it returns, so
that the explanation can show the arithmetic behind the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.laws.law import Law
from planner.facts.laws import read_lawbook
from planner.plan import assembly
from planner.plan import document as doc
from planner.plan.warnings.cautions import collect_cautions
from planner.recommendation.experts import SPARSE_LAW, sparse_choices, sparse_loss
from planner.recommendation.limited_data import data_part
from planner.recommendation.numbers import Hyperparameters, law_inputs, work_out
from planner.request.choices import Choices, check_choices
from planner.request.target import Target
from proxies.run.experts import count_experts
from proxies.run.parametrization import OPTIMIZERS, Parametrization, make_parametrization
from proxies.run.schedule import Checkpoint, Schedule, make_schedule
from proxies.run.shape import Shape
from proxies.run.sizing import ChosenShape, choose_shape
from proxies.run.spec import RunSpec, make_run

if TYPE_CHECKING:
    from planner.compute.estimate import Compute

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan with everything it was made from."""

    plan: doc.Plan
    target: Target
    chosen: ChosenShape
    choices: Choices
    numbers: Hyperparameters
    run: RunSpec
    schedule: Schedule
    parametrization: Parametrization
    compute: Compute | None
    book: Mapping[str, Law]


def recommend(
    target: Target,
    *,
    shape: Shape | None = None,
    choices: Choices | None = None,
    law_files: tuple[Path, ...] = (),
) -> doc.Plan:
    """The plan for a target.

    Args:
        target: params and tokens, sequence length and vocabulary.
        shape: the model's shape; None chooses one whose count is within 3% of the params.
        choices: pins, law, optimizer, parametrization, schedule; None for the defaults.
        law_files: law files of the user's own, which come before the defaults.

    Returns:
        The plan; `planner.plan.document.plan_to_json` writes it.

    Raises:
        InputError: choices that contradict each other or the target.

    Example:
        >>> plan = recommend(Target(params=1e9, tokens=2e10, seq_len=2048, vocab_size=32000))
        >>> plan.lr.law, f"{plan.lr.value:.3g}", plan.batch_sequences
        ('step-law', '0.000996', 216)
    """
    if shape is None:
        chosen = choose_shape(target.params, vocab_size=target.vocab_size, tied_embeddings=False)
    else:
        chosen = ChosenShape(shape=shape, reason="given")
    return prepare(
        target,
        chosen,
        choices or Choices(),
        book=read_lawbook(law_files),
        user_laws=tuple(path.stem for path in law_files),
    ).plan


def prepare(
    target: Target,
    chosen: ChosenShape,
    choices: Choices,
    *,
    book: Mapping[str, Law],
    user_laws: tuple[str, ...],
    command: str = "",
) -> Prepared:
    """The plan and what it was made from; see `recommend`."""
    check_choices(choices, target)
    shape = chosen.shape
    if choices.experts is not None:
        choices = sparse_choices(
            choices,
            law_inputs(target.params, target.tokens, shape, target.seq_len),
            book[SPARSE_LAW].range.flops,
            own=bool(user_laws),
        )
    parametrization = parametrization_of(choices, shape)
    numbers = work_out(
        target, shape, choices, parametrization=parametrization, book=book, user=user_laws
    )
    schedule = plan_schedule(choices, numbers, target)
    run = planned_run(choices, target, shape, numbers, schedule, parametrization)
    compute = plan_compute(choices, run)
    lie = assembly.lie_of(numbers, choices, target)
    plan = doc.Plan(
        schema=doc.SCHEMA,
        target=assembly.target_part(target),
        shape=assembly.shape_part(shape, seq_len=target.seq_len),
        model=assembly.model_part(shape),
        lr=assembly.value_of(numbers.lr, choices.pins.lr),
        batch_tokens=assembly.batch_value(numbers, choices, target),
        weight_decay=assembly.value_of(numbers.weight_decay, choices.pins.weight_decay),
        loss=assembly.value_of(numbers.loss, None),
        batch_sequences=numbers.batch_sequences,
        steps=numbers.steps,
        warmup_steps=schedule.warmup_steps,
        optimizer=OPTIMIZERS[choices.optimizer],
        schedule=assembly.schedule_part(schedule),
        plateau=assembly.plateau_part(lie),
        error_cost=assembly.error_cost_part(lie),
        alternatives=assembly.other_laws(book, numbers, choices, target),
        parametrization=assembly.parametrization_part(parametrization),
        param_groups=run.groups,
        compute=assembly.compute_part(compute),
        nearest=assembly.nearby(target),
        data=data_part(book, choices, target, numbers),
        provenance=doc.Provenance(
            version=VERSION, command=command, laws=assembly.digests(book, numbers, choices)
        ),
        warnings=(),
        anchors=tuple(assembly.part_of(doc.AnchorPart, anchor) for anchor in choices.anchors),
        budget=choices.budget,
    )
    plan = with_asked_parts(plan, choices, shape, numbers=numbers, book=book)
    prepared = Prepared(
        plan=plan,
        target=target,
        chosen=chosen,
        choices=choices,
        numbers=numbers,
        run=run,
        schedule=schedule,
        parametrization=parametrization,
        compute=compute,
        book=book,
    )
    cautions, cramped = collect_cautions(prepared), () if compute is None else compute.warnings
    # A run that fits no device needs no other warning.
    misfit = compute is not None and compute.fits is False
    warnings = (*cramped, *cautions) if misfit else (*cautions, *cramped)
    return replace(prepared, plan=replace(plan, warnings=warnings))


def with_asked_parts(
    plan: doc.Plan,
    choices: Choices,
    shape: Shape,
    *,
    numbers: Hyperparameters,
    book: Mapping[str, Law],
) -> doc.Plan:
    """The plan with a growing batch and experts, where they are asked for."""
    if choices.batch_growth is not None:
        # Imported here because only a growing batch needs it.
        from planner.recommendation.growth import growth_part

        plan = replace(plan, batch_growth=growth_part(book, plan, choices.batch_growth))
    if choices.experts is not None:
        part = count_experts(shape, choices.experts)
        plan = replace(plan, experts=part, loss=sparse_loss(plan.loss, numbers, part))
    return plan


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


def plan_schedule(choices: Choices, numbers: Hyperparameters, target: Target) -> Schedule:
    """The schedule over the planned steps; WSD-S checkpoints are budgets in whole steps."""
    if choices.curve is not None:
        # Imported here because a curve law needs numpy, which other plans do without.
        from planner.recommendation.schedule import best_schedule, read_curve_law

        return best_schedule(
            read_curve_law(choices.curve),
            steps=numbers.steps,
            lr=choices.pins.lr or numbers.lr.value,
            warmup_steps=choices.pins.warmup_steps,
        )
    batch = numbers.batch_sequences * target.seq_len
    checkpoints = tuple(
        Checkpoint(numbers.steps if tokens == target.tokens else math.ceil(tokens / batch))
        for tokens in choices.checkpoint_tokens
    )
    return make_schedule(
        choices.schedule,
        steps=numbers.steps,
        warmup_steps=choices.pins.warmup_steps,
        checkpoints=checkpoints,
    )


def planned_run(
    choices: Choices,
    target: Target,
    shape: Shape,
    numbers: Hyperparameters,
    schedule: Schedule,
    parametrization: Parametrization,
) -> RunSpec:
    """The run with its numbers, pinned or recommended."""
    pins = choices.pins
    return make_run(
        shape=shape,
        seq_len=target.seq_len,
        batch_sequences=numbers.batch_sequences,
        schedule=schedule,
        optimizer=OPTIMIZERS[choices.optimizer],
        lr=pins.lr or numbers.lr.value,
        weight_decay=numbers.weight_decay.value if pins.weight_decay is None else pins.weight_decay,
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
