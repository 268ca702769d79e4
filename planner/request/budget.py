"""A budget as typed and as it stands in the plan: its bounds, contradictions and words.

How it becomes params and tokens is `planner.compute.budget`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fitting.errors import InputError
from fitting.units import format_count, format_small
from planner.request.choices import PRICE_BOUNDS, check_range

MOST = 1e12
"""Days or money of a budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent and within which bounds; None where left out."""

    days: float | None = None
    """Wall time on the GPUs."""
    cost: float | None = None
    """In the unit of the price of a GPU-hour."""
    inference_tokens: float | None = None
    """Tokens to be served over the model's life."""
    max_params: float | None = None
    max_tokens: float | None = None
    """Of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOption:
    """One size that the budget could buy."""

    params: float
    tokens: float
    loss: float
    hours: float | None
    """Wall time of the training; None for a budget in FLOPs."""
    cost: float | None
    """Of training and serving; None without a price."""
    train_flops: float
    """6 N D."""
    serve_flops: float
    """2 N inference_tokens; 0 without."""
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPart:
    """The budget and what it buys at several sizes."""

    gpu_hours: float | None
    """For training and serving; None for a budget in FLOPs."""
    flops: float | None
    """None for a budget in GPU-hours."""
    inference_tokens: float | None
    max_params: float | None
    max_tokens: float | None
    bound: str
    """What decided: `loss`, `--params`, `--tokens` or `--max-params`; `, --max-tokens` after it."""
    options: tuple[BudgetOption, ...]
    """By params, rising; those that do not fit are left out."""


def nothing_bought(budget: Budget, *, flops: float | None, params: float | None) -> str:
    """Why a budget buys no run."""
    limits = {
        "--days": budget.days,
        "--cost": budget.cost,
        "--flops": flops,
    }
    option, value = next((name, value) for name, value in limits.items() if value is not None)
    size = "any model" if params is None else f"{format_count(params)} params"
    serving = "" if budget.inference_tokens is None else " beside serving --inference-tokens"
    return (
        f"{option} {format_small(value)}: buys no training of {size}{serving} that fits in memory "
        "and has 1,000 sequences; give more of it, more --gpus or another size"
    )


def check_budget(
    budget: Budget, *, named: bool, price: float | None, target: Mapping[str, object]
) -> None:
    """Refuse a budget that is at odds with itself or with the target.

    Args:
        budget: as asked.
        named: whether accelerators are given by name.
        price: of a GPU-hour.
        target: what was given of the target, by option; None where left out.

    Raises:
        InputError: naming the option, what is wrong and what would be right.
    """
    check_bounds(budget, named=named, price=price)
    given = [name for name, value in target.items() if value is not None]
    for name, bound, fixed in (
        ("--max-params", budget.max_params, "--params"),
        ("--max-tokens", budget.max_tokens, "--tokens"),
    ):
        if bound is not None and fixed in given:
            raise InputError(f"{name} {format_count(bound)}: {fixed} is given; leave out one")
    if budget.days is not None or budget.cost is not None:
        limit = "--days" if budget.days is not None else "--cost"
        for name in ("--flops", "--tokens-per-param", "--checkpoints"):
            if name in given:
                raise InputError(f"{name}: {limit} fixes how much is trained; leave out one")
        if "--params" in given and "--tokens" in given:
            raise InputError(
                f"{limit}: params and tokens are given too, and they fix the hours; leave out one"
            )
    elif given != ["--flops"]:
        option = "--max-params" if budget.max_params else "--max-tokens"
        raise InputError(
            f"{'--inference-tokens' if budget.inference_tokens else option}: belongs to a budget; "
            "give --gpus with --days or --cost, or --flops alone"
        )


def check_bounds(budget: Budget, *, named: bool, price: float | None) -> None:
    """Refuse days, cost and price out of bounds or without what they need.

    Raises:
        InputError: naming the option.
    """
    for name, value in (("--days", budget.days), ("--cost", budget.cost)):
        if value is None:
            continue
        if not 0 < value <= MOST:
            raise InputError(f"{name} {value:g}: must be above 0 and at most {MOST:g}")
        if not named:
            raise InputError(
                f"{name} {value:g}: hours need accelerators by name; add --gpus, as 8xH100"
            )
    check_range("--price", price, PRICE_BOUNDS)
    if budget.cost is not None and price is None:
        raise InputError(f"--cost {budget.cost:g}: needs the --price of a GPU-hour, as 2.5")


def explain_budget(part: BudgetPart) -> list[str]:
    """How the budget became params and tokens."""
    best = next(one for one in part.options if one.chosen)
    if part.gpu_hours is None:
        lines = [f"{format_small(part.flops or 0)} FLOPs = 6 N D + 2 N inference tokens"]
    else:
        lines = [
            f"{format_small(part.gpu_hours)} GPU-hours at the hours of the plan (time and memory)"
        ]
    if part.inference_tokens is not None:
        lines.append(
            f"serving 2 x {format_count(best.params)} x {format_count(part.inference_tokens)} = "
            f"{format_small(best.serve_flops)} FLOPs comes out of it, at the utilisation of "
            "training (assumed; Sardana et al., arXiv 2401.00448)"
        )
    why = {
        "loss": "the lowest expected loss along the budget, to about 3% of params",
        "--params": "params given: the tokens follow",
        "--tokens": "tokens given: the most params that see them",
    }
    reason = why.get(part.bound, f"bounded by {part.bound}")
    lines.append(
        f"{format_count(best.params)} params, {format_count(best.tokens)} tokens: {reason}"
    )
    return lines
