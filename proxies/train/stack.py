"""Weights and AdamW of K trials in one matrix: a row a trial, a column a weight.

Columns are sorted by parameter group, so a whole update is a handful of operations on the matrix
and its column blocks, whatever the number of parameters; base lr, weight decay, eps, betas, lr
schedule and gradient limit differ by row. With g the clipped gradient and t the update:

    m += (1 - beta1) (g - m)        v += (1 - beta2) (g^2 - v)
    w  = (1 - lr wd) w - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)

Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2, as torch.optim.AdamW has it.

Shapes in names: K trials, P weights of a trial, G parameter groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from proxies.run.groups import ParamGroup, group_of
from proxies.run.spec import RunSpec
from proxies.train.state import send

CLIP_EPS = 1e-6
"""Added to a gradient's norm before the limit is divided by it, as torch's clip_grad_norm_ does."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The columns of one parameter."""

    name: str
    start: int
    stop: int
    shape: torch.Size


@dataclass(slots=True)
class Stack:
    """K trials in training; rows are in the order of the trials."""

    weights_KP: Tensor
    """The only leaf of the gradient."""
    means_KP: Tensor
    """Adam's first moments m."""
    squares_KP: Tensor
    """Adam's second moments v."""
    slots: tuple[Slot, ...]
    """In the order of the columns."""
    blocks: tuple[slice, ...]
    """Columns of each group."""
    lr_KG: npt.NDArray[np.float64]
    """Peak lr."""
    weight_decay_KG: npt.NDArray[np.float64]
    eps_KG: npt.NDArray[np.float64]
    betas_K2: npt.NDArray[np.float64]
    limit_K1: Tensor
    """Largest norm of a trial's gradient; infinite for no limit."""
    step: int = 0
    """Updates made."""


def make_stack(specs: Sequence[RunSpec], models: Sequence[nn.Module]) -> Stack:
    """Stack models of one shape; from then on their parameters are views of the stack's rows.

    Args:
        specs: of the trials, all AdamW.
        models: initialised, on the device.
    """
    groups = [{group.name: group for group in spec.groups} for spec in specs]
    slots, blocks = lay_out(models[0], list(groups[0].values()))
    parameters = [dict(model.named_parameters()) for model in models]
    with torch.no_grad():
        weights_KP = torch.stack(
            [torch.cat([one[slot.name].flatten() for slot in slots]) for one in parameters]
        )
    clips = [spec.optimizer.grad_clip for spec in specs]
    limits = [math.inf if clip is None else clip for clip in clips]
    columns = [[one[name] for name in blocks] for one in groups]
    stack = Stack(
        weights_KP=weights_KP.requires_grad_(),
        means_KP=torch.zeros_like(weights_KP),
        squares_KP=torch.zeros_like(weights_KP),
        slots=slots,
        blocks=tuple(blocks.values()),
        lr_KG=np.array([[group.lr for group in row] for row in columns]),
        weight_decay_KG=np.array([[group.weight_decay for group in row] for row in columns]),
        eps_KG=np.array([[group.eps for group in row] for row in columns], dtype=np.float64),
        betas_K2=np.array([(spec.optimizer.beta1, spec.optimizer.beta2) for spec in specs]),
        limit_K1=torch.tensor(limits, device=weights_KP.device).unsqueeze(1),
    )
    share_rows(stack, models)
    return stack


def lay_out(
    model: nn.Module, groups: Sequence[ParamGroup]
) -> tuple[tuple[Slot, ...], dict[str, slice]]:
    """Columns of every parameter, and of every group by name."""
    slots: list[Slot] = []
    blocks: dict[str, slice] = {}
    stop = 0
    for group in groups:
        first = stop
        for name, parameter in model.named_parameters():
            if group_of(name, groups) is group:
                start, stop = stop, stop + parameter.numel()
                slots.append(Slot(name, start, stop, parameter.shape))
        blocks[group.name] = slice(first, stop)
    return tuple(slots), blocks


def share_rows(stack: Stack, models: Sequence[nn.Module]) -> None:
    """Make every model's parameters views of its row."""
    for row, model in zip(stack.weights_KP.detach(), models, strict=True):
        parameters = dict(model.named_parameters())
        for slot in stack.slots:
            parameters[slot.name].data = row[slot.start : slot.stop].view(slot.shape)


