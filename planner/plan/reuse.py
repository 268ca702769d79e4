"""The `plan` command line that plans an imported run again, and what it cannot pin."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.facts.models import list_models, read_model
from planner.plan.document import to_plain
from planner.plan.pinned import all_pins, choices_of, plan_of
from planner.plan.settings import run_of, shape_of
from planner.request.target import AGREEMENT
from proxies.run.schedule import default_warmup_steps
from proxies.run.shape import Shape, count_params
from proxies.run.sizing import choose_shape, derive_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.plan.document import Plan, Value
    from planner.trainers.import_config import TrainerConfig

NOT_IN_A_PLAN = ("norm_eps", "rope_theta")
"""Parts of a shape that change no count and no number of a plan."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """Options that name a model on the command line, and the model that they name."""

    options: Mapping[str, object]
    shape: Shape


def command_of(config: TrainerConfig) -> str:
    """The `plan` command line that plans the run as it is, every number pinned."""
    run = config.run
    choices = choices_of(run, all_pins(run))
    pins = choices.pins
    options: dict[str, object] = {
        **commanded_shape(run.shape).options,
        "--seq-len": run.seq_len,
        "--tokens": float(run.total_tokens),
        "--batch": pins.batch_tokens,
        "--lr": pins.lr,
        "--weight-decay": pins.weight_decay,
        "--warmup": pins.warmup_steps,
        "--schedule": choices.schedule,
        "--checkpoints": ",".join(map(words, choices.checkpoint_tokens)) or None,
        "--optimizer": choices.optimizer,
        "--parametrization": choices.parametrization,
        "--base-width": choices.base_d_model,
        "--base-layers": choices.base_n_layers,
        "--base-head-dim": choices.base_head_dim,
    }
    return shlex.join(["plan", *arguments_of(options)])


def arguments_of(options: Mapping[str, object]) -> list[str]:
    """Options as they are typed; None, false and what is the default anyway are left out."""
    defaults = {"--optimizer": "adamw", "--parametrization": "sp"}
    found: list[str] = []
    for option, value in options.items():
        if value is None or value is False or defaults.get(option) == value:
            continue
        each = value if isinstance(value, list | tuple) else [value]
        for one in each:
            found += [option] if one is True else [option, words(one)]
    return found


def options_of(plan: Plan) -> dict[str, object]:
    """Options that plan a plan's target again, what is pinned in it pinned.

    A warmup that is not the default counts as pinned; so does the shape, where it is not the one
    chosen for the params.
    """
    shape, target, rule = shape_of(plan), plan.target, plan.parametrization
    usual = choose_shape(
        target.params, vocab_size=shape.vocab_size, tied_embeddings=shape.tied_embeddings
    ).shape
    named = {
        "--params": target.params,
        "--vocab": shape.vocab_size,
        "--tied": usual.tied_embeddings,
    }
    scaled, part = rule.name != "sp", plan.schedule
    budgets = [float(point.step * plan.batch_tokens.value) for point in part.checkpoints]
    usual_warmup = default_warmup_steps(part.checkpoints[0].step if budgets else plan.steps)
    return {
        **(named if agree(usual, shape) else commanded_shape(shape).options),
        "--tokens": target.tokens,
        "--seq-len": target.seq_len,
        "--batch": pinned_value(plan.batch_tokens),
        "--lr": pinned_value(plan.lr),
        "--weight-decay": pinned_value(plan.weight_decay),
        "--warmup": None if plan.warmup_steps == usual_warmup else plan.warmup_steps,
        "--schedule": part.kind,
        "--checkpoints": ",".join([*map(words, budgets[:-1]), words(target.tokens)])
        if budgets
        else None,
        "--optimizer": plan.optimizer.name,
        "--parametrization": rule.name,
        "--base-width": rule.base_d_model if scaled else None,
        "--base-layers": rule.base_n_layers if rule.name == "completep" else None,
        "--base-head-dim": rule.base_head_dim if scaled else None,
        "--unique-tokens": None if plan.data is None else plan.data.unique_tokens,
        "--gpus": None if plan.compute is None else plan.compute.gpus,
    }


def pinned_value(part: Value) -> float | None:
    """A plan's number where the user fixed it."""
    return part.value if part.law == "pinned" else None


