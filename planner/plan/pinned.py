"""An imported run as a plan: its target, its choices, and everything pinned that can be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from planner.facts.laws import read_lawbook
from planner.plan.make import Prepared, prepare
from planner.request.choices import Choices, Pins
from planner.request.target import Target
from proxies.run.schedule import NOT_FOR_PLANS
from proxies.run.sizing import ChosenShape

if TYPE_CHECKING:
    from pathlib import Path

    from planner.facts.anchor import Anchor
    from planner.trainers.import_config import TrainerConfig
    from proxies.run.spec import RunSpec


def target_of(run: RunSpec) -> Target:
    """What the run trains: the model's exact count and every token of its steps."""
    return Target(
        params=float(run.active.params),
        tokens=float(run.total_tokens),
        seq_len=run.seq_len,
        vocab_size=run.shape.vocab_size,
    )


def all_pins(run: RunSpec) -> Pins:
    """Everything that a plan may pin, as the run has it; steps follow from batch and tokens."""
    return Pins(
        lr=run.lr,
        batch_tokens=float(run.batch_tokens),
        weight_decay=run.weight_decay,
        warmup_steps=run.schedule.warmup_steps,
    )


def plan_of(
    config: TrainerConfig,
    pins: Pins,
    *,
    anchors: tuple[Anchor, ...] = (),
    law_files: tuple[Path, ...] = (),
    schedule: str | None = None,
) -> Prepared:
    """The plan for the run's target with what `pins` fix; its other choices are the run's.

    Args:
        config: as its trainer has it.
        pins: numbers that the plan does not choose.
        anchors: models tuned in the same setup.
        law_files: law files of the user's own, which come before the defaults.
        schedule: kind of schedule; None for the run's.

    Raises:
        InputError: laws or anchors that say nothing of the target.
    """
    choices = choices_of(config.run, pins, anchors=anchors)
    return prepare(
        target_of(config.run),
        ChosenShape(shape=config.run.shape, reason=f"that of {config.path}"),
        choices if schedule is None else replace(choices, schedule=schedule),
        book=read_lawbook(law_files),
        user_laws=tuple(path.stem for path in law_files),
        command=f"plan check {config.trainer} {config.path}",
    )


def choices_of(run: RunSpec, pins: Pins, *, anchors: tuple[Anchor, ...] = ()) -> Choices:
    """Optimizer, parametrization and schedule of the run; a plan's own where it has no such."""
    rule, schedule = run.parametrization, run.schedule
    batch = run.batch_tokens
    budgets = schedule.checkpoints if schedule.kind == "wsd-s" else ()
    return Choices(
        pins=pins,
        optimizer=run.optimizer.name,
        parametrization=rule.name,
        base_d_model=None if rule.name == "sp" else rule.base_d_model,
        base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
        base_head_dim=None if rule.name == "sp" else rule.base_head_dim,
        schedule="wsd" if schedule.kind in NOT_FOR_PLANS else schedule.kind,
        checkpoint_tokens=tuple(float(point.step * batch) for point in budgets),
        anchors=anchors,
    )
