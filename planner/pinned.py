"""An imported run as a plan: its target and choices, and the command line that makes it again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from planner.choices import Choices, Pins
from planner.document import to_plain
from planner.lawbook import read_lawbook
from planner.recommendation import Prepared, prepare
from planner.settings import settings_of
from planner.target import Target
from proxies.schedule import NOT_FOR_PLANS
from proxies.shape import count_params
from proxies.sizing import ChosenShape, derive_shape

if TYPE_CHECKING:
    from pathlib import Path

    from planner.anchors import Anchor
    from planner.importer import Imported
    from planner.settings import Settings


def target_of(run: Imported) -> Target:
    """What the run trains: the model's exact count and every token of its steps."""
    return Target(
        params=run.params,
        tokens=run.tokens,
        seq_len=run.settings.seq_len,
        vocab_size=run.settings.shape.vocab_size,
    )


def all_pins(run: Imported) -> Pins:
    """Everything that a plan may pin, as the run has it; steps follow from batch and tokens."""
    return Pins(
        lr=run.settings.lr,
        batch_tokens=float(run.batch_tokens),
        weight_decay=run.settings.weight_decay,
        warmup_steps=run.settings.schedule.warmup_steps,
    )


def plan_of(
    run: Imported,
    pins: Pins,
    *,
    anchors: tuple[Anchor, ...] = (),
    law_files: tuple[Path, ...] = (),
) -> Prepared:
    """The plan for the run's target with what `pins` fix; its other choices are the run's.

    Raises:
        InputError: laws or anchors that say nothing of the target.
    """
    return prepare(
        target_of(run),
        ChosenShape(shape=run.settings.shape, reason=f"that of {run.path}"),
        choices_of(run.settings, pins, anchors=anchors),
        book=read_lawbook(law_files),
        user_laws=tuple(path.stem for path in law_files),
        command=command_of(run),
    )


def choices_of(settings: Settings, pins: Pins, *, anchors: tuple[Anchor, ...] = ()) -> Choices:
    """Optimizer, parametrization and schedule of the run; a plan's own where it has no such."""
    rule, schedule = settings.parametrization, settings.schedule
    batch = settings.batch_sequences * settings.seq_len
    budgets = schedule.checkpoints if schedule.kind == "wsd-s" else ()
    return Choices(
        pins=pins,
        optimizer=settings.optimizer.name,
        parametrization=rule.name,
        base_d_model=None if rule.name == "sp" else rule.base_d_model,
        base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
        base_head_dim=None if rule.name == "sp" else rule.base_head_dim,
        schedule="wsd" if schedule.kind in NOT_FOR_PLANS else schedule.kind,
        checkpoint_tokens=tuple(float(point.step * batch) for point in budgets),
        anchors=anchors,
    )


def command_of(run: Imported) -> str:
    """The `plan` command line that plans the run as it is, every number pinned."""
    settings = run.settings
    choices = choices_of(settings, all_pins(run))
    shape, pins = settings.shape, choices.pins
    options: dict[str, object] = {
        "--d-model": shape.d_model,
        "--layers": shape.n_layers,
        "--heads": shape.n_heads,
        "--kv-heads": shape.n_kv_heads,
        "--d-ff": shape.d_ff,
        "--vocab": shape.vocab_size,
        "--tied": shape.tied_embeddings,
        "--seq-len": settings.seq_len,
        "--tokens": run.tokens,
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
    defaults = {"--optimizer": "adamw", "--parametrization": "sp"}
    found = ["plan"]
    for option, value in options.items():
        if value is None or value is False or defaults.get(option) == value:
            continue
        found += [option] if value is True else [option, words(value)]
    return shlex.join(found)


def words(value: object) -> str:
    """A number as it is typed: whole ones without a point."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else repr(value)


def unsaid(run: Imported) -> tuple[str, ...]:
    """What the command line cannot pin: the run's value and that of the plan it makes."""
    plan = plan_of(run, all_pins(run)).plan
    planned, own = settings_of(plan), run.settings
    usual = derive_shape(
        d_model=own.shape.d_model,
        n_layers=own.shape.n_layers,
        n_heads=own.shape.n_heads if own.shape.d_model % own.shape.n_heads == 0 else 1,
        n_kv_heads=1,
        d_ff=own.shape.d_ff,
        vocab_size=own.shape.vocab_size,
        tied_embeddings=own.shape.tied_embeddings,
    ).shape
    found = []
    for topic, mine, theirs, skipped in (
        ("optimizer", own.optimizer, planned.optimizer, ()),
        ("schedule", own.schedule, planned.schedule, ("stages", "ends")),
        ("model", own.shape, usual, ("n_heads", "n_kv_heads", "norm_eps")),
    ):
        plain, other = to_plain(mine), to_plain(theirs)
        found += [
            f"{topic} {name.replace('_', ' ')} {plain[name]}, not the plan's {other[name]}"
            for name in plain
            if name not in skipped and differ(plain[name], other[name])
        ]
    stages = [(own.schedule.decay_steps, planned.schedule.decay_steps)]
    found += [f"schedule decay steps {a:,}, not the plan's {b:,}" for a, b in stages if a != b]
    return tuple(found)


def differ(one: Any, other: Any) -> bool:
    """Whether two values differ by more than a file rounds them."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) > 1e-9 * max(abs(one), abs(other))
    return bool(one != other)


def import_to_dict(run: Imported) -> dict[str, Any]:
    """An imported run as JSON: its target, pins, everything else that the file says."""
    settings, schedule = run.settings, run.settings.schedule
    plan = plan_of(run, all_pins(run)).plan
    part = to_plain(plan.schedule) | {
        "kind": schedule.kind,
        "warmup_steps": schedule.warmup_steps,
        "stable_steps": schedule.stable_steps,
        "decay_steps": schedule.decay_steps,
        "decay_shape": schedule.decay_shape,
        "final_lr_fraction": schedule.final_lr_fraction,
    }
    return {
        "trainer": run.trainer,
        "file": str(run.path),
        "target": to_plain(plan.target),
        "shape": to_plain(plan.shape),
        "pins": to_plain(all_pins(run)),
        "batch_sequences": settings.batch_sequences,
        "steps": schedule.steps,
        "schedule": part,
        "optimizer": to_plain(settings.optimizer),
        "parametrization": to_plain(plan.parametrization),
        "total_params": count_params(settings.shape).total_params,
        "command": command_of(run),
        "notes": [*run.notes, *unsaid(run)],
    }
