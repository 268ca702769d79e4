"""The loss of K models of one shape at once: `ProxyModel.loss` with a trial axis in front.

Every weight has K copies stacked in front of it, every matrix product is one batched product, and
no operation mixes trials, so the gradient of the summed losses holds each trial's own gradient.
torch.func's vmap over `ProxyModel` gives the same numbers; written out it is faster: 1.47 against
1.27 times one by one at d_model 32, K 8, and 1.21 against 1.08 at 64 (4 layers, 4 x 128 tokens, one
CPU thread, fused AdamW), as vmap has no rule for the CPU's attention kernel.

Shapes in names: K trials, B sequences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from proxies.model.transformer import rotate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxies.model.transformer import ProxyModel


def stacked_loss(
    model: ProxyModel,
    weights: Mapping[str, Tensor],
    tokens_KBT: Tensor,
    targets_KBT: Tensor,
    *,
    z_loss: float,
) -> Tensor:
    """Mean cross-entropy of each trial in nats a token, plus its z-loss; shape (K,).

    Args:
        model: any of the trials' models, for its shape, rule and rotary tables.
        weights: each of its parameters by name, with the trials in front.
        tokens_KBT: token ids.
        targets_KBT: the ids that follow them.
        z_loss: weight of the mean log(Z)^2, at least 0.
    """
    trials = len(tokens_KBT)
    logits_NV = stacked_logits(model, weights, tokens_KBT).flatten(0, 1).float()
    loss_N = F.cross_entropy(logits_NV, targets_KBT.flatten(), reduction="none")
    if z_loss:
        loss_N = loss_N + z_loss * logits_NV.logsumexp(-1).square()
    return loss_N.view(trials, -1).mean(dim=1)


def stacked_logits(model: ProxyModel, weights: Mapping[str, Tensor], tokens_KBT: Tensor) -> Tensor:
    """Logits of each trial, shape (K, B T, V)."""
    _, batch, length = tokens_KBT.shape
    rule, eps = model.parametrization, model.shape.norm_eps
    rotary = model.cos[:length], model.sin[:length]
    x = embed(weights["embed_tokens.weight"], tokens_KBT) * rule.embedding_multiplier
    for number in range(model.shape.n_layers):
        layer = f"layers.{number}."
        part = {
            name.removeprefix(layer).removesuffix(".weight"): weight
            for name, weight in weights.items()
            if name.startswith(layer)
        }
        normed = rms_norm(x, part["input_layernorm"], eps=eps)
        x = x + rule.residual_multiplier * attention(model, part, normed, rotary, batch=batch)
        normed = rms_norm(x, part["post_attention_layernorm"], eps=eps)
        x = x + rule.residual_multiplier * mlp(part, normed)
    head = weights.get("lm_head.weight", weights["embed_tokens.weight"])
    return multiply(rms_norm(x, weights["norm.weight"], eps=eps) * rule.logits_multiplier, head)


def embed(table_KVD: Tensor, tokens_KBT: Tensor) -> Tensor:
    """Rows of each trial's own table, shape (K, B T, D)."""
    trials, vocab_size, width = table_KVD.shape
    first_row = torch.arange(trials, device=tokens_KBT.device).view(trials, 1, 1) * vocab_size
    rows: Tensor = F.embedding(tokens_KBT + first_row, table_KVD.reshape(-1, width))
    return rows.view(trials, -1, width)


def attention(
    model: ProxyModel,
    part: Mapping[str, Tensor],
    x: Tensor,
    rotary: tuple[Tensor, Tensor],
    *,
    batch: int,
) -> Tensor:
    """The branch's output from its normed input, both (K, B T, D)."""
    trials, tokens, _ = x.shape
    shape = model.shape
    per_head = trials, batch, tokens // batch, -1, shape.head_dim
    q, k, v = (multiply(x, part[f"self_attn.{name}_proj"]).view(per_head) for name in "qkv")
    if "self_attn.q_norm" in part:
        q = rms_norm(q, part["self_attn.q_norm"], eps=shape.norm_eps)
        k = rms_norm(k, part["self_attn.k_norm"], eps=shape.norm_eps)
    q, k, v = (heads.flatten(0, 1).transpose(1, 2) for heads in (q, k, v))
    mixed = F.scaled_dot_product_attention(
        rotate(q, rotary),
        rotate(k, rotary),
        v,
        is_causal=True,
        scale=model.parametrization.attention_scale,
        enable_gqa=shape.n_kv_heads != shape.n_heads,
    )
    joined = mixed.transpose(1, 2).reshape(trials, tokens, -1)
    return multiply(joined, part["self_attn.o_proj"])


def mlp(part: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The branch's output from its normed input, both (K, B T, D)."""
    inner = F.silu(multiply(x, part["mlp.gate_proj"])) * multiply(x, part["mlp.up_proj"])
    return multiply(inner, part["mlp.down_proj"])


def multiply(x: Tensor, matrix: Tensor) -> Tensor:
    """x times the transpose of each trial's matrix (K, out, in)."""
    return torch.bmm(x, matrix.transpose(1, 2))


def rms_norm(x: Tensor, gain_KD: Tensor, *, eps: float) -> Tensor:
    """RMSNorm over the last axis with each trial's own gain."""
    trials, width = gain_KD.shape
    gain = gain_KD.view(trials, *[1] * (x.ndim - 2), width)
    return F.rms_norm(x, (width,), None, eps) * gain
