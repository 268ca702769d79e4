"""What a decoder-only transformer is made of, and what that costs in parameters and FLOPs.

A shape names the sizes and the parts that the parameter count depends on. A layer is attention
and an MLP with one norm each; one norm follows the last layer. Where the norms sit, whether the
two branches run in parallel and how much of a head rotates change no count and are not here.
"""

from __future__ import annotations

from dataclasses import dataclass

from fitting.errors import InputError, nearest_name
from proxies.run.defaults import VOCAB_SIZE

MLPS = {"swiglu": 3, "geglu": 3, "gelu": 2, "relu": 2, "relu2": 2}
"""Matrices of d_model x d_ff in an MLP: gated ones (gate, up, down) have 3, others (up, down) 2."""

LARGEST_WIDTH = 10_000_000
"""Bound of every width and count of a shape: no vocabulary comes near, and products stay finite."""

NORMS = {
    "rmsnorm": 1,
    "layernorm": 2,
    "layernorm-without-bias": 1,
    "layernorm-without-parameters": 0,
    "rmsnorm-without-parameters": 0,
}
"""Parameters a feature of each norm: weight and bias, weight alone, or none."""

BIASES = ("none", "qkv", "all")
"""Which matrices of a layer have a bias; the output head never has one."""

POSITIONS = ("rope", "learned", "none")
"""How a token knows its place; a learned table counts to `total_params` only."""

QK_NORMS = ("none", "per-head", "full-width")
"""Norms on queries and keys: none, one of head_dim each (Qwen3), or of all heads (OLMo-2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes and parts of one model; the defaults are the LLaMA family's."""

    d_model: int
    """Width of the residual stream, features."""
    n_layers: int
    """Layers, each of attention and MLP."""
    n_heads: int
    """Query heads."""
    n_kv_heads: int
    """Key and value heads; divides `n_heads`."""
    head_dim: int
    """Features a head; `n_heads` times it may differ from `d_model` (Qwen3 0.6B: 2,048, 1,024)."""
    d_ff: int
    """Inner width of the MLP, of one of gate and up where it is gated."""
    vocab_size: int = VOCAB_SIZE
    """Rows of the embedding as stored, with padding."""
    tied_embeddings: bool = False
    """Whether the output head is the token embedding."""
    mlp: str = "swiglu"
    """A key of `MLPS`."""
    norm: str = "rmsnorm"
    """A key of `NORMS`; norms on queries and keys are of the same kind."""
    norm_eps: float = 1e-5
    """Added to the variance in a norm, > 0 (LLaMA's; assumed where a model does not say)."""
    biases: str = "none"
    """One of `BIASES`."""
    positions: str = "rope"
    """One of `POSITIONS`."""
    n_positions: int | None = None
    """Rows of the learned table; None unless `positions` is learned."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths, > 0; means nothing unless `positions` is rope."""
    qk_norm: str = "none"
    """One of `QK_NORMS`."""


@dataclass(frozen=True, slots=True)
class ParamCount:
    """Exact numbers of trained parameters."""

    params: int
    """All weights but token embedding, positions and output head; norms and biases count."""
    total_params: int
    """Everything, tied weights once."""


def count_params(shape: Shape) -> ParamCount:
    """Parameters of `shape`, without and with embeddings.

    A layer has q and o (2 d_model n_heads head_dim), k and v (2 d_model n_kv_heads head_dim), 2 or
    3 matrices of d_model d_ff, their biases, two norms and the norms of queries and keys. One norm
    more follows the last layer. Buffers, such as rotary tables, are not parameters.

    Example:
        >>> tiny = dict(d_model=2048, n_layers=22, n_heads=32, n_kv_heads=4, head_dim=64)
        >>> count_params(Shape(**tiny, d_ff=5632))  # TinyLlama
        ParamCount(params=968976384, total_params=1100048384)
    """
    q_width = shape.n_heads * shape.head_dim
    kv_width = shape.n_kv_heads * shape.head_dim
    matrices = MLPS[shape.mlp]
    norm = NORMS[shape.norm]
    attention = shape.d_model * (2 * q_width + 2 * kv_width)
    mlp = matrices * shape.d_model * shape.d_ff
    biases = {
        "none": 0,
        "qkv": q_width + 2 * kv_width,
        "all": q_width + 2 * kv_width + shape.d_model + (matrices - 1) * shape.d_ff + shape.d_model,
    }[shape.biases]
    qk_norm = {
        "none": 0,
        "per-head": 2 * shape.head_dim,
        "full-width": q_width + kv_width,
    }[shape.qk_norm]
    layer = attention + mlp + biases + norm * (2 * shape.d_model + qk_norm)
    params = shape.n_layers * layer + norm * shape.d_model
    embeddings = shape.vocab_size * shape.d_model * (1 if shape.tied_embeddings else 2)
    positions = (shape.n_positions or 0) * shape.d_model
    return ParamCount(params=params, total_params=params + embeddings + positions)


