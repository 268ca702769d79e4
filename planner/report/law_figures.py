"""Laws against size with their bands, and every measured optimum beside them.

For runs at hand the lines are those of their laws, the optima measured in their cells. For a plan
by published laws they are the planner's own answer at other sizes, and the optima those that were
published, each where it lies against that answer at its own size and batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from fitting.text import Figure
from fitting.units import format_count, format_small
from planner.request.choices import Choices
from planner.request.request import Request
from planner.request.shape import ShapeRequest
from planner.request.target import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fitting.fit.figure_data import LawPanel, Scope
    from planner.plan.document import Plan
    from planner.recommendation.value import Numbers, Value
    from planner.report.evidence import Evidence

POINTS = 33
"""Sizes at which the planner is asked for a line."""

QUANTITIES = ("lr", "batch_tokens")

NAMES = {"lr": "peak lr", "batch_tokens": "batch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The planner's answer at one size, nothing pinned."""

    size: float
    lr: Value
    batch_tokens: Value


def law_figures(found: Evidence) -> tuple[Figure, ...]:
    """Lines of lr and batch against params and tokens; none where nothing is known of them."""
    scope = own_scope(found)
    if scope is None:
        return () if found.plan is None else plan_figures(found)
    from fitting.fit.figure_data import scope_panels

    source = found.fit.quantities() if found.law is None and found.fit else {}
    laws = found.law.quantities if found.law is not None else source
    powers = {name: laws[name] for name in QUANTITIES if name in laws}
    drawn = {name: law for name, law in powers.items() if law.form == "power"}
    return tuple(panel_figure(panel, found.plan) for panel in scope_panels(drawn, scope))


def own_scope(found: Evidence) -> Scope | None:
    """What the lines of the user's own laws are drawn over; None where there are none."""
    from fitting.fit.figure_data import Scope, scope_of

    plan = found.plan
    target = None if plan is None else (plan.target.params, plan.target.tokens)
    if found.fit is not None and found.fit.surface is not None:
        scope = scope_of(found.fit)
        return Scope(
            limits=scope.limits,
            sizes=scope.sizes,
            optima=scope.optima,
            target=target or scope.target,
        )
    if found.law is None or found.law.range.params is None or found.law.range.tokens is None:
        return None
    limits = found.law.range
    assert limits.params is not None
    assert limits.tokens is not None
    sizes = tuple(zip(limits.params, limits.tokens, strict=True))
    return Scope(limits=limits, sizes=sizes, optima=(), target=target)


def panel_figure(panel: LawPanel, plan: Plan | None) -> Figure:
    """A law panel of `fitting.fit.figure_data` for the page."""
    edge = panel.edge > 0
    return line_figure(
        panel.quantity,
        panel.against,
        held=panel.held,
        verb=moves(panel.exponent, panel.against, f"as {panel.against}^{panel.exponent:.2f}"),
        data={
            "x": panel.x.tolist(),
            "value": panel.value.tolist(),
            "low": panel.low.tolist(),
            "high": panel.high.tolist(),
            "measured": points(panel.measured_x[~edge], panel.measured[~edge]),
            "bounds": points(panel.measured_x[edge], panel.measured[edge]),
            "target": panel.target,
        },
        plan=plan,
        origin="measured in your cells",
    )


def moves(slope: float, against: str, how: str) -> str:
    """How a line goes, in words."""
    if abs(slope) < 0.01:
        return f"hardly moves with {against}"
    return f"{'rises' if slope > 0 else 'falls'} {how}"


def points(x: Any, y: Any) -> list[list[float]]:
    """Pairs of numbers of two arrays."""
    return [[float(a), float(b)] for a, b in zip(x, y, strict=True)]


def line_figure(
    quantity: str,
    against: str,
    *,
    held: float,
    verb: str,
    data: dict[str, Any],
    plan: Plan | None,
    origin: str,
) -> Figure:
    """One line with its band, its optima and the plan's own value."""
    show = format_small if quantity == "lr" else format_count
    other = "tokens" if against == "params" else "params"
    name = NAMES[quantity]
    value = None if plan is None else getattr(plan, quantity)
    ends = data["x"][0], data["x"][-1]
    known = len(data["measured"])
    said = (
        f"{name} against {against} at {format_count(held)} {other}: from "
        f"{show(data['value'][0])} at {format_count(ends[0])} to {show(data['value'][-1])} at "
        f"{format_count(ends[1])}; {known} optima {origin}"
        + (f" and {len(data['bounds'])} bounds" if data["bounds"] else "")
        + ("." if value is None else f"; the plan has {show(value.value)}.")
    )
    return Figure(
        name=f"line-{quantity.replace('_', '-')}-{against}",
        kind="line",
        title=f"The best {name} {verb}",
        alt=said[0].upper() + said[1:],
        data={
            **data,
            "quantity": quantity,
            "against": against,
            "held": held,
            "origin": origin,
            "plan": None if value is None else [value.value, value.low, value.high],
        },
    )


