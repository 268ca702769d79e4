"""A LLaMA-style decoder: the proxy that is trained in place of the target.

RMSNorm before each branch, rotary positions, causal attention with grouped queries, a SwiGLU MLP,
no biases; queries and keys may be normed a head (Qwen3) and the head may be the embedding. The
parametrization enters in four places: the embedding's output, the attention scale, the residual
branches and the logits. Parameters have the names of transformers' LLaMA and Qwen3, without
`model.` in front, so `groups.PATTERNS` sorts both.

Shapes in names: B sequences, T tokens, D width, H heads, K head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fitting.errors import InputError
from proxies.run.groups import ParamGroup, group_of
from proxies.run.parametrization import Parametrization
from proxies.run.shape import Shape, check_shape

BUILDABLE = {
    "mlp": ("swiglu",),
    "norm": ("rmsnorm",),
    "biases": ("none",),
    "positions": ("rope",),
    "qk_norm": ("none", "per-head"),
}
"""What this model can be made of, by field of `Shape`."""


class Attention(nn.Module):
    """Causal self-attention with rotary positions; a key head may serve several query heads."""

    def __init__(self, shape: Shape, scale: float) -> None:
        """Make the four projections; `scale` multiplies query times key."""
        super().__init__()
        self.n_heads, self.n_kv_heads = shape.n_heads, shape.n_kv_heads
        self.head_dim, self.scale = shape.head_dim, scale
        q_width, kv_width = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.d_model, q_width, bias=False)
        self.k_proj = nn.Linear(shape.d_model, kv_width, bias=False)
        self.v_proj = nn.Linear(shape.d_model, kv_width, bias=False)
        self.o_proj = nn.Linear(q_width, shape.d_model, bias=False)
        normed = shape.qk_norm == "per-head"
        self.q_norm = nn.RMSNorm(shape.head_dim, eps=shape.norm_eps) if normed else None
        self.k_norm = nn.RMSNorm(shape.head_dim, eps=shape.norm_eps) if normed else None

    def queries_and_keys(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Queries (B, H, T, K), keys and values, rotated and normed as attention sees them."""
        B, T, _ = x_BTD.shape
        q, k, v = (
            F.linear(x_BTD, projection.weight).view(B, T, -1, self.head_dim)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
        return rotate(q, rotary), rotate(k, rotary), v

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """The branch's output (B, T, D), before the residual multiplier."""
        q, k, v = self.queries_and_keys(x_BTD, rotary)
        mixed_BHTK = F.scaled_dot_product_attention(
            q,
            k,
            v,
            is_causal=True,
            scale=self.scale,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )
        return F.linear(mixed_BHTK.transpose(1, 2).flatten(2), self.o_proj.weight)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, shape: Shape) -> None:
        """Make the three matrices."""
        super().__init__()
        self.gate_proj = nn.Linear(shape.d_model, shape.d_ff, bias=False)
        self.up_proj = nn.Linear(shape.d_model, shape.d_ff, bias=False)
        self.down_proj = nn.Linear(shape.d_ff, shape.d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The branch's output (B, T, D), before the residual multiplier."""
        inner: Tensor = F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
        output: Tensor = self.down_proj(inner)
        return output


class Layer(nn.Module):
    """Attention, then MLP, each normed before and added to the stream after."""

    def __init__(self, shape: Shape, parametrization: Parametrization) -> None:
        """Make both branches with their norms."""
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.d_model, eps=shape.norm_eps)
        self.self_attn = Attention(shape, parametrization.attention_scale)
        self.post_attention_layernorm = nn.RMSNorm(shape.d_model, eps=shape.norm_eps)
        self.mlp = MLP(shape)
        self.residual_multiplier = parametrization.residual_multiplier

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """The stream after this layer (B, T, D)."""
        attended = self.self_attn(self.input_layernorm(x_BTD), rotary)
        x_BTD = x_BTD + self.residual_multiplier * attended
        processed = self.mlp(self.post_attention_layernorm(x_BTD))
        after: Tensor = x_BTD + self.residual_multiplier * processed
        return after


