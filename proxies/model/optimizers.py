"""torch optimizers of a model's parameter groups: AdamW and Muon are torch's own, Lion is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from proxies.run.groups import ParamGroup, group_of


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum: p -= lr (sign(b1 m + (1 - b1) g) + wd p), m -> b2.

    Source:
        Chen et al. 2023 (arXiv 2302.06675), algorithm 2.
    """

    def __init__(self, params: Iterable[dict[str, Any]]) -> None:
        """Take groups that carry `lr`, `betas` and `weight_decay`."""
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # as torch's own optimizers
        """Update every parameter that has a gradient."""
        assert closure is None, "Lion evaluates no closure"
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum: Tensor = state["momentum"]
                direction = momentum.lerp(parameter.grad, 1 - beta1).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(direction, alpha=-group["lr"])
                momentum.lerp_(parameter.grad, 1 - beta2)


def make_optimizers(model: nn.Module, groups: Sequence[ParamGroup]) -> list[torch.optim.Optimizer]:
    """One torch optimizer a kind, in the order of `groups`; together they own every parameter.

    Each torch group carries the group's `name` and its `peak_lr`, from which `set_lr` sets `lr`.

    Args:
        model: its parameter names must match the groups' patterns, each exactly one.
        groups: from `groups.param_groups` for the model's parametrization.
    """
    members: dict[str, list[nn.Parameter]] = {group.name: [] for group in groups}
    for name, parameter in model.named_parameters():
        members[group_of(name, groups).name].append(parameter)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        if members[group.name]:
            kinds.setdefault(group.optimizer, []).append(_torch_group(group, members[group.name]))
    return [OPTIMIZER_CLASSES[kind](parts) for kind, parts in kinds.items()]


def set_lr(optimizers: Sequence[torch.optim.Optimizer], fraction: float) -> None:
    """Give every group `fraction` of its peak lr."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * fraction


def _torch_group(group: ParamGroup, parameters: list[nn.Parameter]) -> dict[str, Any]:
    """What torch wants to know of a group."""
    options: dict[str, Any] = {
        "params": parameters,
        "name": group.name,
        "lr": group.lr,
        "peak_lr": group.lr,
        "weight_decay": group.weight_decay,
    }
    if group.optimizer == "muon":
        return {**options, "momentum": group.betas[0], "adjust_lr_fn": "match_rms_adamw"}
    if group.eps is not None:
        options["eps"] = group.eps
    return {**options, "betas": group.betas}


OPTIMIZER_CLASSES: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, fused=True),
    "lion": Lion,
    "muon": torch.optim.Muon,
}
"""A torch optimizer by the name in `ParamGroup.optimizer`, made from torch groups."""
