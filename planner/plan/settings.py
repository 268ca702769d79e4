"""One run in the words that every trainer shares: what an export writes and an import reads.

A plan has intervals, laws and warnings; a trainer's file has none of them. `Settings` is what the
two have in common, so that an export is settings to text, an import text to settings, and the
two undo each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from planner.plan.document import OptimizerPart
from planner.request.choices import check_range
from planner.request.growth import GrowthStage, check_stages
from proxies.run.groups import DEFAULT_INIT_STD, ParamGroup, param_groups
from proxies.run.parametrization import (
    OPTIMIZERS,
    Optimizer,
    Parametrization,
    make_parametrization,
)
from proxies.run.schedule import Checkpoint, Schedule, make_schedule
from proxies.run.shape import Shape, check_shape, count_params

if TYPE_CHECKING:
    from planner.plan.document import Plan

LR_BOUNDS, DECAY_BOUNDS = (1e-12, 1e3), (0.0, 1e6)
"""Outside these nothing was planned: wider than pins, since muP and Lion multiply."""

BETA_BOUNDS = (0.0, 1.0 - 1e-12)
"""A beta or momentum; at 1 nothing is ever learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a batch lies on the devices; the product of the three is the batch in sequences."""

    micro_batch_sequences: int
    """Sequences that one device processes at once, at least 1."""
    accumulation: int
    """Micro-batches of a device that make one optimizer step, at least 1."""
    data_parallel: int
    """Devices, at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a trainer is told."""

    shape: Shape
    seq_len: int
    """Tokens a sequence."""
    batch_sequences: int
    """Sequences an optimizer step, over all devices."""
    schedule: Schedule
    """With the number of steps."""
    lr: float
    """Base peak lr, > 0: that of a group whose multiplier is 1."""
    weight_decay: float
    """Base weight decay, coupled to the lr as in torch's AdamW, >= 0."""
    optimizer: OptimizerPart
    parametrization: Parametrization
    groups: tuple[ParamGroup, ...]
    """Absolute lr, weight decay, eps and init of each parameter group."""
    z_loss: float
    """Weight of the squared log partition function in the loss, >= 0."""
    layout: Layout
    """One sequence at a time on one device where none was planned."""
    batch_growth: tuple[GrowthStage, ...] = ()
    """Stages of a growing batch; empty for a fixed one. The schedule's steps stay those of
    `batch_sequences`: an update's place is the tokens seen over it."""


def settings_of(plan: Plan) -> Settings:
    """What a trainer has to be told to carry out `plan`.

    Raises:
        InputError: parts of the plan contradict each other, as after an edit by hand.
    """
    part = plan.schedule
    schedule = make_schedule(
        part.kind,
        steps=plan.steps,
        warmup_steps=part.warmup_steps,
        decay_steps=part.decay_steps if part.decay_shape else None,
        decay_shape=part.decay_shape,
        final_lr_fraction=part.final_lr_fraction,
        checkpoints=[Checkpoint(found.step, found.decay_steps) for found in part.checkpoints],
    )
    shape = shape_of(plan)
    check_shape(shape, where="the plan's shape")
    check_consistent(plan, shape, schedule)
    check_numbers(plan)
    rule = plan.parametrization
    scaled = rule.name != "sp"
    settings = Settings(
        shape=shape,
        seq_len=plan.target.seq_len,
        batch_sequences=plan.batch_sequences,
        schedule=schedule,
        lr=plan.lr.value,
        weight_decay=plan.weight_decay.value,
        optimizer=plan.optimizer,
        parametrization=make_parametrization(
            rule.name,
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            head_dim=shape.head_dim,
            base_d_model=rule.base_d_model if scaled else None,
            base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
            base_head_dim=rule.base_head_dim if scaled else None,
        ),
        groups=plan.param_groups,
        z_loss=plan.model.z_loss,
        layout=layout_of(plan),
        batch_growth=() if plan.batch_growth is None else plan.batch_growth.stages,
    )
    check_groups(settings)
    check_stages(settings.batch_growth, seq_len=settings.seq_len)
    return settings


