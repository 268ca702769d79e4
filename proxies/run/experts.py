"""Sparse models: a mixture of experts as the dense shape that one token sees, and its whole count.

Everything that a token costs, FLOPs and most laws' N, is that of the dense shape whose d_ff is the
active experts' together. Memory and total params hold every expert. A layer's router has d_model
times experts weights; the active experts include a shared one, if there is any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fitting.errors import InputError
from fitting.units import format_count
from proxies.run.shape import MLPS, Shape, count_params
from proxies.run.sizing import ChosenShape, choose_shape

EXPERT_STEP = 8
"""An expert's width is a multiple of it; assumed."""

NEAR = 0.03
"""Relative difference up to which a shape's own total counts as the request."""

MOST_EXPERTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """How many experts a layer has and how many of them a token sees."""

    n_experts: int
    active: int
    """Shared ones included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertCounts:
    """What a sparse model comes to; its shape is the dense one that a token sees."""

    n_experts: int
    active_experts: int
    """Experts a token sees."""
    d_ff_expert: int
    """Inner width of one expert."""
    params: int
    """All non-embedding parameters, routers included."""
    total_params: int
    """With embeddings, tied weights once."""
    active_params: int
    """Non-embedding parameters that one token sees, routers included."""
    activation_ratio: float
    """Active over all experts."""


def read_experts(n_experts: int | None, active: int | None) -> Experts | None:
    """What was asked of experts; None where nothing was.

    Raises:
        InputError: one without the other, or counts that are not a sparse model's.
    """
    if n_experts is None and active is None:
        return None
    if n_experts is None or active is None:
        given, missing = ("--active", "--experts") if active else ("--experts", "--active")
        raise InputError(f"{given}: a sparse model needs {missing} too, as --experts 64 --active 8")
    if not 2 <= n_experts <= MOST_EXPERTS:
        raise InputError(f"--experts {n_experts}: must be 2 to {MOST_EXPERTS}")
    if not 1 <= active < n_experts:
        raise InputError(f"--active {active}: must be 1 to {n_experts - 1}, fewer than --experts")
    return Experts(n_experts=n_experts, active=active)


def count_experts(shape: Shape, experts: Experts) -> ExpertCounts:
    """Parameters of a sparse model from the dense shape that a token sees.

    A layer adds (experts - active) MLPs of one expert's width and a router of d_model experts.

    Example:
        >>> mixtral = dict(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128)
        >>> part = count_experts(Shape(**mixtral, d_ff=2 * 14336), Experts(n_experts=8, active=2))
        >>> part.total_params, part.active_params + 2 * 32000 * 4096  # Mixtral 8x7B
        (46702792704, 12879925248)
    """
    width = shape.d_ff // experts.active
    one = MLPS[shape.mlp] * shape.d_model * width
    router = shape.n_layers * shape.d_model * experts.n_experts
    idle = shape.n_layers * (experts.n_experts - experts.active) * one
    dense = count_params(shape)
    return ExpertCounts(
        n_experts=experts.n_experts,
        active_experts=experts.active,
        d_ff_expert=width,
        params=dense.params + idle + router,
        total_params=dense.total_params + idle + router,
        active_params=dense.params + router,
        activation_ratio=experts.active / experts.n_experts,
    )


def sparse_shape(
    experts: Experts, own: ChosenShape | None, params: float | None, *, vocab_size: int, tied: bool
) -> ChosenShape:
    """The dense shape that a token sees, of a model with about `params` in all.

    Args:
        experts: how many, and how many a token sees.
        own: a shape of the user's own; its d_ff is that of the active experts together.
        params: non-embedding parameters in all; None where `own` is given.
        vocab_size: of a chosen shape.
        tied: whether a chosen shape's head is its embedding.

    Raises:
        InputError: neither, both that disagree, or no shape of so many params.
    """
    if own is not None:
        shape = in_experts(own.shape, experts)
        counted = count_experts(shape, experts).params
        if params is not None and abs(params / counted - 1) > NEAR:
            raise InputError(
                f"--params {format_count(params)}: the shape and its experts have "
                f"{format_count(counted)} non-embedding parameters; leave --params out"
            )
        return ChosenShape(shape=shape, reason=own.reason)
    if params is None:
        raise InputError(
            "--experts: give --params, all of the model's (plan --params 3B --tokens 20B "
            "--experts 64 --active 8), or a shape of your own"
        )
    active = params / (1 / 3 + 2 / 3 * experts.n_experts / experts.active)
    usual = choose_shape(active, vocab_size=vocab_size, tied_embeddings=tied).shape
    # Width and depth are those of the active params; the experts' width makes up the total.
    narrow = replace(usual, d_ff=EXPERT_STEP * experts.active)
    part = count_experts(narrow, experts)
    one = usual.n_layers * experts.n_experts * MLPS[usual.mlp] * usual.d_model
    width = EXPERT_STEP + (params - part.params) / one
    found = in_experts(replace(usual, d_ff=max(1, round(width * experts.active))), experts)
    share = count_experts(found, experts).params / params - 1
    side = "over" if share > 0 else "under"
    return ChosenShape(
        shape=found,
        reason=f"{found.n_layers} layers of {found.d_model:,}, the usual shape of "
        f"{format_count(active)} params, its MLP in {experts.active} experts; in all "
        f"{100 * abs(share):.1f}% {side} the request",
    )


def in_experts(shape: Shape, experts: Experts) -> Shape:
    """The shape with a d_ff that its active experts share evenly, in widths of whole steps."""
    width = max(1, round(shape.d_ff / experts.active / EXPERT_STEP)) * EXPERT_STEP
    return replace(shape, d_ff=width * experts.active)