def name_weights(weights_KP: Tensor, slots: Sequence[Slot]) -> dict[str, Tensor]:
    """Every parameter by name with the trials in front, views of the matrix."""
    parts = torch.split(weights_KP, [slot.stop - slot.start for slot in slots], dim=1)
    return {slot.name: part.view(-1, *slot.shape) for slot, part in zip(slots, parts, strict=True)}


def update_stack(stack: Stack, fractions_K: Sequence[float]) -> Tensor:
    """One AdamW update of every trial from the stack's gradient, which is used up.

    Args:
        stack: with a gradient.
        fractions_K: lr over the peak, of each trial.

    Returns:
        Norm of each trial's gradient before clipping, shape (K,).
    """
    stack.step += 1
    gradient_KP = stack.weights_KP.grad
    assert gradient_KP is not None, "update_stack follows a backward pass"
    with torch.no_grad():
        norm_K = adamw(stack, gradient_KP, factors(stack, fractions_K))
    stack.weights_KP.grad = None
    return norm_K


def adamw(stack: Stack, gradient_KP: Tensor, factors_K: Tensor) -> Tensor:
    """The update on the device, see `factors`; the gradient's memory is written over."""
    fast_K1, slow_K1, *rest = factors_K.unsqueeze(1).unbind(dim=2)
    norm_K1: Tensor = torch.linalg.vector_norm(gradient_KP, dim=1, keepdim=True)
    gradient_KP.mul_((stack.limit_K1 / (norm_K1 + CLIP_EPS)).clamp(max=1.0))
    stack.means_KP.lerp_(gradient_KP, fast_K1)
    stack.squares_KP.lerp_(gradient_KP.square_(), slow_K1)
    step_KP = torch.sqrt(stack.squares_KP, out=gradient_KP)
    for number, block in enumerate(stack.blocks):
        keep_K1, eps_K1, size_K1 = rest[3 * number : 3 * number + 3]
        step = step_KP[:, block].add_(eps_K1)
        torch.div(stack.means_KP[:, block], step, out=step)
        stack.weights_KP[:, block].mul_(keep_K1).addcmul_(step, size_K1)
    return norm_K1.squeeze(1)


def factors(stack: Stack, fractions_K: Sequence[float]) -> Tensor:
    """What this update multiplies with, a row a trial, in double precision until the last.

    1 - beta1, 1 - beta2, then for each group 1 - lr wd, eps r and -lr r / (1 - beta1^t), where
    r = sqrt(1 - beta2^t) multiplies numerator and denominator of the step.
    """
    correction_K2 = 1 - stack.betas_K2**stack.step
    root_K1 = np.sqrt(correction_K2[:, 1:])
    lr_KG = stack.lr_KG * np.asarray(fractions_K)[:, None]
    by_group = np.stack(
        [
            1 - lr_KG * stack.weight_decay_KG,
            stack.eps_KG * root_K1,
            -lr_KG * root_K1 / correction_K2[:, :1],
        ],
        axis=2,
    )
    rows = np.concatenate([1 - stack.betas_K2, by_group.reshape(len(by_group), -1)], axis=1)
    return send(torch.from_numpy(rows.astype(np.float32)), str(stack.weights_KP.device))


def keep_rows(stack: Stack, rows: Sequence[int], models: Sequence[nn.Module]) -> None:
    """Shrink the stack to some of its trials.

    Args:
        stack: without a gradient.
        rows: those that stay, in order, at least one.
        models: of the trials that stay; they share the new rows.
    """
    kept = torch.tensor(rows, device=stack.weights_KP.device)
    stack.weights_KP = stack.weights_KP.detach().index_select(0, kept).requires_grad_()
    stack.means_KP = stack.means_KP.index_select(0, kept)
    stack.squares_KP = stack.squares_KP.index_select(0, kept)
    stack.limit_K1 = stack.limit_K1.index_select(0, kept)
    for name in ("lr_KG", "weight_decay_KG", "eps_KG", "betas_K2"):
        setattr(stack, name, getattr(stack, name)[list(rows)])
    share_rows(stack, models)
