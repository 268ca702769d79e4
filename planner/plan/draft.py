"""A plan on its way: from what was asked to the run, its numbers and what stands behind them.

Warnings and the explanation of a plan read the draft that it was made from, for a plan keeps what
it says and not how it was worked out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.laws.law import Law
from fitting.laws.plateau import Plateau, Span
from planner.facts.laws import SPARSE_LAW
from planner.plan.run import (
    parametrization_of,
    plan_compute,
    plan_growth,
    plan_schedule,
    planned_run,
)
from planner.recommendation.experts import sparse_choices, sparse_loss
from planner.recommendation.limited_data import data_part
from planner.recommendation.numbers import Derivation, law_inputs, work_out
from planner.recommendation.place import Tuning
from planner.recommendation.value import Numbers, batch_value, value_of
from planner.recommendation.witnesses import Witnesses, find_witnesses
from planner.request.choices import Choices, check_choices
from planner.request.request import Request, resolve
from planner.request.target import Target
from proxies.run.experts import ExpertCounts, count_experts
from proxies.run.shape import Shape
from proxies.run.sizing import ChosenShape
from proxies.run.spec import RunSpec

if TYPE_CHECKING:
    from planner.compute.estimate import Compute
    from planner.recommendation.data_part import DataPart
    from planner.request.budget import BudgetPart
    from planner.request.growth import BatchGrowthPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Everything that a plan is made from."""

    request: Request
    """As it was asked."""
    target: Target
    chosen: ChosenShape
    choices: Choices
    """As asked, the law of sparse models where that holds."""
    derivation: Derivation
    numbers: Numbers
    run: RunSpec
    compute: Compute | None
    witnesses: Witnesses
    data: DataPart | None
    growth: BatchGrowthPart | None
    budget: BudgetPart | None
    book: Mapping[str, Law]
    """The law book, the user's files included."""

    @property
    def experts(self) -> ExpertCounts | None:
        """The sparse model; None for a dense one."""
        experts = self.choices.experts
        return None if experts is None else count_experts(self.run.shape, experts)


def draft_plan(request: Request, book: Mapping[str, Law]) -> Draft:
    """Everything that the plan of a request is made from.

    Args:
        request: what was asked.
        book: the law book, the user's files included.

    Raises:
        InputError: choices that contradict each other or the target, laws that say nothing of it.
    """
    asked, budget = request, None
    if request.budget is not None:
        # Imported here because only a budget needs it.
        from planner.plan.budget import spend_budget

        request, budget = spend_budget(request, request.budget, book)
    target, chosen = resolve(request, book)
    shape, choices = chosen.shape, request.choices
    check_choices(choices, target)
    if choices.experts is not None:
        choices = sparse_choices(
            choices,
            law_inputs(target.params, target.tokens, shape, target.seq_len),
            book[SPARSE_LAW].range.flops,
            own=bool(request.laws),
        )
    rule = parametrization_of(choices, shape)
    derivation = work_out(
        target, shape, choices, parametrization=rule, book=book, user=request.own_laws
    )
    schedule = plan_schedule(choices, derivation, target)
    run = planned_run(choices, target, shape, derivation, schedule, rule)
    compute = plan_compute(choices, run)
    if compute is not None:
        from planner.compute.planned import layout_of

        run = replace(run, layout=layout_of(compute))
    growth = plan_growth(choices, run, book)
    return Draft(
        request=asked,
        target=target,
        chosen=chosen,
        choices=choices,
        derivation=derivation,
        numbers=plan_numbers(derivation, choices, target, shape),
        run=run if growth is None else replace(run, growth=growth.stages),
        compute=compute,
        witnesses=find_witnesses(book, derivation, choices, target),
        data=data_part(book, choices, target, derivation),
        growth=growth,
        budget=budget,
        book=book,
    )


def plan_numbers(derivation: Derivation, choices: Choices, target: Target, shape: Shape) -> Numbers:
    """The numbers as a plan has them, pins in their place."""
    pins, factor = choices.pins, derivation.conversion.factor
    loss = value_of(derivation.loss, None)
    if choices.experts is not None:
        loss = sparse_loss(loss, derivation, count_experts(shape, choices.experts))
    batch = batch_value(derivation, pins, seq_len=target.seq_len)
    placed, plateau, cost = derivation.placed, None, None
    if placed is not None and placed.reaches(
        batch.value, about=derivation.recommended.batch_tokens
    ):
        planned = Tuning((pins.lr or derivation.lr.value) / factor, batch.value)
        around, cost = placed.plateau(planned), placed.error_cost(planned)
        # In the planned lr's own terms.
        plateau = Plateau(
            Span(around.lr.low * factor, around.lr.high * factor), around.batch_tokens
        )
    return Numbers(
        lr=value_of(derivation.lr, pins.lr),
        batch_tokens=batch,
        weight_decay=value_of(derivation.weight_decay, pins.weight_decay),
        loss=loss,
        plateau=plateau,
        error_cost=cost,
    )
