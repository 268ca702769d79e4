"""What a user fixes or asks for beside the target: pins, laws, optimizer, parametrization."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.parametrization import OPTIMIZERS, RULES

if TYPE_CHECKING:
    from planner.target import Target

ROUNDINGS = ("none", "pow2")

HIGHEST_LR = 1.0
"""A pinned lr above this is taken for a slip: no published run of these optimizers used one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Numbers that the user has fixed; None means that the plan decides."""

    lr: float | None = None
    batch_tokens: float | None = None
    weight_decay: float | None = None
    steps: int | None = None
    warmup_steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Everything but the target and the shape; the defaults are those of the plan."""

    pins: Pins = field(default_factory=Pins)
    law: str | None = None
    """Law to take every quantity from that it has; None for the defaults."""
    round_batch: str = "none"
    """`none`: whole sequences; `pow2`: a power of two of sequences."""
    optimizer: str = "adamw"
    parametrization: str = "sp"
    base_d_model: int | None = None
    """Base width of muP and CompleteP; None for 256."""
    base_n_layers: int | None = None
    """Base depth of CompleteP; None for the target's own."""
    base_head_dim: int | None = None
    """Base head dim of muP and CompleteP; None for the target's own."""
    schedule: str = "wsd"
    checkpoint_tokens: tuple[float, ...] = ()
    """Budgets of WSD-S, in tokens, rising; empty for the others."""
    gpus: str | None = None
    """As typed: `8xH100`, `H100` or `8`."""
    unique_tokens: float | None = None
    """Distinct tokens of the data; None for at least as many as are trained on."""


def check_choices(choices: Choices, target: Target) -> None:
    """Refuse choices that are unknown, out of bounds or at odds with the target.

    Raises:
        InputError: naming the option, what is wrong and what would be right.
    """
    for option, value, allowed in (
        ("--optimizer", choices.optimizer, OPTIMIZERS),
        ("--parametrization", choices.parametrization, RULES),
        ("--round-batch", choices.round_batch, ROUNDINGS),
    ):
        if value not in allowed:
            raise InputError(
                f"{option} '{value}': not known{nearest_name(value, allowed)}; "
                f"one of {', '.join(allowed)}"
            )
    pins = choices.pins
    check_range("--lr", pins.lr, HIGHEST_LR, "a peak learning rate")
    check_range("--weight-decay", pins.weight_decay, 100.0, "a weight decay")
    if pins.steps is not None and pins.steps < 1:
        raise InputError(f"--steps {pins.steps}: must be at least 1")
    if pins.batch_tokens is not None and pins.steps is not None:
        raise InputError("--steps: --batch is given too, and either fixes the other; leave one out")
    if pins.batch_tokens is not None and pins.batch_tokens > target.tokens:
        raise InputError(
            f"--batch {pins.batch_tokens:.6g}: more than the {target.tokens:.6g} tokens of the run"
        )
    if pins.batch_tokens is not None and pins.batch_tokens < target.seq_len:
        raise InputError(
            f"--batch {pins.batch_tokens:.6g}: less than one sequence of {target.seq_len} tokens; "
            "the batch is in tokens"
        )
    if pins.steps is not None and pins.steps * target.seq_len > target.tokens:
        raise InputError(
            f"--steps {pins.steps}: {pins.steps} x one sequence of {target.seq_len} tokens is more "
            f"than the {target.tokens:.6g} tokens of the run"
        )
    if target.tokens < target.seq_len:
        raise InputError(
            f"--tokens {target.tokens:.6g}: less than one sequence of {target.seq_len} tokens"
        )


def check_range(option: str, value: float | None, highest: float, what: str) -> None:
    """Refuse a pinned number that is not above 0 and at most `highest`.

    Raises:
        InputError: with the value.
    """
    if value is not None and not (math.isfinite(value) and 0 < value <= highest):
        raise InputError(f"{option} {value:.6g}: {what} lies above 0 and at most {highest:g}")
