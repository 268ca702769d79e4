"""The target: which params and tokens a plan is for, from whatever two facts the user gives.

Any two of params, tokens, FLOPs and tokens per param fix the target (C = 6 N D); FLOPs alone are
split by a loss law so that the predicted loss is lowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fitting.errors import InputError
from fitting.units import format_count, format_small

AGREEMENT = 0.02
"""Largest relative disagreement between params, tokens and FLOPs given together."""


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


def resolve_scale(
    *,
    params: float | None,
    tokens: float | None,
    flops: float | None,
    tokens_per_param: float | None,
    loss_coefficients: Mapping[str, float],
) -> tuple[float, float]:
    """Params N and tokens D from the facts given.

    Args:
        params: N, or None.
        tokens: D, or None.
        flops: C = 6 N D, or None.
        tokens_per_param: D / N, or None.
        loss_coefficients: A, B, alpha, beta of a Chinchilla-form loss law, for FLOPs alone.

    Returns:
        (N, D), both above 0.

    Raises:
        InputError: too few facts, or facts that disagree by more than 2%.
    """
    given = {
        "--params": params,
        "--tokens": tokens,
        "--flops": flops,
        "--tokens-per-param": tokens_per_param,
    }
    if flops is not None and params is None and tokens is None and tokens_per_param is None:
        return split_flops(flops, loss_coefficients)
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


def split_flops(flops: float, coefficients: Mapping[str, float]) -> tuple[float, float]:
    """Params and tokens of lowest loss under 6 N D = C.

    N = G (C/6)^(beta/(alpha+beta)), D = (C/6) / N, G = (alpha A / (beta B))^(1/(alpha+beta)).

    Source:
        Hoffmann et al. 2022 (arXiv 2203.15556), eq. 4.
    """
    alpha, beta = coefficients["alpha"], coefficients["beta"]
    ratio = alpha * coefficients["A"] / (beta * coefficients["B"])
    params = ratio ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    return params, flops / 6 / params
