"""A trainer's config as a request: its target, its choices, and everything pinned that can be."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from planner.plan.draft import draft_plan
from planner.plan.file import plan_to_dict, to_plain
from planner.plan.make import make_plan
from planner.request.choices import Choices, Pins
from planner.request.options import arguments_of
from planner.request.request import LawFile, Request, ask_for
from planner.request.spelling import spell_shape
from planner.request.target import Target
from proxies.run.defaults import SCHEDULE
from proxies.run.schedule import NOT_FOR_PLANS
from proxies.run.shape import count_params

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.facts.anchor import Anchor
    from planner.trainers.import_config import TrainerConfig
    from proxies.run.spec import RunSpec

NOT_IN_A_PLAN = ("norm_eps", "rope_theta")
"""Parts of a shape that change no count and no number of a plan."""


def all_pins(run: RunSpec) -> Pins:
    """Everything that a plan may pin, as the run has it; steps follow from batch and tokens."""
    return Pins(
        lr=run.lr,
        batch_tokens=float(run.batch_tokens),
        weight_decay=run.weight_decay,
        warmup_steps=run.schedule.warmup_steps,
    )


def choices_of(run: RunSpec, pins: Pins) -> Choices:
    """Optimizer, parametrization and schedule of the run; a plan's own where it has no such."""
    rule, schedule = run.parametrization, run.schedule
    budgets = schedule.checkpoints if schedule.kind == "wsd-s" else ()
    scaled = rule.name != "sp"
    return Choices(
        pins=pins,
        optimizer=run.optimizer.name,
        parametrization=rule.name,
        base_d_model=rule.base_d_model if scaled else None,
        base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
        base_head_dim=rule.base_head_dim if scaled else None,
        schedule=SCHEDULE if schedule.kind in NOT_FOR_PLANS else schedule.kind,
        checkpoint_tokens=tuple(float(point.step * run.batch_tokens) for point in budgets),
    )


def request_of_config(
    config: TrainerConfig,
    pins: Pins,
    *,
    anchors: tuple[Anchor, ...] = (),
    laws: tuple[LawFile, ...] = (),
) -> Request:
    """The request of a config's model and every token of its steps, with what `pins` fix.

    Args:
        config: as its trainer has it.
        pins: numbers that the plan does not choose.
        anchors: models tuned in the same setup.
        laws: the user's own law files.
    """
    run = config.run
    target = Target(
        params=float(run.active.params),
        tokens=float(run.total_tokens),
        seq_len=run.seq_len,
        vocab_size=run.shape.vocab_size,
    )
    reason = f"that of {config.path}"
    choices = replace(choices_of(run, pins), anchors=anchors)
    return ask_for(target, shape=run.shape, reason=reason, choices=choices, laws=laws)


def command_of_config(config: TrainerConfig) -> str:
    """The `plan` command line that plans the run as it is, every number pinned."""
    run = config.run
    choices = choices_of(run, all_pins(run))
    pins = choices.pins
    values: dict[str, Any] = {
        **spell_shape(run.shape).values,
        "seq_len": run.seq_len,
        "tokens": float(run.total_tokens),
        "batch": pins.batch_tokens,
        "lr": pins.lr,
        "weight_decay": pins.weight_decay,
        "warmup": pins.warmup_steps,
        "schedule": choices.schedule,
        "checkpoints": choices.checkpoint_tokens or None,
        "optimizer": choices.optimizer,
        "parametrization": choices.parametrization,
        "base_width": choices.base_d_model,
        "base_layers": choices.base_n_layers,
        "base_head_dim": choices.base_head_dim,
    }
    return shlex.join(["plan", *arguments_of(values)])


def unsaid(config: TrainerConfig, book: Mapping[str, Law]) -> tuple[str, ...]:
    """What the command line cannot pin: the run's value and that of the plan it makes."""
    own = config.run
    planned = draft_plan(request_of_config(config, all_pins(own)), book).run
    parts = (
        ("optimizer", own.optimizer, planned.optimizer, ()),
        ("schedule", own.schedule, planned.schedule, ("stages", "ends")),
        ("model", own.shape, spell_shape(own.shape).shape, NOT_IN_A_PLAN),
    )
    found = []
    for topic, mine, theirs, skipped in parts:
        plain, other = to_plain(mine), to_plain(theirs)
        found += [
            f"{topic} {name.replace('_', ' ')} {plain[name]}, not the plan's {other[name]}"
            for name in plain
            if name not in skipped and _differ(plain[name], other[name])
        ]
    decays = own.schedule.decay_steps, planned.schedule.decay_steps
    if decays[0] != decays[1]:
        found.append(f"schedule decay steps {decays[0]:,}, not the plan's {decays[1]:,}")
    return tuple(found)


def config_to_dict(config: TrainerConfig, book: Mapping[str, Law]) -> dict[str, Any]:
    """An imported run as JSON: its target, pins, everything else that the file says."""
    run = config.run
    pins = all_pins(run)
    plan = make_plan(request_of_config(config, pins), book)
    plain = plan_to_dict(replace(plan, run=replace(plan.run, schedule=run.schedule)))
    return {
        "trainer": config.trainer,
        "file": str(config.path),
        "target": plain["target"],
        "shape": plain["shape"],
        "pins": to_plain(pins),
        "batch_sequences": run.batch_sequences,
        "steps": run.schedule.steps,
        "schedule": plain["schedule"],
        "optimizer": to_plain(run.optimizer),
        "parametrization": plain["parametrization"],
        "total_params": count_params(run.shape).total_params,
        "command": command_of_config(config),
        "notes": [*config.faults, *config.notes, *unsaid(config, book)],
    }


def _differ(one: Any, other: Any) -> bool:
    """Whether two values differ by more than a file rounds them."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) > 1e-9 * max(abs(one), abs(other))
    return bool(one != other)