def flops_per_token(shape: Shape, *, seq_len: int) -> float:
    """FLOPs of one token in training, forward and backward: for time and utilisation only.

    6 params + 6 n_layers n_heads head_dim seq_len + 6 vocab_size d_model

    Counted: 2 FLOPs a weight forward and 4 backward, for all of `params` and for the output head
    (tied or not: the matrix product is the same); the two attention products, causal, so that a
    token sees half of `seq_len` on average. Not counted: the embedding look-up, softmax, rotation,
    the activation of the MLP, recomputation. Norms and biases are in `params` and are counted as
    if they multiplied, which adds less than 0.1% from d_model 512 on. A law's or a budget's flops
    are 6 params tokens, without the last two terms.

    Args:
        shape: the model.
        seq_len: tokens of a training sequence, > 0.
    """
    params = count_params(shape).params
    attention = shape.n_layers * shape.n_heads * shape.head_dim * seq_len
    head = shape.vocab_size * shape.d_model
    return 6.0 * (params + attention + head)


def check_shape(shape: Shape, *, where: str = "shape") -> None:
    """Refuse a shape that no model can have.

    An odd head dim is no contradiction: it cannot be rotated whole, which a plan warns of.

    Args:
        shape: what was asked for.
        where: option, file or key it came from, for the message.

    Raises:
        InputError: a size that is not a whole number above 0, kv heads that do not divide the
            heads, an unknown part, or learned positions without their number.
    """
    for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size"):
        check_size(getattr(shape, name), where=f"{where}: {name}")
    if shape.n_heads % shape.n_kv_heads:
        raise InputError(
            f"{where}: {shape.n_kv_heads} kv heads do not divide {shape.n_heads} heads; "
            "every kv head serves the same number of heads"
        )
    for name, known in (
        ("mlp", MLPS),
        ("norm", NORMS),
        ("biases", BIASES),
        ("positions", POSITIONS),
        ("qk_norm", QK_NORMS),
    ):
        value = getattr(shape, name)
        if value not in known:
            raise InputError(
                f"{where}: {name} '{value}' is not one of {', '.join(known)}"
                f"{nearest_name(value, known)}"
            )
    for name in ("norm_eps", "rope_theta"):
        if not 0 < getattr(shape, name) < float("inf"):
            raise InputError(f"{where}: {name} {getattr(shape, name)} is not above 0")
    check_positions(shape, where=where)


def check_positions(shape: Shape, *, where: str) -> None:
    """Refuse learned positions without their number, and a number without learned positions."""
    if shape.positions == "learned":
        if shape.n_positions is None:
            raise InputError(f"{where}: learned positions without n_positions; give their number")
        check_size(shape.n_positions, where=f"{where}: n_positions")
    elif shape.n_positions is not None:
        raise InputError(
            f"{where}: n_positions {shape.n_positions} with positions {shape.positions}; "
            "only learned positions are counted"
        )


def check_size(value: object, *, where: str) -> None:
    """Refuse what is not a whole number from 1 to `LARGEST_WIDTH`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole and isinstance(value, int) and 1 <= value <= LARGEST_WIDTH):
        said = str(value) if len(str(value)) <= 20 else f"{str(value)[:20]}..."
        raise InputError(f"{where} {said} is not a whole number from 1 to {LARGEST_WIDTH}")
