"""What changed between two plans, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.facts.laws import read_lawbook
from planner.plan.file import plan_to_dict
from planner.plan.reuse import is_priced, surface_of, tuning_of, why_unpriced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.laws.law import Law
    from planner.plan.document import Plan

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
    "request",
    "surface",
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


def compare_plans(before: Plan, after: Plan, book: Mapping[str, Law] | None = None) -> Difference:
    """What `after` says that `before` does not, and what its lr and batch cost.

    The cost is that of the lr and batch alone, at one target, optimizer and parametrization.

    Args:
        before: a plan, whose surface prices both.
        after: another, of any target.
        book: the law book with the law of that surface; None for the shipped one.

    Returns:
        Every leaf of their JSON that differs, and the cost as a share of the loss, or why it is
        not known.
    """
    changes = tuple(changes_of("", plain_of(before), plain_of(after)))
    reason = _why_not_compared(before, after)
    if reason:
        return Difference(changes=changes, cost=None, reason=reason)
    laws = read_lawbook() if book is None else book
    placed = surface_of(before, laws)
    if placed is None:
        return Difference(changes=changes, cost=None, reason=why_unpriced(before, laws))
    ours, theirs = tuning_of(before), tuning_of(after)
    if not all(is_priced(before, placed, one.batch_tokens) for one in (ours, theirs)):
        reason = "no measured surface reaches this batch"
        return Difference(changes=changes, cost=None, reason=reason)
    cost = math.expm1(placed.penalty(theirs) - placed.penalty(ours))
    return Difference(changes=changes, cost=cost, reason="")


def plain_of(plan: Plan) -> dict[str, Any]:
    """The parts that are compared; of a recommended number its value alone."""
    found = {key: part for key, part in plan_to_dict(plan).items() if key not in LEFT_OUT}
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


def _why_not_compared(before: Plan, after: Plan) -> str:
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
