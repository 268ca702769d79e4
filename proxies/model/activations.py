"""What a model computes on the way to its logits: activations by name, read with hooks.

Hooks are set for one forward pass and taken away after it, so a model that nobody looks at costs
nothing. `KINDS` are the kinds of tensors; a name is a kind with the place of its layer before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from proxies.model.transformer import Attention, ProxyModel

KINDS = (
    "embedding",
    "attention logits",
    "attention output",
    "mlp output",
    "residual stream",
    "logits",
)
"""Embedding as layer 0 sees it; attention logits scaled, before the softmax; outputs of branches
before the residual multiplier; the stream after a layer; logits times their multiplier."""


@torch.no_grad()
def read_activations(
    model: ProxyModel, tokens_BT: Tensor, *, places: Mapping[int, str]
) -> dict[str, Tensor]:
    """Activations of one forward pass, by name, in the order of the pass.

    Args:
        model: is left as it is.
        tokens_BT: token ids.
        places: which layers to read, by number, and what their tensors' names begin with.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[name] = output

        return hook

    def keep_embedding(_module: nn.Module, inputs: Any) -> None:
        found["embedding"] = inputs[0]

    def keep_attention_logits(name: str) -> Callable[..., None]:
        def hook(module: Attention, inputs: Any) -> None:
            found[name] = attention_logits(module, *inputs)[..., causal_mask(inputs[0].shape[1])]

        return hook

    with ExitStack() as hooks:
        hooks.enter_context(model.layers[0].register_forward_pre_hook(keep_embedding))
        for number, place in places.items():
            layer: Any = model.layers[number]
            for handle in (
                layer.self_attn.register_forward_pre_hook(
                    keep_attention_logits(f"{place} attention logits")
                ),
                layer.self_attn.register_forward_hook(keep(f"{place} attention output")),
                layer.mlp.register_forward_hook(keep(f"{place} mlp output")),
                layer.register_forward_hook(keep(f"{place} residual stream")),
            ):
                hooks.enter_context(handle)
        found["logits"] = model(tokens_BT)
    return found


def attention_logits(attention: Attention, x_BTD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Query times key times the scale, before the softmax, (B, H, T, T), future keys too."""
    q_BHTK, k_BHTK, _ = attention.queries_and_keys(x_BTD, rotary)
    k_BHTK = k_BHTK.repeat_interleave(q_BHTK.shape[1] // k_BHTK.shape[1], dim=1)
    return q_BHTK @ k_BHTK.transpose(-1, -2) * attention.scale


def causal_mask(length: int) -> Tensor:
    """(T, T), true where a query sees the key: at or before its own position."""
    return torch.ones(length, length, dtype=torch.bool).tril()