def plan_figures(found: Evidence) -> tuple[Figure, ...]:
    """The planner's answer at other sizes, and what was published there."""
    assert found.plan is not None
    plan = found.plan
    if plan.request is None:
        return ()
    figures = []
    law = plan.request.choices.law
    for against in ("params", "tokens"):
        answers = answers_along(found, against)
        if len(answers) < 2:
            continue
        held = plan.target.tokens if against == "params" else plan.target.params
        for quantity in QUANTITIES:
            values = [getattr(answer, quantity) for answer in answers]
            first, last = values[0].value, values[-1].value
            x = [answer.size for answer in answers]
            slope = math.log(last / first) / math.log(x[-1] / x[0])
            verb = moves(slope, against, f"with {against}")
            figures.append(
                line_figure(
                    quantity,
                    against,
                    held=held,
                    verb=verb,
                    data={
                        "x": x,
                        "value": [value.value for value in values],
                        "low": [value.low for value in values],
                        "high": [value.high for value in values],
                        "measured": published_points(found, law, quantity, against, answers),
                        "bounds": [],
                        "target": getattr(plan.target, against),
                    },
                    plan=plan,
                    origin="of published sweeps",
                )
            )
    return tuple(sorted(figures, key=lambda figure: figure.data["quantity"] != "lr"))


def answers_along(found: Evidence, against: str) -> list[Asked]:
    """The planner's answers along one size, where it has any."""
    assert found.plan is not None
    plan = found.plan
    limits = found.book[plan.lr.law].range if plan.lr.law in found.book else None
    stated = None if limits is None else getattr(limits, against)
    target = getattr(plan.target, against)
    low, high = stated or (target / 30, target)
    start, end = min(low, target) / 1.5, max(high, target) * 1.5
    found_answers = []
    for place in range(POINTS):
        size = start * (end / start) ** (place / (POINTS - 1))
        try:
            answer = ask(found, {against: size})
        except InputError:
            # The law is silent there, or no shape has this size.
            continue
        found_answers.append(Asked(size=size, lr=answer.lr, batch_tokens=answer.batch_tokens))
    return found_answers


def ask(found: Evidence, size: dict[str, float]) -> Numbers:
    """The planner's answer at another size in the plan's setting, nothing pinned.

    Raises:
        InputError: there is none.
    """
    from planner.plan.draft import draft_plan

    assert found.plan is not None
    assert found.plan.request is not None
    plan, asked = found.plan, found.plan.request
    scale = {"params": plan.target.params, "tokens": plan.target.tokens, **size}
    rule = plan.parametrization
    scaled = rule.name != "sp"
    choices = Choices(
        law=asked.choices.law,
        optimizer=asked.choices.optimizer,
        parametrization=rule.name,
        base_d_model=rule.base_d_model if scaled else None,
        base_n_layers=rule.base_n_layers if rule.name == "completep" else None,
        base_head_dim=rule.base_head_dim if scaled else None,
    )
    again = Request(
        target=Scale(**scale, seq_len=plan.target.seq_len),
        shape=ShapeRequest(
            vocab_size=plan.target.vocab_size,
            tied_embeddings=plan.run.shape.tied_embeddings,
        ),
        choices=choices,
        laws=tuple(law for law in asked.laws if law.name in found.book),
    )
    return draft_plan(again, found.book).numbers


def published_points(
    found: Evidence, law: str | None, quantity: str, against: str, answers: Sequence[Asked]
) -> list[list[float]]:
    """Published optima about the line, each by its factor over what the law says of it."""
    from planner.facts.optima import read_tuned
    from planner.review.practice import PLAN, compare_case

    assert found.plan is not None
    line = between([(one.size, getattr(one, quantity).value) for one in answers])
    shown = []
    for case in read_tuned(found.book):
        same = (case.optimizer, case.parametrization) == (
            found.plan.optimizer.name,
            found.plan.parametrization.name,
        )
        size = getattr(case, against)
        if not same or quantity not in case.tuned or case.law == (law or found.plan.lr.law):
            continue
        if not answers[0].size <= size <= answers[-1].size:
            continue
        try:
            factors = compare_case(found.book, law or PLAN, case, anchors=[])
        except InputError:
            # The law is silent at this size.
            continue
        shown += [[size, line(size) * one.factor] for one in factors if one.quantity == quantity]
    return shown


def between(known: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Values between known points, straight in log and log."""

    def value(x: float) -> float:
        for (low, first), (high, second) in pairwise(known):
            if x <= high:
                share = math.log(x / low) / math.log(high / low)
                return float(first * (second / first) ** share)
        return known[-1][1]

    return value
