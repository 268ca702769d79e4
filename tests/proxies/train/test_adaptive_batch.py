"""Adaptive batches on a quadratic whose gradient and noise are known.

Sequence i has the loss h |x|^2 / 2 + noise_i . x, so its gradient has mean G = h x and covariance
of known trace. Under SGD G shrinks by 1 - lr h an update, and the batch has a closed form.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from proxies.run.batching import Batching, BatchState
from proxies.run.result import RunResult, batch_trajectory, runs_row
from proxies.run.schedule import lr_fraction, make_schedule
from proxies.run.spec import RunSpec
from proxies.train.loop import train_run
from proxies.train.state import TrainState, read_losses, train_step
from tests.fixtures.tiny_run import tiny_corpus, tiny_spec, varied

CURVATURE = 1.0
LR = 0.005
DIMENSIONS = 1024
FIRST_BATCH = 16


class Quadratic(nn.Module):
    """h |x|^2 / 2 plus noise that each token names a vector of."""

    def __init__(self, noise_VD: Tensor, *, start: float) -> None:
        super().__init__()
        self.noise_VD = noise_VD
        self.x = nn.Parameter(torch.full((DIMENSIONS,), start / DIMENSIONS**0.5))

    def loss(self, tokens_BT: Tensor, _targets: Tensor, *, z_loss: float) -> Tensor:
        noise_D = self.noise_VD[tokens_BT].mean(dim=(0, 1))
        return CURVATURE * self.x.square().sum() / 2 + noise_D @ self.x


def quadratic_run(batching: Batching, *, updates: int) -> tuple[list[int], float, float]:
    """Batch of each update, tr(Sigma), and |G|^2 at the start."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, size=400_000).astype(np.uint8)
    noise = rng.normal(size=(256, DIMENSIONS))
    share = np.bincount(tokens, minlength=256) / len(tokens)
    noise -= share @ noise
    trace = float(share @ (noise**2).sum(axis=1))
    # At the start signal and noise of the first batch are alike.
    grad_sq = trace / FIRST_BATCH
    corpus = replace(tiny_corpus(), vocab_size=256, train=tokens)
    model = Quadratic(torch.tensor(noise, dtype=torch.float32), start=grad_sq**0.5 / CURVATURE)
    sgd = torch.optim.SGD([{"params": [model.x], "lr": LR, "peak_lr": LR}])
    state = TrainState(
        model=model,
        optimizers=[sgd],
        loss_function=model.loss,
        device="cpu",
        batch=BatchState(batching.sequences),
    )
    spec: RunSpec = varied(
        tiny_spec(),
        seq_len=1,
        tokens=len(tokens) - 1,
        lr=LR,
        grad_clip=None,
        batching=batching,
        schedule=make_schedule("constant", steps=100, warmup_steps=0),
    )
    for _ in range(updates):
        train_step(state, spec, corpus)
        read_losses(state)
    return [point.batch_tokens for point in state.curve], trace, grad_sq


def grad_sq_at(update: int, *, first: float) -> float:
    """|G|^2 at update k = 1, 2, ...: |G_0|^2 (1 - lr h)^(2 (k - 1))."""
    return first * (1 - LR * CURVATURE) ** (2 * (update - 1))


def test_the_noise_scale_batch_grows_as_the_gradient_shrinks() -> None:
    batching = Batching(
        kind="noise-scale", sequences=FIRST_BATCH, max_sequences=4096, lr_rule="none"
    )
    batches, trace, first = quadratic_run(batching, updates=250)
    for update in range(30, 251):
        closed_form = trace / grad_sq_at(update, first=first)
        assert batches[update - 1] == pytest.approx(closed_form, rel=0.2)
    assert batches[-1] > 10 * batches[0]


def test_the_norm_test_batch_grows_as_the_gradient_shrinks() -> None:
    """The tested norm is the batch's, |G|^2 + tr / B: B = tr (1 / theta^2 - 1) / |G|^2."""
    batching = Batching(
        kind="norm-test",
        sequences=FIRST_BATCH,
        max_sequences=4096,
        theta=0.5,
        lr_rule="none",
    )
    batches, trace, first = quadratic_run(batching, updates=200)
    assert batches == sorted(batches)
    for update in range(50, 201):
        closed_form = trace * (1 / 0.5**2 - 1) / grad_sq_at(update, first=first)
        assert batches[update - 1] == pytest.approx(closed_form, rel=0.2)


def adaptive_run(kind: str) -> RunResult:
    """A tiny run whose batch may grow from 4 to 32 sequences."""
    batching = Batching(kind=kind, sequences=4, max_sequences=32, theta=0.9)
    spec = replace(tiny_spec(steps=40), batching=batching)
    return train_run(spec, tiny_corpus())


@pytest.mark.parametrize("kind", ["norm-test", "adadagrad", "noise-scale"])
def test_an_adaptive_run_trains_on_its_tokens_and_its_lr_follows_them(kind: str) -> None:
    result = adaptive_run(kind)
    spec, total = result.spec, result.spec.tokens
    assert result.status == "finished"
    assert sum(point.batch_tokens for point in result.curve) == total == result.tokens
    for point in result.curve:
        fraction = lr_fraction(spec.schedule, spec.schedule.steps * (point.tokens / total))
        growth = (point.batch_tokens / (4 * spec.seq_len)) ** 0.5
        assert point.lr == pytest.approx(spec.lr * fraction * growth, rel=1e-12)
    assert result.curve[-1].lr == 0.0


def test_the_trajectory_of_the_batch_is_in_the_row() -> None:
    result = adaptive_run("norm-test")
    row = runs_row(result)
    changes = [pair.split(":") for pair in str(row["batch_trajectory"]).split()]
    assert row["batch_trajectory"] == batch_trajectory(result)
    assert changes[0] == ["0", "64"]
    assert len(changes) > 1
    by_start = {point.tokens - point.batch_tokens: point.batch_tokens for point in result.curve}
    assert all(by_start[int(start)] == int(batch) for start, batch in changes)
    assert row["batch_tokens"] == result.tokens / len(result.curve)
