"""Gradients over micro-batches, and what is measured of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from proxies.model.gradients import adam_scales, measure_gradients, split_batch, sum_gradients
from proxies.run.gradient_noise import GradientNorms


class Lookup(nn.Module):
    """Half the squared distance of a vector from those that tokens name."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.points_VD = torch.randn(9, 5, generator=generator)
        self.x = nn.Parameter(torch.randn(5, generator=generator))

    def loss(self, tokens_BT: Tensor, _targets: Tensor, *, z_loss: float) -> Tensor:
        return (self.x - self.points_VD[tokens_BT]).square().sum(-1).mean() / 2

    def gradient_of(self, tokens_BT: Tensor) -> Tensor:
        return (self.x - self.points_VD[tokens_BT].mean(dim=(0, 1))).detach()


SEQUENCES = torch.randint(9, (7, 4), generator=torch.Generator().manual_seed(1))


def measure(model: Lookup, scales: list[Tensor] | None) -> tuple[Tensor, GradientNorms]:
    batch = split_batch(SEQUENCES, micro_sequences=3)
    return measure_gradients(model.loss, batch, z_loss=0.0, parameters=[model.x], scales=scales)


@pytest.mark.parametrize("micro", [None, 1, 3, 7])
def test_the_sum_is_the_gradient_of_the_mean_however_the_batch_is_cut(micro: int | None) -> None:
    model = Lookup()
    loss = sum_gradients(model.loss, split_batch(SEQUENCES, micro_sequences=micro), z_loss=0.0)
    assert model.x.grad is not None
    torch.testing.assert_close(model.x.grad, model.gradient_of(SEQUENCES[:, :-1]))
    torch.testing.assert_close(loss, model.loss(SEQUENCES[:, :-1], SEQUENCES, z_loss=0.0).detach())


def test_measuring_leaves_the_gradient_and_takes_its_norms() -> None:
    model = Lookup()
    _, norms = measure(model, None)
    parts = [model.gradient_of(part[:, :-1]) for part in torch.split(SEQUENCES, 3)]
    whole = model.gradient_of(SEQUENCES[:, :-1])
    assert model.x.grad is not None
    torch.testing.assert_close(model.x.grad, whole)
    assert norms.small_norm_sq == pytest.approx(sum(g.square().sum().item() for g in parts) / 3)
    assert norms.big_norm_sq == pytest.approx(whole.square().sum().item())
    # Micro-batches of 3, 3 and 1: the mean of 1 / b is 5 / 9.
    assert norms.small_sequences == pytest.approx(9 / 5)
    assert norms.big_sequences == 7


def test_scales_are_in_the_norms_and_not_in_the_gradient() -> None:
    model = Lookup()
    scales = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    _, norms = measure(model, [scales])
    whole = model.gradient_of(SEQUENCES[:, :-1])
    assert model.x.grad is not None
    torch.testing.assert_close(model.x.grad, whole)
    assert norms.big_norm_sq == pytest.approx((whole / scales).square().sum().item())


def test_scales_are_the_denominators_of_adam() -> None:
    model = Lookup()
    adam = torch.optim.AdamW([model.x], lr=0.1, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.0)
    assert adam_scales([adam], [model.x]) is None
    first, second = torch.ones(5), 3 * torch.ones(5)
    for gradient in (first, second):
        model.x.grad = gradient
        adam.step()
    found = adam_scales([adam], [model.x])
    assert found is not None
    v = 0.05 * (0.95 * 1 + 9) / (1 - 0.95**2)
    torch.testing.assert_close(found[0], torch.full((5,), v**0.5 + 1e-3))
