"""How many sequences each update takes: fixed, ramped, grown in stages or as gradient noise asks.

    fixed        B
    ramp         linear in tokens seen, from the first batch to the largest
    norm-test    B' = max(B, ceil(tr(Sigma) / (theta^2 |g_B|^2)))
    adadagrad    the same with both norms divided, coordinate by coordinate, by Adam's sqrt(v)
    noise-scale  B' = noise_fraction tr(Sigma) / |G|^2, both terms smoothed; it may shrink again

Sequences and tokens are counted; a run of T tokens has exactly ceil(T / seq_len) sequences, and
its last update takes what is left. With fixed and ramped batches the number of updates is known,
and update k = 1..S uses lr(k). An adaptive batch is not known ahead: there the lr follows the
tokens, lr(s) at s = S tokens_seen / tokens, tokens counted with the update itself.

The norm tests take the batch's own norm, |G|^2 + tr(Sigma) / B in the mean, as published: under a
slowly falling |G| the batch follows tr(Sigma) (1 / theta^2 - 1) / |G|^2. It never shrinks, so
noise pushes it up only: by up to 12% at theta 0.5 and 21% at 0.7 on a quadratic of 1,024
dimensions (measured, tests/proxies/train/test_adaptive_batch.py).

Sources: Brown et al. 2020 (arXiv 2005.14165), ramp; Lau et al. 2024 (arXiv 2402.11215), norm
tests, of which the coordinate-wise form is recalled; McCandlish et al. 2018 (arXiv 1812.06162).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.run.gradient_noise import GradientNorms, NoiseEstimate, split_norms, update_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST_GROWTH = 2.0
"""Ratio of an adaptive batch to the one before: one noisy estimate at most doubles it. *Assumed*,
to be tested by a sweep of it on a real run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """The batch of a run against its tokens and its gradient's noise; checked when it is made."""

    kind: str = "fixed"
    """A key of `KINDS`."""
    sequences: int
    """Sequences of the first update, and the fewest of any but the last; at least 1."""
    max_sequences: int | None = None
    """Most sequences of an update; None for a fixed batch, needed by the others."""
    ramp_tokens: int | None = None
    """ramp only: tokens after which the batch is the largest, at least 1."""
    theta: float = 0.5
    """Norm tests: noise over norm of the gradient that is borne, in (0, 1)."""
    noise_fraction: float = 1.0
    """noise-scale: batch over noise scale, > 0."""
    ema_decay: float = 0.9
    """Smoothing of the measured noise, in [0, 1), an update each."""
    multiple: int = 1
    """Batches between the first and the largest are rounded up to a multiple of this."""
    lr_rule: str = "sqrt"
    """A key of `LR_RULES`: how the lr follows the batch."""
    lr_sequences: int | None = None
    """Batch at which the run's lr holds; None for `sequences`."""

    def __post_init__(self) -> None:
        """Refuse what no run can have."""
        check_batching(self)

    @property
    def adaptive(self) -> bool:
        """Whether the batch follows the gradient, so that the lr must follow the tokens."""
        return KINDS[self.kind] is not None

    @property
    def preconditioned(self) -> bool:
        """Whether its norms are those of Adam's preconditioned gradient."""
        return self.kind == "adadagrad"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStage:
    """A batch and what goes with it, from a token on.

    It holds from the first update that starts at or after its first token until the next one's
    does; the last update takes what is left. The lr of an update is the schedule's, which follows
    the tokens, times the stage's factor.
    """

    from_token: int
    """Whole sequences; 0 for the first stage."""
    batch_sequences: int
    lr_factor: float
    """On the lr of the schedule, which holds at the planned batch."""
    beta2: float


@dataclass(frozen=True, slots=True)
class BatchState:
    """What an adaptive batch has learnt so far."""

    sequences: int
    """Sequences that the next update would take, before ramp and end of the run."""
    noise: NoiseEstimate = field(default_factory=NoiseEstimate)
    """Smoothed noise of the gradient, of a fixed batch too where it is measured."""


def check_batching(batching: Batching) -> None:
    """Refuse a batch schedule that no run can have.

    Raises:
        InputError: an unknown name, a value out of range, or a bound that the kind lacks.
    """
    for what, value, known in (
        ("batching", batching.kind, KINDS),
        ("lr rule", batching.lr_rule, LR_RULES),
    ):
        if value not in known:
            raise InputError(
                f"{what} '{value}': not known{nearest_name(value, known)}; "
                f"known: {', '.join(known)}"
            )
    _check_bounds(batching, where=f"batching {batching.kind}")
    _check_constants(batching, where=f"batching {batching.kind}")


