"""Which small models a budget can pay: a family of three or four members at two lengths each.

The members are rungs of a ladder of shapes whose parameters about double; each is trained for half
and for twice the target's tokens per parameter, so that the laws of lr and batch see params and
tokens vary apart. The largest member is the largest whose whole design the budget pays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws.evaluate import evaluate_law
from fitting.units import format_count
from proxies.run.groups import TUNED, base_settings
from proxies.sweep.cells import expand_cells
from proxies.sweep.spec import (
    AxisRange,
    BudgetSpec,
    CorpusSpec,
    ModelSpec,
    RunSettings,
    SearchSpec,
    SweepSpec,
    TargetSpec,
)

if TYPE_CHECKING:
    from fitting.laws.law import Law

LADDER = (
    (32, 1), (48, 1), (64, 1), (96, 1), (96, 2), (128, 3), (128, 6), (192, 6), (256, 6), (256, 10),
    (384, 8), (512, 8), (512, 14), (640, 14), (768, 16), (1024, 16), (1280, 18), (1536, 20),
    (2048, 20),
)  # fmt: skip
"""Width and depth of each rung, 16,000 to 1 billion non-embedding parameters. The narrowest have
one layer: two of that width jump in loss when they learn to copy, and no law holds across that."""

INIT_STD, INIT_WIDTH = 0.02, 512
"""Base std of the initial weights, and the width to which it is usual; narrower ones get more, as
1 / sqrt(width), or they spend their few tokens on leaving zero."""

MEMBERS = 4
"""Of a family: three sizes leave a bend of the law unseen."""

FEWEST_MEMBERS = 3
"""Of the smallest family: two sizes have an exponent and nothing to check it by."""

LENGTHS = (0.5, 2.0)
"""Tokens per parameter of a member's runs over the target's."""

RATIO_BOUNDS = (10.0, 40.0)
"""Tokens per parameter that the lengths are taken around where the target's lies outside: proxies
trained for hundreds of tokens a parameter would spend the budget on one cell."""

RUNS_PER_CELL = 20
"""Runs that a budget is designed for: 160 in 8 cells. On 20 seeds of `python -m
tests.benchmarks.calibrate_oracle` they bring lr and batch to 11%; 70 runs left the batch at 25%."""

SMALLEST_SHARE = 1 / 3
"""Share of its design that the smallest family is begun with: minutes on two cores."""

SEQUENCES = 8
"""Sequences of the smallest expected batch, at least: fewer leave the batch no room to vary."""

SHORTEST = 32
"""Tokens of a sequence below which a proxy learns nothing of its context."""

LR_REACH = (1 / 64, 4.0)
"""Range searched about the law's lr at the dearest and at the cheapest cell. *Assumed*: wider
downwards, since the smallest proxies lie far below the range of any published law."""

BATCH_REACH = (1 / 16, 8.0)
"""The same about the law's batch at the cheapest and at the dearest cell."""

LR_LIMITS = (1e-5, 0.2)
"""No lr outside this is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a calibration is for, as far as its proxies go."""

    params: float
    """Of the target."""
    tokens: float
    """Of the target."""
    seq_len: int
    """Of the target."""
    parametrization: str
    optimizer: str
    corpus: str
    tokenizer: str
    prior: str | None
    """Name of the law that the search starts from; None for none."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the sweep may take, in one of two ways; and the text that it has."""

    flops: float | None
    """6 params tokens, summed over runs; None where time is the limit."""
    seconds: float | None
    """Wall time; None where FLOPs are the limit."""
    corpus_tokens: float
    """Tokens of the corpus that can be trained on without repeating one."""
    interval: float
    """Width of the interval at the target at which the sweep is done."""


Cost = Callable[[SweepSpec], float]
"""What a sweep takes, in FLOPs or seconds as its limit is."""


def design_family(asked: Asked, limits: Limits, law: Law, *, cost: Cost) -> SweepSpec:
    """The largest family whose whole design fits the limits.

    Args:
        asked: what it is for.
        limits: what it may take.
        law: lr and batch by params and tokens, for the ranges that are searched.
        cost: what a sweep takes, in FLOPs or in seconds.

    Returns:
        The sweep; that of the smallest family where the budget pays a third of it or more.

    Raises:
        InputError: the budget does not, or the smallest family wants more text.
    """
    limit = limits.flops if limits.seconds is None else limits.seconds
    if limit is None:
        raise InputError("--budget: neither FLOPs nor a time")
    smallest = next(rising(asked, limits, law), None)
    if smallest is None:
        raise InputError(
            f"--params {format_count(asked.params)}: no family of proxies is smaller; train the "
            "model itself at several lrs"
        )
    wanted = longest_run(smallest)
    if wanted > limits.corpus_tokens:
        raise InputError(
            f"--corpus {asked.corpus}: {format_count(limits.corpus_tokens)} tokens; the smallest "
            f"proxies train on {format_count(wanted)}, and a repeated token is another experiment"
        )
    found = smallest if SMALLEST_SHARE * cost(smallest) <= limit else None
    for spec in rising(asked, limits, law):
        if longest_run(spec) > limits.corpus_tokens or cost(spec) > limit:
            break
        found = spec
    if found is not None:
        return found
    unit = "FLOPs" if limits.seconds is None else "seconds"
    raise InputError(
        f"--budget: {limit:.3g} {unit}; the smallest family takes "
        f"{SMALLEST_SHARE * cost(smallest):.3g}, give at least that"
    )


