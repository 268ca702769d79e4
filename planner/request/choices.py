"""What a user fixes or asks for beside the target: pins, laws, optimizer, parametrization."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from planner.facts.anchor import Anchor
from planner.request.growth import GrowthChoice
from proxies.run.defaults import LR_BOUNDS, SCHEDULE, WEIGHT_DECAY_BOUNDS
from proxies.run.experts import Experts
from proxies.run.parametrization import OPTIMIZERS, RULES
from proxies.run.schedule import KINDS, NOT_FOR_PLANS
from proxies.run.shape import LARGEST_WIDTH

if TYPE_CHECKING:
    from planner.request.target import Target

ROUNDINGS = ("none", "pow2")

BEST = "best"
"""The schedule that a curve law chooses; the plan says what it is."""

PRICE_BOUNDS = (1e-6, 1e6)
"""Of a GPU-hour, in any currency."""

LARGEST_BATCH = 1e12
"""Tokens a batch, above every published one by four orders."""


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
    schedule: str = SCHEDULE
    curve: Path | None = None
    """File of the curve law that chooses the schedule `best`; None for the others."""
    checkpoint_tokens: tuple[float, ...] = ()
    """Budgets of WSD-S, in tokens, rising; empty for the others."""
    gpus: str | None = None
    """As typed: `8xH100`, `H100` or `8`."""
    price: float | None = None
    """Of a GPU-hour, in any currency; None for no cost."""
    unique_tokens: float | None = None
    """Distinct tokens of the data; None for at least as many as are trained on."""
    experts: Experts | None = None
    """Experts of a sparse model; None for a dense one."""
    anchors: tuple[Anchor, ...] = ()
    """Models tuned in the user's own setup, which fix the level of the laws."""
    batch_growth: GrowthChoice | None = None
    """How the batch grows during the run; None for a fixed one."""


def check_choices(choices: Choices, target: Target) -> None:
    """Refuse choices that are unknown, out of bounds or at odds with the target.

    Raises:
        InputError: naming the option, what is wrong and what would be right.
    """
    check_names(choices)
    check_base(choices)
    check_pins(choices.pins, target)
    check_range("--price", choices.price, PRICE_BOUNDS)
    if choices.price is not None and choices.gpus is None:
        raise InputError(f"--price {choices.price:g}: prices GPU-hours; add --gpus, as 8xH100")
    if target.tokens < target.seq_len:
        raise InputError(
            f"--tokens {target.tokens:.6g}: less than one sequence of {target.seq_len} tokens"
        )
    if choices.unique_tokens is not None and choices.unique_tokens < target.seq_len:
        raise InputError(
            f"--unique-tokens {choices.unique_tokens:.6g}: less than one sequence of "
            f"{target.seq_len} tokens"
        )


def check_names(choices: Choices) -> None:
    """Refuse unknown names.

    Raises:
        InputError: the option, the nearest name and all of them.
    """
    if choices.schedule in NOT_FOR_PLANS:
        raise InputError(
            f"--schedule {choices.schedule}: needs {NOT_FOR_PLANS[choices.schedule]}, which a plan "
            f"does not have; plan schedule makes it"
        )
    if choices.schedule == BEST and choices.curve is None:
        raise InputError("--schedule best: needs --curve CURVE.toml (plan curve fit writes one)")
    if choices.curve is not None and choices.schedule != BEST:
        raise InputError(f"--curve {choices.curve}: has no use but for --schedule best; add that")
    schedules = [BEST, *(kind for kind in KINDS if kind not in NOT_FOR_PLANS)]
    for option, value, allowed in (
        ("--optimizer", choices.optimizer, OPTIMIZERS),
        ("--parametrization", choices.parametrization, RULES),
        ("--schedule", choices.schedule, schedules),
        ("--round-batch", choices.round_batch, ROUNDINGS),
    ):
        if value not in allowed:
            raise InputError(
                f"{option} '{value}': not known{nearest_name(value, allowed)}; "
                f"one of {', '.join(allowed)}"
            )


def check_pins(pins: Pins, target: Target) -> None:
    """Refuse pins out of bounds, or at odds with each other or the target.

    Raises:
        InputError: naming the option.
    """
    check_range("--lr", pins.lr, LR_BOUNDS)
    check_range("--weight-decay", pins.weight_decay, WEIGHT_DECAY_BOUNDS)
    if pins.warmup_steps is not None and pins.warmup_steps < 0:
        raise InputError(f"--warmup {pins.warmup_steps}: must be 0 steps or more")
    if pins.steps is not None:
        check_steps(pins.steps, target)
    if pins.batch_tokens is None:
        return
    if pins.steps is not None:
        raise InputError("--steps: --batch is given too, and either fixes the other; leave one out")
    most = min(target.tokens, LARGEST_BATCH)
    if not target.seq_len <= pins.batch_tokens <= most:
        raise InputError(
            f"--batch {pins.batch_tokens:.6g}: must be from one sequence of {target.seq_len} "
            f"tokens to {most:.6g}; the batch is in tokens"
        )


def check_steps(steps: int, target: Target) -> None:
    """Refuse pinned steps that the run does not have.

    Raises:
        InputError: with the arithmetic.
    """
    if not 2 <= steps <= target.tokens / target.seq_len:
        raise InputError(
            f"--steps {steps}: must be from 2 to {target.tokens / target.seq_len:.6g}, which is "
            f"{target.tokens:.6g} tokens in sequences of {target.seq_len}"
        )


def check_base(choices: Choices) -> None:
    """Refuse a base shape that is no size or that the parametrization has no use for.

    Raises:
        InputError: naming the option.
    """
    uses = {"sp": (), "mup": ("--base-width", "--base-head-dim")}
    for option, size in (
        ("--base-width", choices.base_d_model),
        ("--base-layers", choices.base_n_layers),
        ("--base-head-dim", choices.base_head_dim),
    ):
        if size is None:
            continue
        if not 1 <= size <= LARGEST_WIDTH:
            raise InputError(f"{option} {size}: must be 1 to {LARGEST_WIDTH}")
        if option not in uses.get(choices.parametrization, (option,)):
            raise InputError(
                f"{option} {size}: parametrization {choices.parametrization} has no use for it; "
                "add --parametrization completep or mup, or leave it out"
            )


def check_range(option: str, value: float | None, bounds: tuple[float, float]) -> None:
    """Refuse a pinned number outside its bounds.

    Raises:
        InputError: with the value.
    """
    low, high = bounds
    if value is not None and not low <= value <= high:
        raise InputError(f"{option} {value:.6g}: must be {low:g} to {high:g}")
