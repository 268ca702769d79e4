"""The held-out loss of a model: nats per token with its standard error, and bits per byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    import numpy as np
    from numpy import typing as npt

TOKENS_AT_ONCE = 2**13
"""Tokens of one forward pass in evaluation: 1 GiB of logits at a vocabulary of 32,000."""


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """What a model loses on text that it was not trained on."""

    loss: float
    """Mean, nats per token."""
    loss_se: float
    """Standard error of the mean, from the spread of the sequences; what another seed or data
    order changes is not in it."""


@torch.no_grad()
def evaluate(
    model: nn.Module, sequences: npt.NDArray[np.int64], *, device: str, dtype: str
) -> HeldOutLoss:
    """Mean loss over `sequences`, without z-loss; NaN or infinite where the model's logits are.

    Args:
        model: tokens of shape (B, T) to logits of shape (B, T, V).
        sequences: shape (count, seq_len + 1), count at least 2.
        device: where the model is.
        dtype: as in training.
    """
    tokens_BT = torch.from_numpy(sequences).to(device)
    rows = max(1, TOKENS_AT_ONCE // tokens_BT.shape[1])
    losses = []
    for part in torch.split(tokens_BT, rows):
        with autocast(device, dtype):
            logits_BTV = model(part[:, :-1])
        loss_BT = functional.cross_entropy(
            logits_BTV.float().flatten(0, 1), part[:, 1:].flatten(), reduction="none"
        )
        losses.append(loss_BT.view(len(part), -1).mean(dim=1))
    loss_B = torch.cat(losses).double().cpu()
    return HeldOutLoss(loss_B.mean().item(), loss_B.std().item() / math.sqrt(len(loss_B)))


def bits_per_byte(loss: float, *, bytes_per_token: float | None) -> float | None:
    """loss / (ln 2 bytes_per_token); None for tokens that are no text.

    Example:
        >>> round(bits_per_byte(3.0, bytes_per_token=4.0), 3)
        1.082
    """
    return None if bytes_per_token is None else loss / (math.log(2) * bytes_per_token)


def autocast(device: str, dtype: str) -> torch.autocast:
    """Matrix products in bfloat16 where `dtype` says so; weights stay float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == "bfloat16")