def longest_run(spec: SweepSpec) -> int:
    """Tokens of the longest run of a sweep."""
    return max(cell.tokens for cell in expand_cells(spec, vocab_size=1))


def rising(asked: Asked, limits: Limits, law: Law) -> Iterator[SweepSpec]:
    """The families that can be had, from the cheapest; the next one has a larger last member."""
    for last in range(FEWEST_MEMBERS, len(LADDER) + 1):
        rungs = LADDER[max(last - MEMBERS, 0) : last]
        if count_rung(rungs[-1]) >= asked.params:
            return
        yield make_spec(rungs, asked, limits, law)


def count_rung(rung: tuple[int, int]) -> float:
    """Non-embedding parameters of a rung, near enough to compare: 12 width^2 depth."""
    width, depth = rung
    return 12.0 * width**2 * depth


def make_spec(
    rungs: tuple[tuple[int, int], ...], asked: Asked, limits: Limits, law: Law
) -> SweepSpec:
    """The sweep of a family."""
    low, high = RATIO_BOUNDS
    ratio = min(max(asked.tokens / asked.params, low), high)
    small, large = count_rung(rungs[0]), count_rung(rungs[-1])
    cheap = point_of(law, small, small * ratio * min(LENGTHS))
    dear = point_of(law, large, large * ratio * max(LENGTHS))
    lrs = sorted((cheap[0], dear[0]))
    seq_len = sequence_length(cheap[1], asked.seq_len)
    tuned = base_settings(asked.parametrization, optimizer=asked.optimizer) == TUNED
    return SweepSpec(
        model=ModelSpec(
            d_model=tuple(width for width, _ in rungs),
            n_layers=tuple(depth for _, depth in rungs),
            head_dim=head_dim_of(rungs),
            parametrization=asked.parametrization,  # type: ignore[arg-type]  # by check_request
            base_d_model=None if tuned or asked.parametrization == "sp" else rungs[0][0],
            base_n_layers=rungs[0][1] if asked.parametrization == "completep" else None,
        ),
        budget=BudgetSpec(
            tokens_per_param=tuple(ratio * length for length in LENGTHS),
            flops=limits.flops,
            wall_time=limits.seconds,
            interval_width=limits.interval,
        ),
        search=SearchSpec(
            lr=AxisRange(
                low=max(lrs[0] * LR_REACH[0], LR_LIMITS[0]),
                high=min(lrs[1] * LR_REACH[1], LR_LIMITS[1]),
            ),
            batch_tokens=AxisRange(
                low=max(cheap[1] * BATCH_REACH[0], float(seq_len)),
                high=dear[1] * BATCH_REACH[1],
            ),
            sampler="target",
            target=TargetSpec(params=asked.params, tokens=asked.tokens),
            law=asked.prior,
            runs_per_cell=RUNS_PER_CELL,
            seed=asked.seed,
        ),
        corpus=CorpusSpec(source=asked.corpus, tokenizer=asked.tokenizer),
        run=RunSettings(
            seq_len=seq_len,
            init_std=None if tuned else init_std_of(rungs, asked.parametrization),
            optimizer=asked.optimizer,  # type: ignore[arg-type]  # by check_request
        ),
    )


def point_of(law: Law, params: float, tokens: float) -> tuple[float, float]:
    """A law's lr and batch at a size.

    Raises:
        InputError: it gives none from params and tokens alone.
    """
    at = {
        "params": params,
        "tokens": tokens,
        "tokens_per_param": tokens / params,
        "flops": 6 * params * tokens,
    }
    batch = law.quantities.get("batch_tokens")
    lr = law.quantities.get("lr")
    batch_tokens = None if batch is None else evaluate_law(batch, at)
    found = (
        None
        if lr is None or batch_tokens is None
        else evaluate_law(lr, at | {"batch_tokens": batch_tokens})
    )
    if found is None or batch_tokens is None:
        raise InputError(
            f"--prior {law.name}: gives no lr and batch from params and tokens; step-law does"
        )
    return found, batch_tokens


def sequence_length(batch_tokens: float, longest: int) -> int:
    """The largest power of two of which `SEQUENCES` fill a batch, the target's at most."""
    room = 1 << math.floor(math.log2(max(batch_tokens / SEQUENCES, SHORTEST)))
    return min(room, longest)


def head_dim_of(rungs: tuple[tuple[int, int], ...]) -> int:
    """The largest head of 16, 32 or 64 features that divides every width at least twice."""
    sizes = (64, 32, 16)
    return next(size for size in sizes if all(w % size == 0 and w >= 2 * size for w, _ in rungs))


def init_std_of(rungs: tuple[tuple[int, int], ...], parametrization: str) -> float:
    """Base std of the weights where none is published, at the family's base.

    That is the smallest width, and under SP the middle of the widths.
    """
    widths = [width for width, _ in rungs]
    width = widths[0] if parametrization != "sp" else math.sqrt(widths[0] * widths[-1])
    return INIT_STD * max(1.0, math.sqrt(INIT_WIDTH / width))
