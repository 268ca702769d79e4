"""A budget as typed, made into the params and tokens of a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from fitting.units import format_count, format_small
from planner.compute.budget import Trial, spend
from planner.facts.accelerators import Gpus, parse_gpus
from planner.plan.make import parametrization_of, plan_compute, planned_run
from planner.recommendation.numbers import work_out
from planner.request.budget import Budget, BudgetPart, check_budget
from planner.request.choices import Choices, check_choices
from planner.request.request import Request, Typed, given_shape, optional_count, read_request
from proxies.run.schedule import make_schedule
from proxies.run.shape import count_params
from proxies.run.sizing import choose_shape

STAND_IN = {"params": "1B", "tokens": "20B"}
"""A target to read the other options by, before the budget has one."""


def settle_budget(
    typed: Typed,
    budget: Budget,
    law_files: tuple[Path, ...],
    choose: Callable[[Request], Choices],
) -> tuple[Typed, BudgetPart]:
    """What was typed with the params and tokens that the budget buys, and the sizes beside them.

    Args:
        typed: the target's and shape's options.
        budget: the budget's options.
        law_files: the user's law files.
        choose: the choices for a request.

    Raises:
        InputError: the budget contradicts itself or the target, or buys nothing.
    """
    shape, _ = given_shape(typed)
    params = optional_count(typed.params, "--params")
    if shape is not None:
        params = float(count_params(shape.shape).params)
    blank = replace(typed, flops=None, tokens_per_param=None, checkpoints=None)
    stand_in = replace(
        blank,
        params=typed.params or (None if shape else STAND_IN["params"]),
        tokens=typed.tokens or STAND_IN["tokens"],
    )
    request = read_request(stand_in, law_files)
    choices = choose(request)
    gpus = named_gpus(choices)
    budget = replace(budget, flops=optional_count(typed.flops, "--flops"))
    check_budget(
        budget,
        named=gpus is not None,
        target={
            "--params": params,
            "--tokens": typed.tokens,
            "--flops": typed.flops,
            "--tokens-per-param": typed.tokens_per_param,
            "--checkpoints": typed.checkpoints,
        },
    )
    found, tokens, part = spend(
        budget,
        gpus if budget.flops is None else None,
        seq_len=request.target.seq_len,
        run=trial_maker(request, choices, fixed_shape=shape is not None),
        params=params,
        tokens=optional_count(typed.tokens, "--tokens"),
    )
    size = None if shape is not None and typed.params is None else f"{found:.0f}"
    return replace(blank, params=size, tokens=f"{tokens:.0f}"), part


def named_gpus(choices: Choices) -> Gpus | None:
    """The accelerators, or None where none or only a count was given."""
    gpus = None if choices.gpus is None else parse_gpus(choices.gpus)
    return None if gpus is None or gpus.accelerator is None else gpus


def trial_maker(
    request: Request, choices: Choices, *, fixed_shape: bool
) -> Callable[[float, float], Trial]:
    """The plan's own loss, layout and hours at any params and tokens.

    A size other than that of a fixed shape has the shape that a plan would choose for it.
    """
    given = request.target.params

    def run(params: float, tokens: float) -> Trial:
        target = replace(request.target, params=params, tokens=tokens)
        check_choices(choices, target)
        shape = request.chosen.shape
        if not fixed_shape or params != given:
            shape = choose_shape(
                params, vocab_size=shape.vocab_size, tied_embeddings=shape.tied_embeddings
            ).shape
        rule = parametrization_of(choices, shape)
        numbers = work_out(
            target,
            shape,
            choices,
            parametrization=rule,
            book=request.book,
            user=request.user_laws,
        )
        # Memory and hours see of a schedule its steps alone.
        schedule = make_schedule("constant", steps=numbers.steps)
        planned = planned_run(choices, target, shape, numbers, schedule, rule)
        return Trial(loss=numbers.loss.value, compute=plan_compute(choices, planned))

    return run


def budget_table(part: BudgetPart, plain_table: Callable[..., Table]) -> Table:
    """What the budget buys at the chosen size and beside it."""
    served = part.inference_tokens is not None
    timed = part.gpu_hours is not None
    priced = any(one.cost is not None for one in part.options)
    columns = ["what it buys", "params", "tokens", "a param", "loss"]
    columns += ["hours"] * timed + ["cost"] * priced + ["serving FLOPs"] * served
    table = plain_table(*columns, right=tuple(range(1, len(columns))))
    for one in part.options:
        cells = [
            "chosen" if one.chosen else "",
            format_count(one.params),
            format_count(one.tokens),
            format_small(one.tokens / one.params),
            f"{one.loss:.4g}",
        ]
        cells += [format_small(one.hours)] if one.hours is not None else []
        cells += [f"{one.cost:,.0f}"] if one.cost is not None else []
        cells += [format_small(one.serve_flops)] if served else []
        table.add_row(*cells)
    return table