class ProxyModel(nn.Module):
    """The decoder of one shape under one parametrization; `make_model` also initialises it."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, parametrization: Parametrization, *, seq_len: int) -> None:
        """Make the modules and the rotary tables.

        Args:
            shape: sizes and parts; those in `BUILDABLE` only.
            parametrization: the rule at this shape.
            seq_len: tokens of the longest sequence, at least 1.

        Raises:
            InputError: a shape that is contradictory or that this model cannot be.
        """
        super().__init__()
        check_buildable(shape)
        self.shape, self.parametrization = shape, parametrization
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Layer(shape, parametrization) for _ in range(shape.n_layers))
        self.norm = nn.RMSNorm(shape.d_model, eps=shape.norm_eps)
        self.lm_head = nn.Linear(shape.d_model, shape.vocab_size, bias=False)
        if shape.tied_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        cos, sin = rotary_table(seq_len, head_dim=shape.head_dim, theta=shape.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (B, T, V) of the next token, times the logits multiplier."""
        length = tokens_BT.shape[1]
        rotary = self.cos[:length], self.sin[:length]
        x_BTD = self.embed_tokens(tokens_BT) * self.parametrization.embedding_multiplier
        for layer in self.layers:
            x_BTD = layer(x_BTD, rotary)
        logits: Tensor = self.lm_head(self.norm(x_BTD) * self.parametrization.logits_multiplier)
        return logits

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor, *, z_loss: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats a token, plus `z_loss` times the mean squared log-partition.

        Args:
            tokens_BT: token ids.
            targets_BT: the ids that follow them.
            z_loss: weight of log(Z)^2, at least 0; 1e-4 in PaLM (arXiv 2204.02311).
        """
        logits_NV = self(tokens_BT).flatten(0, 1).float()
        loss = F.cross_entropy(logits_NV, targets_BT.flatten())
        if z_loss:
            loss = loss + z_loss * logits_NV.logsumexp(-1).square().mean()
        return loss


def make_model(
    shape: Shape,
    parametrization: Parametrization,
    groups: Sequence[ParamGroup],
    *,
    seq_len: int,
    seed: int,
) -> ProxyModel:
    """A model on the CPU with its weights drawn, normal with each group's `init_std`.

    Weights are drawn in float32 in the order of the parameters from one generator, so a seed gives
    the same model wherever it is trained. Norm gains are 1.

    Args:
        shape: sizes and parts.
        parametrization: the rule at this shape.
        groups: from `groups.param_groups` for the same rule and shape.
        seq_len: tokens of the longest sequence.
        seed: of the weights.

    Raises:
        InputError: a shape that this model cannot be.
    """
    model = ProxyModel(shape, parametrization, seq_len=seq_len)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            std = group_of(name, groups).init_std
            if std is not None:
                parameter.normal_(0.0, std, generator=generator)
    return model


def check_buildable(shape: Shape) -> None:
    """Refuse a shape that contradicts itself or has a part that `ProxyModel` has not.

    Raises:
        InputError: the field, its value and what can be built.
    """
    check_shape(shape)
    for field, known in BUILDABLE.items():
        value = getattr(shape, field)
        if value not in known:
            raise InputError(f"proxy model: {field} '{value}' is not built; {' or '.join(known)}")
    if shape.head_dim % 2:
        raise InputError(f"proxy model: head_dim {shape.head_dim} is odd; rotary positions need 2")


def rotary_table(seq_len: int, *, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin (T, K) of position t times theta^(-2i / K), each frequency in both halves.

    Source:
        Su et al. 2021 (arXiv 2104.09864), eq. 15; halves as in LLaMA's port to transformers.
    """
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(seq_len, dtype=torch.float64), frequencies).repeat(1, 2)
    return angles.cos().float(), angles.sin().float()


def rotate(heads_BHTK: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys turned by their positions."""
    cos_TK, sin_TK = rotary
    first, second = heads_BHTK.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (heads_BHTK * cos_TK + turned * sin_TK).to(heads_BHTK.dtype)
