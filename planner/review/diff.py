"""What changed between two plans, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.facts.laws import read_lawbook
from planner.plan.assembly import lie_of
from planner.plan.document import to_plain
from planner.plan.make import prepare
from planner.plan.settings import experts_of, shape_of
from planner.recommendation.place import BATCH_REACH
from planner.request.choices import Choices
from planner.request.target import Target
from proxies.run.sizing import ChosenShape

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from planner.plan.make import Prepared

CLOSE = 1e-9
"""Relative difference of two numbers that are one, written twice."""

LEFT_OUT = (
    "schema",
    "provenance",
    "warnings",
    "nearest",
    "alternatives",
    "param_groups",
    "plateau",
    "error_cost",
)
"""Parts that follow from the others, or say where they came from."""

SAME_TARGET = 0.01
"""Relative difference of params and tokens within which two plans are of one target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One number or word that differs."""

    key: str
    """Its place in the plan's JSON, as `schedule.decay_steps`."""
    before: Any
    after: Any

    @property
    def factor(self) -> float | None:
        """After over before; None where either is no number or 0."""
        if not (is_number(self.before) and is_number(self.after)):
            return None
        return self.after / self.before if self.before and self.after else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two plans compared."""

    changes: tuple[Change, ...]
    """In the order of the plan's JSON."""
    cost: float | None
    """Share of the loss that the second's lr and batch cost over the first's, by the surface about
    the recommendation; negative where they save; None where it is not known."""
    reason: str
    """Why the cost is not known; empty where it is."""


def compare_plans(before: Plan, after: Plan) -> Difference:
    """What `after` says that `before` does not, and what its lr and batch cost.

    The cost is that of the lr and batch alone, at one target, optimizer and parametrization.

    Args:
        before: a plan.
        after: another, of any target.

    Returns:
        Every leaf of their JSON that differs, and the cost as a share of the loss, or why it is
        not known.
    """
    changes = tuple(changes_of("", plain_of(before), plain_of(after)))
    reason = why_unpriced(before, after)
    if reason:
        return Difference(changes=changes, cost=None, reason=reason)
    ours = recommended(before)
    costs = [surface_cost(ours, plan) for plan in (before, after)]
    if costs[0] is None or costs[1] is None:
        reason = "no measured surface reaches this target or batch"
        return Difference(changes=changes, cost=None, reason=reason)
    cost = math.expm1(costs[1] - costs[0])
    return Difference(changes=changes, cost=cost, reason="")


def plain_of(plan: Plan) -> dict[str, Any]:
    """The parts that are compared; of a recommended number its value alone."""
    found = {key: part for key, part in to_plain(plan).items() if key not in LEFT_OUT}
    for name in ("lr", "batch_tokens", "weight_decay", "loss"):
        found[name] = {"value": found[name]["value"], "law": found[name]["law"]}
    return found


def changes_of(where: str, before: Any, after: Any) -> list[Change]:
    """Leaves that differ, by the path to each."""
    if isinstance(before, dict) or isinstance(after, dict):
        before, after = before or {}, after or {}
        keys = [*before, *(key for key in after if key not in before)]
        return [
            change
            for key in keys
            for change in changes_of(
                f"{where}.{key}" if where else key, before.get(key), after.get(key)
            )
        ]
    if same(before, after):
        return []
    return [Change(key=where.removesuffix(".value"), before=before, after=after)]


def same(one: Any, other: Any) -> bool:
    """Whether two leaves are one."""
    if is_number(one) and is_number(other):
        return math.isclose(one, other, rel_tol=CLOSE)
    return bool(one == other)


def is_number(value: Any) -> bool:
    """Whether a leaf is a number; true and false are words."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def why_unpriced(before: Plan, after: Plan) -> str:
    """Why no surface compares the two; empty where one may."""
    for name in ("params", "tokens"):
        ours, theirs = getattr(before.target, name), getattr(after.target, name)
        if abs(theirs / ours - 1) > SAME_TARGET:
            return f"the target's {name} differ, so their losses are not to be compared"
    if before.optimizer.name != after.optimizer.name:
        return "the optimizers differ"
    if before.parametrization.name != after.parametrization.name:
        return "the parametrizations differ"
    return ""


def recommended(plan: Plan) -> Prepared:
    """Our plan for a plan's target, nothing pinned."""
    rule = plan.parametrization
    scaled = rule.name != "sp"
    target = Target(
        params=plan.target.params,
        tokens=plan.target.tokens,
        seq_len=plan.target.seq_len,
        vocab_size=plan.target.vocab_size,
    )
    choices = Choices(
        experts=experts_of(plan),
        optimizer=plan.optimizer.name,
        parametrization=rule.name,
        base_d_model=rule.base_d_model if scaled else None,
        base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
        base_head_dim=rule.base_head_dim if scaled else None,
    )
    chosen = ChosenShape(shape=shape_of(plan), reason="the plan's")
    return prepare(target, chosen, choices, book=read_lawbook(()), user_laws=())


def surface_cost(ours: Prepared, plan: Plan) -> float | None:
    """ln(1 + q) of a plan's lr and batch; None where no surface reaches."""
    lie = lie_of(ours.numbers, ours.choices, ours.target)
    if lie is None:
        return None
    batch = plan.batch_tokens.value
    if abs(math.log(batch / lie.landscape.batch_tokens)) > math.log(BATCH_REACH):
        return None
    return lie.landscape.penalty(plan.lr.value / lie.factor, batch)
