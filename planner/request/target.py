"""The target: which params and tokens a plan is for, from whatever two facts the user gives.

Any two of params, tokens, FLOPs and tokens per param fix the target (C = 6 N D); FLOPs alone are
split by a loss law so that the predicted loss is lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import format_count, format_small
from proxies.run.defaults import AGREEMENT, PARAMS_BOUNDS, TOKENS_BOUNDS

if TYPE_CHECKING:
    from fitting.laws.law import Law


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be trained."""

    params: float
    """Non-embedding parameters N, as requested: what the laws see."""
    tokens: float
    """Training tokens D."""
    seq_len: int
    """Tokens a sequence."""
    vocab_size: int

    @property
    def flops(self) -> float:
        """6 N D."""
        return 6 * self.params * self.tokens

    @property
    def tokens_per_param(self) -> float:
        """D / N."""
        return self.tokens / self.params


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What was asked of the size of a run, in any two facts; None where it was left out."""

    params: float | None = None
    """Non-embedding; of a sparse model all of them."""
    tokens: float | None = None
    flops: float | None = None
    """6 N D."""
    tokens_per_param: float | None = None
    seq_len: int | None = None
    """Tokens a sequence; None for the model's own, or 2,048."""


def resolve_scale(asked: Scale, *, loss_law: Law) -> tuple[float, float]:
    """Params N and tokens D from the facts given.

    Args:
        asked: what was given; of a sparse model params are those that a token sees.
        loss_law: a law whose loss splits FLOPs given alone; of the form `chinchilla`.

    Returns:
        (N, D), within their bounds.

    Raises:
        InputError: too few facts, a loss law that cannot split FLOPs, facts that disagree by more
            than 2%, or out of bounds.
    """
    params, tokens = asked.params, asked.tokens
    flops, tokens_per_param = asked.flops, asked.tokens_per_param
    given = {
        "--params": params,
        "--tokens": tokens,
        "--flops": flops,
        "--tokens-per-param": tokens_per_param,
    }
    if flops is not None and params is None and tokens is None and tokens_per_param is None:
        return check_scale(split_flops(flops, loss_law))
    if params is not None:
        found = tokens or known(flops, 6 * params) or known(tokens_per_param, 1 / params)
        scale = None if found is None else (params, found)
    elif tokens is not None:
        found = known(flops, 6 * tokens)
        found = tokens / tokens_per_param if found is None and tokens_per_param else found
        scale = None if found is None else (found, tokens)
    elif flops is not None and tokens_per_param is not None:
        solved = (flops / (6 * tokens_per_param)) ** 0.5
        scale = (solved, solved * tokens_per_param)
    else:
        scale = None
    if scale is None:
        have = ", ".join(name for name, value in given.items() if value is not None) or "nothing"
        raise InputError(
            f"target: {have} given; give two of --params, --tokens, --flops, --tokens-per-param, "
            "or --flops alone (plan --params 1B --tokens 20B)"
        )
    check_agreement(scale, flops=flops, tokens_per_param=tokens_per_param)
    return check_scale(scale)


def check_scale(scale: tuple[float, float]) -> tuple[float, float]:
    """The params and tokens, if a run of them can be thought of.

    Raises:
        InputError: which of the two is out of bounds, and the bounds.
    """
    for name, value, (low, high) in zip(
        ("params", "tokens"), scale, (PARAMS_BOUNDS, TOKENS_BOUNDS), strict=True
    ):
        if not low <= value <= high:
            raise InputError(
                f"target: {name} {value:.4g} out of bounds; a run has {format_count(low)} to "
                f"{format_count(high)}"
            )
    return scale


def known(value: float | None, divisor: float) -> float | None:
    """`value / divisor`, or None where the value is not given."""
    return None if value is None else value / divisor


def check_agreement(
    scale: tuple[float, float], *, flops: float | None, tokens_per_param: float | None
) -> None:
    """Refuse facts that disagree with params and tokens by more than 2%.

    Raises:
        InputError: with the arithmetic.
    """
    params, tokens = scale
    made = {
        "--flops": (flops, 6 * params * tokens, "6 x params x tokens"),
        "--tokens-per-param": (tokens_per_param, tokens / params, "tokens / params"),
    }
    for name, (value, expected, rule) in made.items():
        if value is not None and abs(value / expected - 1) > AGREEMENT:
            raise InputError(
                f"{name} {format_small(value)}: {rule} = {format_small(expected)} for "
                f"{format_count(params)} params and {format_count(tokens)} tokens, "
                f"{100 * abs(value / expected - 1):.0f}% away; leave one of them out"
            )


def split_flops(flops: float, law: Law) -> tuple[float, float]:
    """Params and tokens of lowest loss under 6 N D = C.

    N = G (C/6)^(beta/(alpha+beta)), D = (C/6) / N, G = (alpha A / (beta B))^(1/(alpha+beta)).

    Source:
        Hoffmann et al. 2022 (arXiv 2203.15556), eq. 4.
    """
    loss = law.quantities["loss"]
    if loss.form != "chinchilla":
        raise InputError(
            f"--flops: loss law {law.name} has the form {loss.form}, whose best split has no "
            "closed form; give --params or --tokens-per-param too"
        )
    coefficients = loss.coefficients
    alpha, beta = coefficients["alpha"], coefficients["beta"]
    if alpha <= 0 or beta <= 0:
        raise InputError(
            f"--flops: the loss law does not fall with params and tokens (alpha {alpha:g}, beta "
            f"{beta:g}), so no split is best; give --params too"
        )
    ratio = alpha * coefficients["A"] / (beta * coefficients["B"])
    params = ratio ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    return params, flops / 6 / params
