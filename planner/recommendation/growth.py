"""From a critical batch that grows with the tokens to the stages of a growing batch.

noise-scale: the planned batch halved and doubled; a size starts where `fraction` of the critical
batch at the tokens seen has reached it. ramp: equal steps over so many tokens, as Megatron's
`--rampup-batch-size` counts them. The critical batch of a whole run of t tokens is taken for that
of a longer run at its token t: an assumption, as is the price in tokens, which has an update make
1 / (1 + B / B_crit) of the progress a token that a small batch makes.

Sources: McCandlish et al. 2018 (arXiv 1812.06162), progress and adaptive batch; Merrill et al.
2025 (arXiv 2505.23971), batch doubled as the critical one grows, lr by sqrt 2; Malladi et al. 2022
(arXiv 2205.10287), square root for Adam-like optimizers; Brown et al. 2020 (arXiv 2005.14165),
ramp; Marek et al. 2025 (arXiv 2507.07101), beta2's half-life.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws.evaluate import evaluate_law
from fitting.units import format_count
from planner.facts.laws import CRITICAL_LAW
from planner.request.growth import OPTION, BatchGrowthPart, GrowthChoice
from proxies.run.batching import LR_RULES, GrowthStage, count_updates

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from proxies.run.spec import RunSpec

FEWEST_UPDATES = 100
"""Updates that the first stage takes at least; assumed, to be tested by a sweep of it."""

SLICES = 64
"""Points a stage at which progress is summed."""

SMALLEST_SHARE = 8
"""A ramp starts at this part of its largest batch unless told otherwise."""


def growth_part(book: Mapping[str, Law], run: RunSpec, choice: GrowthChoice) -> BatchGrowthPart:
    """The stages that were asked for, of a run with a fixed batch.

    Raises:
        InputError: nothing to grow between the first and the largest batch.
    """
    source, critical = critical_batch(choice, book[CRITICAL_LAW])
    sizes = SIZES[choice.kind](choice, run, critical)
    if len(sizes) < 2:
        raise InputError(
            f"{OPTION} {choice.kind}: no second batch between its first and its largest at "
            f"{run.batch_sequences} planned sequences in multiples of {multiple_of(run)}; a batch "
            "of more factors of two (--round-batch pow2) or another from=, to= has one"
        )
    stages = tuple(stage_of(choice, run, *size) for size in sizes)
    return BatchGrowthPart(
        kind=choice.kind,
        source="given" if choice.kind == "ramp" else source,
        lr_rule=choice.lr_rule,
        stages=stages,
        steps=count_updates(stages, sequences=run.total_sequences, seq_len=run.seq_len),
        relative_tokens=relative_tokens(stages, run, critical),
    )


def multiple_of(run: RunSpec) -> int:
    """Sequences that the devices take at once: every stage is whole multiples of it."""
    return run.layout.micro_batch_sequences * run.layout.data


def critical_batch(choice: GrowthChoice, law: Law) -> tuple[str, Callable[[float], float]]:
    """B_crit in tokens against tokens, with its source."""
    if choice.noise is not None:
        # Imported here because only measured noise needs array libraries.
        from fitting.probes.noise_scale import fit_noise

        noise = fit_noise(choice.noise)
        return noise.source, noise.at
    part = law.quantities["critical_batch_tokens"]
    return law.name, lambda tokens: evaluate_law(part, {"tokens": tokens}) or math.nan


def doublings(
    choice: GrowthChoice, run: RunSpec, critical: Callable[[float], float]
) -> list[tuple[int, int]]:
    """(first sequence, batch) of each size: the planned batch halved and doubled."""

    def start(batch: int) -> float:
        return reached(critical, batch * run.seq_len / choice.fraction)

    least = (choice.first_tokens or 0.0) / run.seq_len
    most = (choice.last_tokens or math.inf) / run.seq_len
    size = run.batch_sequences
    while size % (2 * multiple_of(run)) == 0 and size / 2 >= least:
        size //= 2
    sizes = []
    while size <= most and start(size) < run.total_tokens:
        sizes.append(size)
        size *= 2
    if choice.first_tokens is None:
        while len(sizes) > 1 and start(sizes[1]) < FEWEST_UPDATES * sizes[0] * run.seq_len:
            sizes.pop(0)
    return [
        (0 if index == 0 else math.ceil(start(batch) / run.seq_len), batch)
        for index, batch in enumerate(sizes)
    ]


def reached(critical: Callable[[float], float], batch_tokens: float) -> float:
    """Tokens at which a growing critical batch is so large, by bisection in the log."""
    low, high = 0.0, 60.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if critical(math.exp(middle)) < batch_tokens else (low, middle)
    return math.exp(high)


def equal_steps(
    choice: GrowthChoice, run: RunSpec, _critical: Callable[[float], float]
) -> list[tuple[int, int]]:
    """(first sequence, batch) of each step of a ramp; as many sequences a step."""
    unit = multiple_of(run)

    def whole(tokens: float) -> int:
        return max(1, round(tokens / run.seq_len / unit)) * unit

    last = whole(choice.last_tokens or run.batch_sequences * run.seq_len)
    first = whole(choice.first_tokens or last * run.seq_len / SMALLEST_SHARE)
    if first >= last:
        return []
    step = max(
        size for size in range(unit, max(first, unit) + 1, unit) if (last - first) % size == 0
    )
    count = (last - first) // step
    over = choice.over_tokens or run.schedule.warmup_steps * run.batch_sequences * run.seq_len
    each = max(1, round(over / run.seq_len / count))
    if each * count >= run.total_sequences:
        raise InputError(
            f"{OPTION} ramp: {format_count(each * count * run.seq_len)} tokens are not below the "
            f"run's {format_count(run.total_tokens)}; give a smaller over="
        )
    return [(index * each, first + index * step) for index in range(count + 1)]


def stage_of(choice: GrowthChoice, run: RunSpec, first: int, batch: int) -> GrowthStage:
    """One stage: lr by its rule and beta2 by its own, both from the planned batch."""
    ratio = batch / run.batch_sequences
    return GrowthStage(
        from_token=first * run.seq_len,
        batch_sequences=batch,
        lr_factor=LR_RULES[choice.lr_rule](ratio),
        beta2=run.optimizer.beta2
        if choice.beta2_rule == "fixed"
        else float(run.optimizer.beta2**ratio),
    )


def relative_tokens(
    stages: tuple[GrowthStage, ...], run: RunSpec, critical: Callable[[float], float]
) -> float:
    """Progress of the fixed batch over that of the stages, on the same tokens."""
    fixed = growing = 0.0
    ends = [*(stage.from_token for stage in stages[1:]), run.total_tokens]
    for stage, end in zip(stages, ends, strict=True):
        for index in range(SLICES):
            seen = stage.from_token + (index + 0.5) / SLICES * (end - stage.from_token)
            share = (end - stage.from_token) / SLICES
            limit = critical(seen) / run.seq_len
            fixed += share / (1 + run.batch_sequences / limit)
            growing += share / (1 + stage.batch_sequences / limit)
    return fixed / growing


SIZES: dict[
    str, Callable[[GrowthChoice, RunSpec, Callable[[float], float]], list[tuple[int, int]]]
] = {
    "noise-scale": doublings,
    "ramp": equal_steps,
}
"""Kinds of growth: what each makes of a run, as (first sequence, batch)."""
