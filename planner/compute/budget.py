"""Params and tokens from a budget: GPU-hours, or money for them, or FLOPs.

    tokens(N): train_hours(N, D) + serve_hours(N) = budget, cut at --max-tokens
    serve_flops = 2 N inference_tokens
    N: the lowest loss(N, tokens(N)) of models that fit, up to --max-params

Hours are those of the whole plan at each N: its shape, batch, layout and utilisation. Serving runs
on the same GPUs at the same utilisation. What other sizes would have given is shown
beside the choice.

Source:
    Sardana et al. 2023 (arXiv 2401.00448), section 2: least 6 N D + 2 N D_inference at a given
    loss; here its dual, the lowest loss at given total compute. Recalled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from fitting.errors import InputError
from fitting.units import round_significant
from planner.compute.estimate import Compute
from planner.facts.accelerators import Gpus
from planner.request.budget import Budget, BudgetOption, BudgetPart, nothing_bought
from planner.request.target import Scale

FACTORS = (1 / 2.25, 1 / 1.5, 1.0, 1.5, 2.25)
"""Params of the neighbours over those chosen."""

LAST_STEP = 1.02
"""The search ends at steps of this factor in params, at which the loss is flat."""

SMALLEST, LARGEST = 1e6, 2e12
"""Params that the search looks at: those of which a shape can be chosen."""

FEWEST_SEQUENCES = 1000
"""A budget that buys fewer training sequences than this buys nothing."""

WITHIN = 0.002
"""Relative error of the hours at which the tokens are settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A plan of given params and tokens, as far as a budget needs it."""

    loss: float
    compute: Compute | None
    """None without accelerators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """The budget in its own unit and how trials are made."""

    gpu_hours: float | None
    flops: float | None
    price: float | None
    inference_tokens: float
    max_tokens: float
    seq_len: int
    run: Callable[[float, float], Trial]
    """Trial of (params, tokens)."""


def hours_of(budget: Budget, gpu_count: int, price: float | None) -> float | None:
    """GPU-hours that may be spent: the least that days and cost allow; None for FLOPs."""
    limits = []
    if budget.days is not None:
        limits.append(24 * budget.days * gpu_count)
    if budget.cost is not None and price is not None:
        limits.append(budget.cost / price)
    return min(limits, default=None)


def spend(
    budget: Budget,
    gpus: Gpus | None,
    scale: Scale,
    *,
    price: float | None = None,
    seq_len: int,
    run: Callable[[float, float], Trial],
) -> tuple[float, float, BudgetPart]:
    """Params and tokens that the budget buys, and what other sizes would have given.

    Args:
        budget: checked by `check_budget`.
        gpus: accelerators by name; None for a budget in FLOPs.
        scale: FLOPs of training and serving together, for a budget in them; fixed params, for
            which only the tokens are sought; or fixed tokens, for which the most params are.
        price: of a GPU-hour; None for no cost.
        seq_len: tokens of a sequence.
        run: makes the trial of given params and tokens.

    Raises:
        InputError: the budget buys no run.
    """
    params, tokens, flops = scale.params, scale.tokens, scale.flops
    cap = tokens or budget.max_tokens or math.inf
    purse = Purse(
        gpu_hours=None if gpus is None else hours_of(budget, gpus.count, price),
        flops=flops,
        price=price,
        inference_tokens=budget.inference_tokens or 0.0,
        max_tokens=cap,
        seq_len=seq_len,
        run=run,
    )

    @cache
    def option(n: float) -> BudgetOption | None:
        return buy(purse, n)

    most = min(LARGEST, budget.max_params or LARGEST)
    if params is not None:
        chosen, bound = params, "--params"
    elif tokens is not None:
        chosen, bound = largest_affording(option, tokens, most), "--tokens"
    else:
        chosen = best_params(option, math.sqrt(total_flops(purse, gpus) / 120), most)
        bound = "--max-params" if chosen >= most else "loss"
    best = option(chosen)
    if best is None:
        raise InputError(nothing_bought(budget, flops=flops, params=params))
    if tokens is None and best.tokens >= purse.max_tokens:
        bound = f"{bound}, --max-tokens"
    sizes = {round_significant(chosen * factor, 3) for factor in FACTORS if factor != 1} | {chosen}
    found = [one for one in map(option, sorted(sizes)) if one is not None]
    return (
        chosen,
        best.tokens,
        BudgetPart(
            gpu_hours=purse.gpu_hours,
            flops=purse.flops,
            inference_tokens=budget.inference_tokens,
            max_params=budget.max_params,
            max_tokens=budget.max_tokens,
            bound=bound,
            options=tuple(replace(one, chosen=one.params == chosen) for one in found),
        ),
    )