def shape_of(plan: Plan) -> Shape:
    """The plan's model, put together again from its two parts."""
    part, model = plan.shape, plan.model
    table = 1 if part.tied_embeddings else 2
    rest = part.total_params - part.params - table * part.vocab_size * part.d_model
    shape = Shape(
        d_model=part.d_model,
        n_layers=part.n_layers,
        n_heads=part.n_heads,
        n_kv_heads=part.n_kv_heads,
        head_dim=part.head_dim,
        d_ff=part.d_ff,
        vocab_size=part.vocab_size,
        tied_embeddings=part.tied_embeddings,
        mlp=model.mlp,
        norm=model.norm,
        norm_eps=model.norm_eps,
        biases=model.biases,
        positions=model.positions,
        n_positions=rest // part.d_model if model.positions == "learned" else None,
        qk_norm=model.qk_norm,
    )
    return shape if model.rope_theta is None else replace(shape, rope_theta=model.rope_theta)


def check_consistent(plan: Plan, shape: Shape, schedule: Schedule) -> None:
    """Refuse a plan one of whose numbers was edited and not those that follow from it.

    Raises:
        InputError: naming both.
    """
    counted = count_params(shape)
    for name, said, found in (
        ("schedule.warmup_steps", plan.schedule.warmup_steps, plan.warmup_steps),
        ("schedule.stable_steps", plan.schedule.stable_steps, schedule.stable_steps),
        ("shape.params", plan.shape.params, counted.params),
        ("shape.total_params", plan.shape.total_params, counted.total_params),
    ):
        if said != found:
            raise InputError(f"the plan's {name} {said} is not {found}, which the rest of it gives")
    tokens = plan.batch_sequences * plan.target.seq_len
    if plan.batch_tokens.value != tokens:
        raise InputError(
            f"the plan's batch_tokens {plan.batch_tokens.value:g} is not {plan.batch_sequences} "
            f"sequences of {plan.target.seq_len} tokens"
        )


def check_numbers(plan: Plan) -> None:
    """Refuse a number that no run can have, and an optimizer that is not known.

    Raises:
        InputError: naming it and its bounds.
    """
    part = plan.optimizer
    if part.name not in OPTIMIZERS:
        raise InputError(
            f"the plan's optimizer.name '{part.name}' is not one of {', '.join(OPTIMIZERS)}"
            f"{nearest_name(part.name, OPTIMIZERS)}"
        )
    check_range("the plan's lr", plan.lr.value, LR_BOUNDS)
    check_range("the plan's weight_decay", plan.weight_decay.value, DECAY_BOUNDS)
    check_range("the plan's model.z_loss", plan.model.z_loss, (0.0, 1.0))
    check_range("the plan's optimizer.eps", part.eps, (0.0, 1.0))
    check_range("the plan's optimizer.grad_clip", part.grad_clip, (1e-12, 1e12))
    for name, beta in (("beta1", part.beta1), ("beta2", part.beta2)):
        check_range(f"the plan's optimizer.{name}", beta, BETA_BOUNDS)
    for group in plan.param_groups:
        where = f"the plan's param_groups {group.name}"
        check_range(f"{where} lr", group.lr, (0.0, LR_BOUNDS[1]))
        check_range(f"{where} weight_decay", group.weight_decay, DECAY_BOUNDS)
        check_range(f"{where} eps", group.eps, (0.0, 1.0))
        check_range(f"{where} init_std", group.init_std, (0.0, 100.0))
        for beta in group.betas:
            check_range(f"{where} betas", beta, BETA_BOUNDS)


