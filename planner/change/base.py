"""What a plan fixes of the run that comes after it, and that run's own plan.

A number that was tuned is moved by the *ratio* of the laws at the new and the old run, so that its
level stays the user's own: for a plan by the laws that is what the laws say of the new run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.plan.draft import Draft, draft_plan
from planner.plan.make import finish_plan
from planner.plan.reuse import ask_again, asked_of
from planner.request.choices import Pins
from proxies.run.defaults import SCHEDULE

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.plan.document import Plan
    from planner.recommendation.value import Value
    from proxies.run.schedule import Schedule
    from proxies.run.shape import Shape
    from proxies.run.spec import RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """A plan that is being or has been trained, and what it is planned again by."""

    plan: Plan
    book: Mapping[str, Law]
    """The law book that the plan was made by."""
    command: str
    """What was typed, for the provenance of a new plan."""

    @property
    def run(self) -> RunSpec:
        """What is trained."""
        return self.plan.run


def take_up(plan: Plan, book: Mapping[str, Law], *, command: str = "") -> Underway:
    """A plan to be changed.

    Args:
        plan: the plan.
        book: the law book that it was made by.
        command: as typed.

    Raises:
        InputError: a plan that does not say what was asked of it, or whose batch grows already.
    """
    asked_of(plan, "plan change")
    if plan.batch_growth is not None:
        raise InputError(
            "plan change: the plan's batch grows while it runs; plan it without that and change "
            "the batch where it should grow (plan change batch)"
        )
    return Underway(plan=plan, book=book, command=command)


def replan(
    under: Underway,
    *,
    pins: Pins,
    tokens: float | None = None,
    shape: Shape | None = None,
    params: float | None = None,
    gpus: str | None = None,
    schedule: str = SCHEDULE,
) -> Draft:
    """The plan of a run like this one but for what is given.

    Args:
        under: the run.
        pins: what stays fixed.
        tokens: of the new run; None for the old run's.
        shape: the new model; None for the same.
        params: its non-embedding params; None for the same.
        gpus: accelerators; None for the same.
        schedule: kind of the new schedule.

    Raises:
        InputError: as `draft_plan`.
    """
    chosen: dict[str, Any] = {"schedule": schedule}
    if gpus is not None:
        chosen["gpus"] = gpus
    request = ask_again(under.plan, pins=pins, tokens=tokens, params=params, shape=shape, **chosen)
    return draft_plan(request, under.book)


def level(under: Underway) -> float:
    """The run's lr over what the laws say at its own batch: 1 for a plan by the laws."""
    said = replan(under, pins=Pins(batch_tokens=float(under.run.batch_tokens)))
    return under.run.lr / said.derivation.lr.value


def go_on(
    draft: Draft,
    under: Underway,
    schedule: Schedule | None,
    *,
    loss: Value,
    warnings: tuple[str, ...] | None = None,
) -> Plan:
    """The plan of the run from the change on: the same groups and optimizer, moved together.

    Args:
        draft: the run's plan with lr, batch and weight decay pinned at their new values.
        under: the run before the change, of the same shape.
        schedule: what is left; None for that of `draft`.
        loss: what is expected of it.
        warnings: None for the draft's own.
    """
    plan, before = finish_plan(draft, command=under.command), under.run
    run = replace(
        plan.run, optimizer=before.optimizer, z_loss=before.z_loss, init_std=before.init_std
    )
    if before.own_groups is not None:
        lr = run.lr / before.lr
        decay = run.weight_decay / before.weight_decay if before.weight_decay else 1.0
        groups = tuple(
            replace(group, lr=group.lr * lr, weight_decay=group.weight_decay * decay)
            for group in before.own_groups
        )
        run = replace(run, own_groups=groups)
    if schedule is not None:
        run = replace(run, schedule=schedule, tokens=schedule.steps * run.batch_tokens)
    return replace(
        plan,
        run=run,
        numbers=replace(plan.numbers, loss=loss),
        warnings=plan.warnings if warnings is None else warnings,
    )


def timescale_tokens(*, batch_tokens: float, lr: float, weight_decay: float) -> float:
    """Tokens that AdamW's weights average over, B / (lr wd); infinite without weight decay.

    Source:
        Wang and Aitchison 2024 (arXiv 2405.13698).
    """
    return batch_tokens / (lr * weight_decay) if weight_decay else float("inf")
