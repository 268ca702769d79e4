"""Probes: what a trained model says of its stability, measured once and only where it is asked for.

A probe takes the model, sequences (B, T + 1) and the optimizers, and gives numbers by name. Those
of `PROBES` are columns of the runs table. They run eagerly in float32 on at most `SEQUENCES`
sequences, leave weights, gradients and optimizer as they were, and cost a training run that asks
for none nothing: there is no hook and no branch in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fitting.errors import InputError, nearest_name
from proxies.model.activations import attention_logits, causal_mask
from proxies.model.transformer import Attention, ProxyModel

SEQUENCES = 8
"""Most sequences that a probe looks at."""

Probe = Callable[[ProxyModel, Tensor, Sequence[torch.optim.Optimizer]], dict[str, float]]
"""Numbers by name, of a model on sequences (B, T + 1)."""


def choose_probes(names: Sequence[str]) -> list[Probe]:
    """The probes of some names, or all of them for `all`.

    Raises:
        InputError: an unknown name.
    """
    for name in names:
        if name not in (*PROBES, "all"):
            raise InputError(
                f"probe '{name}': not known{nearest_name(name, PROBES)}; "
                f"known: all, {', '.join(PROBES)}"
            )
    wanted = PROBES if "all" in names else names
    # Two columns of one probe cost one measurement.
    return list(dict.fromkeys(PROBES[name] for name in wanted))


@torch.no_grad()
def probe_attention(
    model: ProxyModel, sequences: Tensor, _optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, float]:
    """`max_attention_logit`, and `attention_entropy`: mean over heads and queries, nats.

    The logit is scaled, before the softmax, of keys that the query sees, the largest absolute
    value of all layers. A query that sees n keys has an entropy of at most ln n.

    Source:
        Wortsman et al. 2023 (arXiv 2309.14322), logits; Zhai et al. 2023 (arXiv 2303.06296),
        entropy.
    """
    largest: list[Tensor] = []
    entropies: list[Tensor] = []

    def measure(module: Attention, inputs: Any) -> None:
        logits = attention_logits(module, *inputs).float()
        seen = causal_mask(logits.shape[-1]).to(logits.device)
        largest.append(logits[..., seen].abs().max())
        log_share = logits.masked_fill(~seen, -math.inf).log_softmax(-1)
        # A key out of sight has share 0 and log share -inf, whose product is 0 here.
        entropies.append(-(log_share.exp() * log_share.masked_fill(~seen, 0.0)).sum(-1).mean())

    handles = [
        module.register_forward_pre_hook(measure)
        for module in model.modules()
        if isinstance(module, Attention)
    ]
    try:
        for tokens_T in sequences[:SEQUENCES, :-1]:
            model(tokens_T[None])
    finally:
        for handle in handles:
            handle.remove()
    return {
        "max_attention_logit": torch.stack(largest).max().item(),
        "attention_entropy": torch.stack(entropies).mean().item(),
    }


@torch.no_grad()
def probe_output(
    model: ProxyModel, sequences: Tensor, _optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, float]:
    """`output_log_z`: mean log-partition of the output, ln sum exp(logit), nats."""
    means = [
        model(tokens_T[None]).float().logsumexp(-1).mean()
        for tokens_T in sequences[:SEQUENCES, :-1]
    ]
    return {"output_log_z": torch.stack(means).mean().item()}


def probe_gradient(
    model: ProxyModel, sequences: Tensor, _optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, float]:
    """`grad_rms`: root mean square of the loss gradient over all weights.

    AdamW's eps matters where this is near it (arXiv 2309.14322).
    """
    norms = list_gradient_norms(model, sequences)
    count = sum(parameter.numel() for parameter in model.parameters())
    return {"grad_rms": math.sqrt(sum(norm**2 for norm in norms.values()) / count)}


@torch.no_grad()
def probe_spectrum(
    model: ProxyModel, _sequences: Tensor, _optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, float]:
    """`top_singular_value`: the largest of all hidden matrices."""
    return {"top_singular_value": max(list_singular_values(model).values())}


def list_gradient_norms(model: ProxyModel, sequences: Tensor) -> dict[str, float]:
    """Norm of the loss gradient of each parameter, by name; the model's own gradients stay."""
    part = sequences[:SEQUENCES]
    parameters = dict(model.named_parameters())
    loss = model.loss(part[:, :-1], part[:, 1:])
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    norms = torch.stack([gradient.norm() for gradient in gradients]).tolist()
    return dict(zip(parameters, norms, strict=True))


@torch.no_grad()
def list_singular_values(model: nn.Module) -> dict[str, float]:
    """The largest singular value of each hidden matrix, by name, exact to float32."""
    return {
        name: torch.linalg.matrix_norm(parameter.float(), 2).item()
        for name, parameter in model.named_parameters()
        if name.startswith("layers.") and parameter.ndim == 2
    }


PROBES: Mapping[str, Probe] = {
    "max_attention_logit": probe_attention,
    "attention_entropy": probe_attention,
    "output_log_z": probe_output,
    "grad_rms": probe_gradient,
    "top_singular_value": probe_spectrum,
}
"""Probe by the column of the runs table that it fills. `loss_at_init` is the first point of every
run's curve, and `noise_scale_tokens` is measured in training (`TrainOptions.noise_interval`)."""