def total_flops(purse: Purse, gpus: Gpus | None) -> float:
    """FLOPs of the budget, at a usual utilisation of 0.4; where the search starts."""
    if purse.gpu_hours is None or gpus is None or gpus.accelerator is None:
        return purse.flops or 0.0
    return 0.4 * purse.gpu_hours * 3600 * gpus.accelerator.bf16_tflops * 1e12


def buy(purse: Purse, params: float) -> BudgetOption | None:
    """The most tokens that the budget buys at these params; None where it buys no run that fits."""
    serve = 2 * params * purse.inference_tokens
    if purse.flops is not None:
        tokens = min((purse.flops - serve) / (6 * params), purse.max_tokens)
        if tokens < FEWEST_SEQUENCES * purse.seq_len:
            return None
        tokens = cut(tokens)
        return option_of(purse, params, tokens, purse.run(params, tokens))
    assert purse.gpu_hours is not None
    tokens, left, trial = 20 * params, purse.gpu_hours, None
    # The hours are nearly in proportion to the tokens; the batch moves with them a little.
    for _ in range(8):
        tokens = min(tokens, purse.max_tokens)
        if tokens < FEWEST_SEQUENCES * purse.seq_len or left <= 0:
            return None
        trial = purse.run(params, tokens)
        if trial.compute is None or trial.compute.timing is None or not trial.compute.fits:
            return None
        timing = trial.compute.timing
        left = purse.gpu_hours - serve / (timing.peak_flops * timing.mfu) / 3600
        ratio = left / timing.gpu_hours
        if abs(ratio - 1) < WITHIN or (ratio > 1 and tokens == purse.max_tokens):
            break
        tokens *= ratio
    assert trial is not None
    return option_of(purse, params, cut(tokens), trial)


def cut(tokens: float) -> float:
    """Tokens cut to four digits, not rounded, so that the budget still holds them."""
    unit = 10.0 ** (math.floor(math.log10(tokens)) - 3)
    return math.floor(tokens / unit + 1e-9) * unit


def option_of(purse: Purse, params: float, tokens: float, trial: Trial) -> BudgetOption:
    """A size with what it takes."""
    timing = None if trial.compute is None else trial.compute.timing
    serve = 2 * params * purse.inference_tokens
    hours = cost = None
    if timing is not None:
        hours = timing.hours
        if purse.price is not None:
            serve_hours = serve / (timing.peak_flops * timing.mfu) / 3600
            cost = purse.price * (timing.gpu_hours + serve_hours)
    return BudgetOption(
        params=params,
        tokens=tokens,
        loss=trial.loss,
        hours=hours,
        cost=cost,
        train_flops=6 * params * tokens,
        serve_flops=serve,
        chosen=False,
    )


def best_params(option: Callable[[float], BudgetOption | None], start: float, most: float) -> float:
    """Params of the lowest loss, to three digits, at most `most`.

    The loss falls and then rises with params along the budget, so a walk of falling steps finds it.
    A size that the budget does not buy, or that does not fit, counts as worse than any.
    """

    def loss(n: float) -> float:
        found = option(n)
        return math.inf if found is None else found.loss

    here, step = round_significant(min(start, most), 3), 2.0
    while loss(here) == math.inf and here > SMALLEST:
        here = max(SMALLEST, round_significant(here / 4, 3))
    while step > LAST_STEP:
        moves = [min(round_significant(here * factor, 3), most) for factor in (step, 1 / step)]
        better = [n for n in moves if n >= SMALLEST and loss(n) < loss(here)]
        if better:
            here = min(better, key=loss)
        else:
            step = math.sqrt(step)
    return here


def largest_affording(
    option: Callable[[float], BudgetOption | None], tokens: float, most: float
) -> float:
    """The most params, to three digits, at which the budget buys these tokens."""

    def affords(n: float) -> bool:
        found = option(n)
        return found is not None and found.tokens >= tokens * (1 - WITHIN)

    low, high = math.log(SMALLEST), math.log(most)
    if affords(most):
        return most
    while high - low > math.log(LAST_STEP) / 4:
        middle = (low + high) / 2
        if affords(round_significant(math.exp(middle), 3)):
            low = middle
        else:
            high = middle
    return round_significant(math.exp(low), 3)