def next_sequences(batching: Batching, state: BatchState, *, tokens_seen: int) -> int:
    """Sequences of the next update; the run's end may cut it.

    Args:
        batching: the rule.
        state: what an adaptive rule has learnt.
        tokens_seen: tokens before this update, >= 0.

    Example:
        >>> ramp = Batching(kind="ramp", sequences=8, max_sequences=24, ramp_tokens=1000)
        >>> [next_sequences(ramp, BatchState(8), tokens_seen=seen) for seen in (0, 500, 2000)]
        [8, 16, 24]
    """
    if batching.max_sequences is None:
        return batching.sequences
    if batching.ramp_tokens is None:
        return state.sequences
    done = min(1.0, tokens_seen / batching.ramp_tokens)
    wanted = batching.sequences + done * (batching.max_sequences - batching.sequences)
    return bound_sequences(batching, wanted)


def observe(batching: Batching, state: BatchState, norms: GradientNorms) -> BatchState:
    """The state after an update whose gradient norms were measured.

    An adaptive batch at most doubles at once, and stays where the norms cannot be told from
    noise. Fixed and ramped batches only keep the smoothed noise scale.

    Raises:
        InputError: the batch was a single micro-batch.
    """
    state = replace(state, noise=update_noise(state.noise, norms, ema_decay=batching.ema_decay))
    rule = KINDS[batching.kind]
    wanted = None if rule is None else rule(batching, state, norms)
    if wanted is None:
        return state
    wanted = min(wanted, LARGEST_GROWTH * state.sequences)
    return replace(state, sequences=bound_sequences(batching, wanted))


def bound_sequences(batching: Batching, wanted: float) -> int:
    """`wanted` rounded up to a whole multiple, between the first batch and the largest."""
    rounded = math.ceil(wanted / batching.multiple) * batching.multiple
    return max(batching.sequences, min(rounded, batching.max_sequences or rounded))


def lr_factor(batching: Batching, sequences: int) -> float:
    """What the lr is multiplied with in an update of `sequences`.

    sqrt: sqrt(B / B0), for Adam-like optimizers below the critical batch; linear: B / B0, for
    SGD; none: 1. A fixed batch has the lr that was asked for, in its last, shorter update too.

    Example:
        >>> growing = Batching(kind="norm-test", sequences=8, max_sequences=64)
        >>> lr_factor(growing, 32)
        2.0
    """
    if batching.kind == "fixed":
        return 1.0
    return LR_RULES[batching.lr_rule](sequences / (batching.lr_sequences or batching.sequences))


