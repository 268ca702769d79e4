"""A budget made into the params and tokens of a plan: the plan's own loss and hours at any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.compute.budget import Trial, spend
from planner.facts.accelerators import Gpus, parse_gpus
from planner.plan.run import parametrization_of, plan_compute, planned_run
from planner.recommendation.numbers import work_out
from planner.request.budget import Budget, BudgetPart, check_budget
from planner.request.choices import check_choices
from planner.request.request import Request, resolve
from planner.request.shape import given_shape
from planner.request.target import Scale
from proxies.run.schedule import make_schedule
from proxies.run.shape import count_params
from proxies.run.sizing import choose_shape

if TYPE_CHECKING:
    from fitting.laws.law import Law

STAND_IN = (1e9, 2e10)
"""Params and tokens by which the rest is read, before the budget has chosen them."""


def spend_budget(
    request: Request, budget: Budget, book: Mapping[str, Law]
) -> tuple[Request, BudgetPart]:
    """The request at the params and tokens that its budget buys, and the sizes beside them.

    Args:
        request: what was asked.
        budget: its budget.
        book: the law book, the user's files included.

    Raises:
        InputError: the budget contradicts itself or the target, or buys nothing.
    """
    scale, choices = request.target, request.choices
    shape, _ = given_shape(request.shape, choices.experts, scale.seq_len)
    params = scale.params if shape is None else float(count_params(shape.shape).params)
    stand_in = Scale(
        params=scale.params or (None if shape else STAND_IN[0]),
        tokens=scale.tokens or STAND_IN[1],
        seq_len=scale.seq_len,
    )
    blank = replace(request, choices=replace(choices, checkpoint_tokens=()), budget=None)
    gpus = _named_gpus(choices.gpus)
    check_budget(
        budget,
        named=gpus is not None,
        price=choices.price,
        target={
            "--params": params,
            "--tokens": scale.tokens,
            "--flops": scale.flops,
            "--tokens-per-param": scale.tokens_per_param,
            "--checkpoints": choices.checkpoint_tokens or None,
        },
    )
    at = replace(blank, target=stand_in)
    found, tokens, part = spend(
        budget,
        gpus if scale.flops is None else None,
        replace(scale, params=params),
        price=choices.price,
        seq_len=resolve(at, book)[0].seq_len,
        run=_trial_maker(at, book, fixed_shape=shape is not None),
    )
    size = None if shape is not None and scale.params is None else float(round(found))
    bought = Scale(params=size, tokens=float(round(tokens)), seq_len=scale.seq_len)
    return replace(blank, target=bought), part


def _named_gpus(text: str | None) -> Gpus | None:
    """The accelerators, or None where none or only a count was given."""
    gpus = None if text is None else parse_gpus(text)
    return None if gpus is None or gpus.accelerator is None else gpus


def _trial_maker(
    request: Request, book: Mapping[str, Law], *, fixed_shape: bool
) -> Callable[[float, float], Trial]:
    """The plan's own loss, layout and hours at any params and tokens.

    A size other than that of a fixed shape has the shape that a plan would choose for it.
    """
    choices = request.choices
    at, chosen = resolve(request, book)

    def run(params: float, tokens: float) -> Trial:
        target = replace(at, params=params, tokens=tokens)
        check_choices(choices, target)
        shape = chosen.shape
        if not fixed_shape or params != at.params:
            shape = choose_shape(
                params, vocab_size=shape.vocab_size, tied_embeddings=shape.tied_embeddings
            ).shape
        rule = parametrization_of(choices, shape)
        derivation = work_out(
            target, shape, choices, parametrization=rule, book=book, user=request.own_laws
        )
        # Memory and hours see of a schedule its steps alone.
        schedule = make_schedule("constant", steps=derivation.steps)
        planned = planned_run(choices, target, shape, derivation, schedule, rule)
        return Trial(loss=derivation.loss.value, compute=plan_compute(choices, planned))

    return run
