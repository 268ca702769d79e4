"""What a plan fixes of the run that comes after it, and that run's own plan.

A number that was tuned is moved by the *ratio* of the laws at the new and the old run, so that its
level stays the user's own: for a plan by the laws that is what the laws say of the new run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from planner.facts.laws import read_lawbook
from planner.plan import assembly
from planner.plan.make import Prepared, prepare
from planner.plan.settings import experts_of, run_of
from planner.request.choices import Choices, Pins
from planner.request.target import Target
from proxies.run.sizing import ChosenShape

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from proxies.run.schedule import Schedule
    from proxies.run.shape import Shape
    from proxies.run.spec import RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A plan that is being or has been trained."""

    plan: Plan
    spec: RunSpec
    """The same as trainers are told it; the plan's parts agree."""
    command: str
    """What was typed, for the provenance of a new plan."""

    @property
    def schedule(self) -> Schedule:
        """Its lr against steps."""
        return self.spec.schedule

    @property
    def batch(self) -> int:
        """Tokens a step."""
        return self.plan.batch_sequences * self.plan.target.seq_len

    @property
    def lr(self) -> float:
        """Peak lr."""
        return self.plan.lr.value

    @property
    def weight_decay(self) -> float:
        """Coupled to the lr, as in torch."""
        return self.plan.weight_decay.value


def open_run(plan: Plan, command: str) -> Run:
    """A plan as a run.

    Raises:
        InputError: parts of the plan contradict each other, or its batch grows already.
    """
    if plan.batch_growth is not None:
        raise InputError(
            "plan change: the plan's batch grows while it runs; plan it without that and change "
            "the batch where it should grow (plan change batch)"
        )
    return Run(plan=plan, spec=run_of(plan), command=command)


def replan(
    run: Run,
    *,
    pins: Pins,
    tokens: float | None = None,
    shape: Shape | None = None,
    params: float | None = None,
    gpus: str | None = None,
    schedule: str = "wsd",
) -> Prepared:
    """The plan of a run like this one but for what is given.

    Args:
        run: the run.
        pins: what stays fixed.
        tokens: of the new run; None for the old run's.
        shape: the new model; None for the same.
        params: its non-embedding params; None for the same.
        gpus: accelerators; None for the same.
        schedule: kind of the new schedule.

    Raises:
        InputError: as `prepare`.
    """
    plan = run.plan
    target = Target(
        params=params or plan.target.params,
        tokens=tokens or plan.target.tokens,
        seq_len=plan.target.seq_len,
        vocab_size=plan.target.vocab_size,
    )
    rule = plan.parametrization
    scaled = rule.name != "sp"
    choices = Choices(
        pins=pins,
        optimizer=plan.optimizer.name,
        parametrization=rule.name,
        base_d_model=rule.base_d_model if scaled else None,
        base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
        base_head_dim=rule.base_head_dim if scaled else None,
        schedule=schedule,
        experts=experts_of(plan),
        gpus=gpus or (None if plan.compute is None else plan.compute.gpus),
        unique_tokens=None if plan.data is None else plan.data.unique_tokens,
    )
    chosen = ChosenShape(shape=shape or run.spec.shape, reason="that of the plan")
    return prepare(target, chosen, choices, book=read_lawbook(), user_laws=(), command=run.command)


def level(run: Run) -> float:
    """The run's lr over what the laws say at its own batch: 1 for a plan by the laws."""
    said = replan(run, pins=Pins(batch_tokens=float(run.batch)))
    return run.lr / said.numbers.lr.value


def go_on(prepared: Prepared, run: Run, schedule: Schedule | None, **given: object) -> Plan:
    """The plan of the run from the change on: the same groups and optimizer, moved together.

    Args:
        prepared: the run's plan with lr, batch and weight decay pinned at their new values.
        run: the run before the change, of the same shape.
        schedule: what is left; None for that of `prepared`.
        given: further fields of the plan, such as its loss.
    """
    plan = prepared.plan
    lr = plan.lr.value / run.lr
    decay = plan.weight_decay.value / run.weight_decay if run.weight_decay else 1.0
    groups = tuple(
        replace(group, lr=group.lr * lr, weight_decay=group.weight_decay * decay)
        for group in run.plan.param_groups
    )
    plan = replace(plan, param_groups=groups, optimizer=run.plan.optimizer, model=run.plan.model)
    if schedule is not None:
        plan = replace(
            plan,
            schedule=assembly.schedule_part(schedule),
            warmup_steps=schedule.warmup_steps,
            steps=schedule.steps,
        )
    return replace(plan, **given)  # type: ignore[arg-type]  # fields of Plan, by name


def timescale_tokens(*, batch_tokens: float, lr: float, weight_decay: float) -> float:
    """Tokens that AdamW's weights average over, B / (lr wd); infinite without weight decay.

    Source:
        Wang and Aitchison 2024 (arXiv 2405.13698).
    """
    return batch_tokens / (lr * weight_decay) if weight_decay else float("inf")