def words(value: object) -> str:
    """A number as it is typed: whole ones without a point."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else repr(value)


def commanded_shape(shape: Shape) -> Commanded:
    """The nearest model that options can name: by its sizes, a known one, or one of its params."""
    sizes = {
        "--d-model": shape.d_model,
        "--layers": shape.n_layers,
        "--heads": shape.n_heads,
        "--kv-heads": shape.n_kv_heads,
        "--d-ff": shape.d_ff,
        "--vocab": shape.vocab_size,
        "--tied": shape.tied_embeddings,
    }
    own = count_params(shape).params
    ours = family_shape(shape)
    if ours is not None and abs(count_params(ours).params / own - 1) <= AGREEMENT:
        return Commanded(sizes, ours)
    known = next((name for name in list_models() if agree(read_model(name).shape, shape)), None)
    if known is not None:
        return Commanded({"--model": known}, read_model(known).shape)
    usual = choose_shape(
        own, vocab_size=shape.vocab_size, tied_embeddings=shape.tied_embeddings
    ).shape
    named = {"--params": own, "--vocab": shape.vocab_size, "--tied": shape.tied_embeddings}
    return Commanded(named, usual)


def family_shape(shape: Shape) -> Shape | None:
    """A shape of the same sizes in our LLaMA-like family; None where its heads do not fit."""
    try:
        return derive_shape(
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            n_heads=shape.n_heads,
            n_kv_heads=shape.n_kv_heads,
            d_ff=shape.d_ff,
            vocab_size=shape.vocab_size,
            tied_embeddings=shape.tied_embeddings,
        ).shape
    except InputError:
        return None


def agree(one: Shape, other: Shape) -> bool:
    """Whether two shapes are one for a plan."""
    return replace(one, norm_eps=other.norm_eps, rope_theta=other.rope_theta) == other


def unsaid(config: TrainerConfig) -> tuple[str, ...]:
    """What the command line cannot pin: the run's value and that of the plan it makes."""
    own, planned = config.run, run_of(plan_of(config, all_pins(config.run)).plan)
    parts = (
        ("optimizer", own.optimizer, planned.optimizer, ()),
        ("schedule", own.schedule, planned.schedule, ("stages", "ends")),
        ("model", own.shape, commanded_shape(own.shape).shape, NOT_IN_A_PLAN),
    )
    found = []
    for topic, mine, theirs, skipped in parts:
        plain, other = to_plain(mine), to_plain(theirs)
        found += [
            f"{topic} {name.replace('_', ' ')} {plain[name]}, not the plan's {other[name]}"
            for name in plain
            if name not in skipped and differ(plain[name], other[name])
        ]
    decays = own.schedule.decay_steps, planned.schedule.decay_steps
    if decays[0] != decays[1]:
        found.append(f"schedule decay steps {decays[0]:,}, not the plan's {decays[1]:,}")
    return tuple(found)


def differ(one: Any, other: Any) -> bool:
    """Whether two values differ by more than a file rounds them."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) > 1e-9 * max(abs(one), abs(other))
    return bool(one != other)


def import_to_dict(config: TrainerConfig) -> dict[str, Any]:
    """An imported run as JSON: its target, pins, everything else that the file says."""
    run, schedule = config.run, config.run.schedule
    plan = plan_of(config, all_pins(run)).plan
    part = to_plain(plan.schedule) | {
        "kind": schedule.kind,
        "warmup_steps": schedule.warmup_steps,
        "stable_steps": schedule.stable_steps,
        "decay_steps": schedule.decay_steps,
        "decay_shape": schedule.decay_shape,
        "final_lr_fraction": schedule.final_lr_fraction,
    }
    return {
        "trainer": config.trainer,
        "file": str(config.path),
        "target": to_plain(plan.target),
        "shape": to_plain(plan.shape),
        "pins": to_plain(all_pins(run)),
        "batch_sequences": run.batch_sequences,
        "steps": schedule.steps,
        "schedule": part,
        "optimizer": to_plain(run.optimizer),
        "parametrization": to_plain(plan.parametrization),
        "total_params": count_params(run.shape).total_params,
        "command": command_of(config),
        "notes": [*config.faults, *config.notes, *unsaid(config)],
    }
