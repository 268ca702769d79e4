"""The gradient of one update: summed over micro-batches, and measured where it is asked for.

The mean loss of a batch is the mean over micro-batches weighted by their sequences, so how a
batch is cut changes its gradient by rounding only. Where the noise is measured, each
micro-batch's gradient is held apart until its norm is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from proxies.run.gradient_noise import GradientNorms

if TYPE_CHECKING:
    from collections.abc import Sequence


class LossFunction(Protocol):
    """Mean loss of a micro-batch, as `ProxyModel.loss` has it."""

    def __call__(self, tokens_BT: Tensor, targets_BT: Tensor, /, *, z_loss: float) -> Tensor:
        """Mean nats a token."""


def split_batch(sequences: Tensor, *, micro_sequences: int | None) -> list[tuple[Tensor, Tensor]]:
    """Inputs and targets of each micro-batch, the last perhaps smaller.

    Args:
        sequences: tokens with one more than an input has, shape (B, T + 1).
        micro_sequences: of a micro-batch; None for all at once.
    """
    parts = torch.split(sequences, micro_sequences or len(sequences))
    return [(part[:, :-1], part[:, 1:]) for part in parts]


def sum_gradients(
    loss_function: LossFunction, batch: Sequence[tuple[Tensor, Tensor]], *, z_loss: float
) -> Tensor:
    """The batch's mean loss, a detached scalar; its gradient is added to every `.grad`."""
    total = sum(len(tokens) for tokens, _ in batch)
    losses = []
    for tokens, targets in batch:
        loss = loss_function(tokens, targets, z_loss=z_loss)
        if len(batch) > 1:
            loss = loss * (len(tokens) / total)
        torch.autograd.backward(loss)
        losses.append(loss.detach())
    return torch.stack(losses).sum() if len(batch) > 1 else losses[0]


def measure_gradients(
    loss_function: LossFunction,
    batch: Sequence[tuple[Tensor, Tensor]],
    *,
    z_loss: float,
    parameters: Sequence[nn.Parameter],
    scales: Sequence[Tensor] | None,
) -> tuple[Tensor, GradientNorms]:
    """As `sum_gradients`, with the squared norms of micro-batches and batch.

    Args:
        loss_function: mean loss of a micro-batch.
        batch: two micro-batches or more.
        z_loss: weight of the squared log partition.
        parameters: whose gradients are taken; their `.grad` is replaced.
        scales: divides each parameter's gradient in the norms, not in the update; None for 1.
    """
    total = sum(len(tokens) for tokens, _ in batch)
    summed = [torch.zeros_like(parameter) for parameter in parameters]
    losses, norms = [], []
    for tokens, targets in batch:
        for parameter in parameters:
            parameter.grad = None
        loss = loss_function(tokens, targets, z_loss=z_loss)
        torch.autograd.backward(loss)
        share = len(tokens) / total
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        norms.append(_norm(gradients, scales))
        for one, gradient in zip(summed, gradients, strict=True):
            one.add_(gradient, alpha=share)
        losses.append(loss.detach() * share)
    for parameter, gradient in zip(parameters, summed, strict=True):
        parameter.grad = gradient
    small = torch.stack(norms).square().mean()
    big = _norm(summed, scales).square()
    return torch.stack(losses).sum(), GradientNorms(
        small_sequences=len(batch) / sum(1 / len(tokens) for tokens, _ in batch),
        big_sequences=total,
        small_norm_sq=small.item(),
        big_norm_sq=big.item(),
    )


def adam_scales(
    optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[nn.Parameter]
) -> list[Tensor] | None:
    """Adam's denominator sqrt(v / (1 - beta2^t)) + eps of each parameter; None before update 1."""
    found: dict[nn.Parameter, Tensor] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state.get(parameter)
                if not state:
                    return None
                correction = 1 - group["betas"][1] ** state["step"].item()
                found[parameter] = (state["exp_avg_sq"] / correction).sqrt_().add_(group["eps"])
    return [found[parameter] for parameter in parameters]


def _norm(gradients: Sequence[Tensor], scales: Sequence[Tensor] | None) -> Tensor:
    """Norm of all gradients together, each divided by its scale."""
    if scales is not None:
        gradients = [g / scale for g, scale in zip(gradients, scales, strict=True)]
    return get_total_norm(gradients)