def count_sequences(tokens: int, *, seq_len: int) -> int:
    """Sequences of a run of `tokens`: ceil(tokens / seq_len)."""
    return -(-tokens // seq_len)


def count_steps(batching: Batching, *, tokens: int, seq_len: int) -> int:
    """Updates of a run whose batch is known ahead; the last takes what is left.

    Args:
        batching: fixed or ramp.
        tokens: of the run, at least 1.
        seq_len: tokens of a sequence, at least 1.

    Raises:
        InputError: an adaptive batch, whose number of updates only the run can tell.

    Example:
        >>> count_steps(Batching(sequences=10), tokens=1050, seq_len=10)
        11
    """
    if batching.adaptive:
        raise InputError(
            f"batching {batching.kind}: the number of updates is not known ahead; "
            "its lr follows the tokens, give the schedule any number of steps"
        )
    total = count_sequences(tokens, seq_len=seq_len)
    if batching.kind == "fixed":
        return -(-total // batching.sequences)
    state, seen, steps = BatchState(batching.sequences), 0, 0
    while seen < total:
        seen += next_sequences(batching, state, tokens_seen=seen * seq_len)
        steps += 1
    return steps


def count_tokens(batching: Batching, *, steps: int, seq_len: int) -> int:
    """Tokens of the first `steps` whole updates of a fixed or ramped batch."""
    if batching.kind == "fixed":
        return steps * batching.sequences * seq_len
    state, seen = BatchState(batching.sequences), 0
    for _ in range(steps):
        seen += next_sequences(batching, state, tokens_seen=seen * seq_len)
    return seen * seq_len


def count_updates(stages: tuple[GrowthStage, ...], *, sequences: int, seq_len: int) -> int:
    """Updates of a run of so many sequences under stages.

    Example:
        >>> two = (
        ...     GrowthStage(from_token=0, batch_sequences=2, lr_factor=1.0, beta2=0.95),
        ...     GrowthStage(from_token=50, batch_sequences=4, lr_factor=1.0, beta2=0.95),
        ... )
        >>> count_updates(two, sequences=14, seq_len=10)
        5
    """
    seen = updates = 0
    ends = [stage.from_token // seq_len for stage in stages[1:]]
    for stage, end in zip(stages, [*ends, sequences], strict=True):
        more = max(0, -(-(min(end, sequences) - seen) // stage.batch_sequences))
        seen += more * stage.batch_sequences
        updates += more
    return updates


def check_stages(stages: tuple[GrowthStage, ...], *, seq_len: int) -> None:
    """Refuse stages that no run can have, as after an edit by hand.

    Raises:
        InputError: which stage, and why.
    """
    if stages and stages[0].from_token != 0:
        raise InputError("the plan's batch_growth: the first stage must start at token 0")
    for stage in stages:
        if stage.batch_sequences < 1 or not 0 < stage.lr_factor < 1e6 or not 0 <= stage.beta2 < 1:
            raise InputError(f"the plan's batch_growth: {stage} is no stage of a run")
        if stage.from_token % seq_len:
            raise InputError(
                f"the plan's batch_growth: token {stage.from_token} is not whole sequences of "
                f"{seq_len}"
            )
    for before, after in pairwise(stages):
        if after.from_token <= before.from_token:
            raise InputError(
                f"the plan's batch_growth: token {after.from_token} does not follow "
                f"{before.from_token}"
            )


def describe_stages(stages: tuple[GrowthStage, ...]) -> str:
    """`54, 108 from token 18,841,600, ...` in sequences."""
    words = [f"{stages[0].batch_sequences} sequences"]
    words += [f"{stage.batch_sequences} from token {stage.from_token:,}" for stage in stages[1:]]
    return ", ".join(words)


def _check_bounds(batching: Batching, *, where: str) -> None:
    """Refuse sizes out of order, and those that the kind does not have."""
    largest = batching.max_sequences
    if batching.sequences < 1 or batching.multiple < 1:
        raise InputError(
            f"{where}: {batching.sequences} sequences in multiples of {batching.multiple}; "
            "both at least 1"
        )
    if batching.kind == "fixed":
        if largest is not None:
            raise InputError(f"{where}: largest batch {largest}, but it never grows; use ramp")
    elif largest is None or largest < batching.sequences:
        raise InputError(
            f"{where}: largest batch {largest} for a first one of {batching.sequences} sequences; "
            "at least as large"
        )
    if (batching.kind == "ramp") != (batching.ramp_tokens is not None):
        raise InputError(f"{where}: ramp tokens {batching.ramp_tokens}; a ramp has them, no other")
    if batching.ramp_tokens is not None and batching.ramp_tokens < 1:
        raise InputError(f"{where}: ramp tokens {batching.ramp_tokens}; at least 1")


def _check_constants(batching: Batching, *, where: str) -> None:
    """Refuse constants out of range."""
    if not 0 < batching.theta < 1:
        raise InputError(f"{where}: theta {batching.theta}; between 0 and 1")
    if not 0 < batching.noise_fraction < math.inf:
        raise InputError(f"{where}: noise fraction {batching.noise_fraction}; a number above 0")
    if not 0 <= batching.ema_decay < 1:
        raise InputError(f"{where}: ema decay {batching.ema_decay}; from 0 to below 1")
    if batching.lr_sequences is not None and batching.lr_sequences < 1:
        raise InputError(f"{where}: lr at {batching.lr_sequences} sequences; at least 1")


def _norm_test(batching: Batching, state: BatchState, norms: GradientNorms) -> float | None:
    trace, _ = split_norms(norms)
    # The product, for a tiny norm times theta^2 may be 0.
    borne = batching.theta**2 * norms.big_norm_sq
    return None if borne <= 0 else max(state.sequences, trace / borne)


def _noise_scale(batching: Batching, state: BatchState, _norms: GradientNorms) -> float | None:
    scale = state.noise.noise_scale
    return None if scale is None else batching.noise_fraction * scale


KINDS: Mapping[str, Callable[[Batching, BatchState, GradientNorms], float | None] | None] = {
    "fixed": None,
    "ramp": None,
    "norm-test": _norm_test,
    "adadagrad": _norm_test,
    "noise-scale": _noise_scale,
}
"""A batch schedule by name: what an adaptive one wants next, in sequences; None to stay."""

LR_RULES: Mapping[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "linear": lambda ratio: ratio,
    "none": lambda _ratio: 1.0,
}
"""How the lr follows the batch, by the ratio of the batch to that at which the lr holds."""