def check_groups(settings: Settings) -> None:
    """Refuse groups that are not the plan's, and base values that no group has any more.

    A group of its own lr is a choice; an lr that was edited where no group follows is a slip, and
    a trainer that reads the groups would not see it.

    Raises:
        InputError: naming what the groups say.
    """
    known = {group.name: group for group in with_groups(settings, init_std=DEFAULT_INIT_STD).groups}
    names = [group.name for group in settings.groups]
    if sorted(names) != sorted(known):
        raise InputError(
            f"the plan's param_groups are {', '.join(names) or 'none'}; the plan has one each of "
            f"{', '.join(known)}"
        )
    for group in settings.groups:
        other = known[group.name]
        where = f"the plan's param_groups {group.name}"
        if group.optimizer != other.optimizer:
            raise InputError(
                f"{where} optimizer '{group.optimizer}' is not {other.optimizer}, which "
                f"{settings.optimizer.name} gives it"
            )
        if len(group.betas) != len(other.betas):
            raise InputError(f"{where} has {len(group.betas)} betas; give {len(other.betas)}")
        for name in ("eps", "init_std"):
            if (getattr(group, name) is None) != (getattr(other, name) is None):
                right = "none" if getattr(other, name) is None else "a number"
                raise InputError(f"{where} {name} {getattr(group, name)}: must be {right}")
    for name in ("lr", "weight_decay"):
        pairs = [(getattr(g, name), getattr(known[g.name], name)) for g in settings.groups]
        said = [(own, base) for own, base in pairs if base or own]
        if said and not any(math.isclose(own, base, rel_tol=1e-6) for own, base in said):
            raise InputError(
                f"the plan's {name} {getattr(settings, name):g} is that of none of param_groups: "
                f"the first has {said[0][0]:g}, by it {said[0][1]:g}; edit both, or pin it: "
                f"plan ... --{name.replace('_', '-')}"
            )


def layout_of(plan: Plan) -> Layout:
    """The plan's layout, or one sequence at a time on one device.

    Raises:
        InputError: its product is not the batch.
    """
    if plan.compute is None:
        return Layout(micro_batch_sequences=1, accumulation=plan.batch_sequences, data_parallel=1)
    part = plan.compute
    batch = part.micro_batch_sequences * part.accumulation * part.data_parallel
    if batch != plan.batch_sequences:
        raise InputError(
            f"the plan's compute: micro-batch {part.micro_batch_sequences} x accumulation "
            f"{part.accumulation} x data parallel {part.data_parallel} is {batch} sequences, "
            f"batch_sequences is {plan.batch_sequences}"
        )
    return Layout(
        micro_batch_sequences=part.micro_batch_sequences,
        accumulation=part.accumulation,
        data_parallel=part.data_parallel,
    )


def group_named(settings: Settings, name: str) -> ParamGroup:
    """A parameter group by its name; a tied head's is the embedding's."""
    found = {group.name: group for group in settings.groups}
    return found["embedding"] if name == "head" and name not in found else found[name]


def plain_rule(shape: Shape) -> Parametrization:
    """SP: one lr, one weight decay, no multipliers."""
    return make_parametrization(
        "sp", d_model=shape.d_model, n_layers=shape.n_layers, head_dim=shape.head_dim
    )


def with_groups(settings: Settings, *, init_std: float) -> Settings:
    """The same settings with the groups that their own lr, weight decay and rule give."""
    groups = param_groups(
        settings.parametrization,
        optimizer=constants_of(settings.optimizer),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        init_std=init_std,
        tied_embeddings=settings.shape.tied_embeddings,
    )
    return replace(settings, groups=tuple(groups))


def base_init_std(settings: Settings) -> float:
    """The init that no multiplier changes: that of the embedding."""
    std = group_named(settings, "embedding").init_std
    return DEFAULT_INIT_STD if std is None else std


def constants_of(part: OptimizerPart) -> Optimizer:
    """The plan's optimizer as the parametrization's."""
    return Optimizer(
        name=part.name,
        beta1=part.beta1,
        beta2=part.beta2,
        eps=part.eps,
        adamw_factor=OPTIMIZERS[part.name].adamw_factor,
    )
