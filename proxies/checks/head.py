"""Does the output head survive its first updates?

Adam moves every weight of the head by about lr an update, all in the few directions that the first
gradients agree on. A head that starts smaller than what it learns in its first updates is replaced
by it: of width 64 at init 0.02 and lr 2^-8, 1.5 times its own size in ten updates, which leaves an
effective rank of 7 of 56 where init 0.08 leaves 49 (`python` corpus, batch of 8 x 64). muP carries
an lr from size to size only from a base whose head lasts: the slopes of a coordinate check, which
start from a head of zero, do not see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from proxies.checks.coordinates import Recipe
from proxies.model.optimizers import make_optimizers
from proxies.model.transformer import make_model
from proxies.run.groups import group_of
from proxies.run.shape import Shape

HEAD_STEPS = 10
"""Updates, all at the peak lr: fewer than the warmup of a run of 250 steps adds up to."""

LARGEST_LEARNT = 0.5
"""Of the head after `HEAD_STEPS`, over its start: above it the head is weak. *Assumed*, between
0.35 (base width 64, init 0.08, lr 2^-8, whose lr carries over 250 steps) and 0.76 (the same with
init 0.02 and half the lr)."""


@dataclass(frozen=True, slots=True)
class HeadStart:
    """How the head of the smallest model starts, and what its first updates make of it."""

    init_std: float
    """Of its weights; of the embedding's where they are one."""
    learnt: float
    """Norm of the change after `HEAD_STEPS` over the norm at the start, mean over seeds."""

    @property
    def verdict(self) -> str:
        """weak: more than `LARGEST_LEARNT`; else lasts."""
        return "weak" if self.learnt > LARGEST_LEARNT else "lasts"


def measure_head(
    shape: Shape,
    recipe: Recipe,
    sequences: Tensor,
    *,
    seeds: int,
    on_model: Callable[[], None] | None = None,
) -> HeadStart:
    """Train a model from its own start for a few updates and see what is left of its head.

    Args:
        shape: the smallest model of the check.
        recipe: gives the shape its parametrization and groups.
        sequences: the one batch, token ids (B, T + 1).
        seeds: models, at least 1.
        on_model: called after each model.
    """
    rule, groups = recipe(shape)
    learnt = []
    for seed in range(seeds):
        model = make_model(shape, rule, groups, seq_len=sequences.shape[1] - 1, seed=seed)
        head = model.lm_head.weight
        start = head.detach().clone()
        optimizers = make_optimizers(model, groups)
        for _ in range(HEAD_STEPS):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(model.loss(sequences[:, :-1], sequences[:, 1:]))
            for optimizer in optimizers:
                optimizer.step()
        learnt.append(((head.detach() - start).norm() / start.norm()).item())
        if on_model is not None:
            on_model()
    name = "embed_tokens.weight" if shape.tied_embeddings else "lm_head.weight"
    std = group_of(name, groups).init_std
    assert std is not None, "embedding and head are drawn"
    return HeadStart(init_std=std, learnt=sum(learnt) / len(learnt))
