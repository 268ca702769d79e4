"""A plan from its file: the run put together again, and what an edit by hand must not break."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from fitting.units import format_count
from planner.compute.planned import layout_of
from planner.facts.anchor import Anchor
from planner.plan.document import Plan
from planner.recommendation.value import Numbers
from planner.recommendation.witnesses import Witnesses
from planner.request.choices import check_range
from planner.request.target import Target
from proxies.run.batching import check_stages
from proxies.run.experts import Experts
from proxies.run.layout import Layout
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.schedule import Checkpoint, Schedule, make_schedule
from proxies.run.shape import Shape, check_shape, count_params
from proxies.run.spec import RunSpec, base_std, make_run

if TYPE_CHECKING:
    from planner.plan.schema import PlanFile

LR_BOUNDS, DECAY_BOUNDS = (1e-12, 1e3), (0.0, 1e6)
"""Outside these nothing was planned: wider than pins, since muP and Lion multiply."""

BETA_BOUNDS = (0.0, 1.0 - 1e-12)
"""A beta or momentum; at 1 nothing is ever learned."""


def plan_of(found: PlanFile) -> Plan:
    """The plan that a file says.

    Raises:
        InputError: parts of it contradict each other, as after an edit by hand.
    """
    target, asked = found.target, found.request
    anchors = tuple(
        Anchor(
            name=f"{format_count(anchor.params)} params, {format_count(anchor.tokens)} tokens",
            params=anchor.params,
            tokens=anchor.tokens,
            lr=anchor.lr,
            batch_tokens=anchor.batch_tokens,
            weight_decay=anchor.weight_decay,
            loss=anchor.loss,
            parametrization=anchor.parametrization,
        )
        for anchor in found.anchors
    )
    return Plan(
        request=asked,
        target=Target(
            params=target.params,
            tokens=target.tokens,
            seq_len=target.seq_len,
            vocab_size=target.vocab_size,
        ),
        run=run_of(found),
        numbers=Numbers(
            lr=found.lr,
            batch_tokens=found.batch_tokens,
            weight_decay=found.weight_decay,
            loss=found.loss,
            plateau=found.plateau,
            error_cost=found.error_cost,
        ),
        surface=found.surface,
        compute=found.compute,
        witnesses=Witnesses(alternatives=found.alternatives, nearest=found.nearest),
        provenance=found.provenance,
        warnings=found.warnings,
        anchors=anchors if asked is None else asked.choices.anchors,
        data=found.data,
        batch_growth=found.batch_growth,
        budget=found.budget,
    )


def run_of(plan: PlanFile) -> RunSpec:
    """The run that a plan's file describes.

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
    shape = _shape_of(plan)
    check_shape(shape, where="the plan's shape")
    _check_consistent(plan, shape, schedule)
    _check_numbers(plan)
    rule = plan.parametrization
    scaled = rule.name != "sp"
    run = make_run(
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
        init_std=base_std(plan.param_groups),
        z_loss=plan.model.z_loss,
        layout=_layout_of(plan),
        growth=() if plan.batch_growth is None else plan.batch_growth.stages,
        experts=_experts_of(plan),
    )
    _check_groups(run)
    check_stages(run.growth, seq_len=run.seq_len)
    return run


def _shape_of(plan: PlanFile) -> Shape:
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


def _check_consistent(plan: PlanFile, shape: Shape, schedule: Schedule) -> None:
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


def _check_numbers(plan: PlanFile) -> None:
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
    if part.grad_clip is None:
        raise InputError("the plan's optimizer.grad_clip is null; a plan has a number above 0")
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


def _check_groups(run: RunSpec) -> None:
    """Refuse groups that are not the plan's, and base values that no group has any more.

    A group of its own lr is a choice; an lr that was edited where no group follows is a slip, and
    a trainer that reads the groups would not see it.

    Raises:
        InputError: naming what the groups say.
    """
    known = {group.name: group for group in run.rule_groups}
    names = [group.name for group in run.groups]
    if sorted(names) != sorted(known):
        raise InputError(
            f"the plan's param_groups are {', '.join(names) or 'none'}; the plan has one each of "
            f"{', '.join(known)}"
        )
    for group in run.groups:
        other = known[group.name]
        where = f"the plan's param_groups {group.name}"
        if group.optimizer != other.optimizer:
            raise InputError(
                f"{where} optimizer '{group.optimizer}' is not {other.optimizer}, which "
                f"{run.optimizer.name} gives it"
            )
        if len(group.betas) != len(other.betas):
            raise InputError(f"{where} has {len(group.betas)} betas; give {len(other.betas)}")
        for name in ("eps", "init_std"):
            if (getattr(group, name) is None) != (getattr(other, name) is None):
                right = "none" if getattr(other, name) is None else "a number"
                raise InputError(f"{where} {name} {getattr(group, name)}: must be {right}")
    for name in ("lr", "weight_decay"):
        pairs = [(getattr(g, name), getattr(known[g.name], name)) for g in run.groups]
        said = [(own, base) for own, base in pairs if base or own]
        if said and not any(math.isclose(own, base, rel_tol=1e-6) for own, base in said):
            raise InputError(
                f"the plan's {name} {getattr(run, name):g} is that of none of param_groups: "
                f"the first has {said[0][0]:g}, by it {said[0][1]:g}; edit both, or pin it: "
                f"plan ... --{name.replace('_', '-')}"
            )


def _layout_of(plan: PlanFile) -> Layout:
    """The plan's layout, or one sequence at a time on one device.

    Raises:
        InputError: its product is not the batch.
    """
    if plan.compute is None:
        return Layout()
    part = plan.compute
    batch = part.micro_batch_sequences * part.accumulation * part.data_parallel
    if batch != plan.batch_sequences:
        raise InputError(
            f"the plan's compute: micro-batch {part.micro_batch_sequences} x accumulation "
            f"{part.accumulation} x data parallel {part.data_parallel} is {batch} sequences, "
            f"batch_sequences is {plan.batch_sequences}"
        )
    return layout_of(part)


def _experts_of(plan: PlanFile) -> Experts | None:
    """The experts of a plan; None where it is dense."""
    part = plan.experts
    if part is None:
        return None
    return Experts(n_experts=part.n_experts, active=part.active_experts)
