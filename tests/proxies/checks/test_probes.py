from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fitting.errors import InputError
from fitting.runs.columns import COLUMNS
from proxies.checks.probes import (
    PROBES,
    choose_probes,
    list_gradient_norms,
    list_singular_values,
)
from proxies.model.transformer import ProxyModel, make_model
from proxies.run.groups import param_groups
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.shape import Shape

TINY = Shape(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48, vocab_size=61)
LENGTH = 12


@pytest.fixture
def model() -> ProxyModel:
    rule = make_parametrization("sp", d_model=32, n_layers=2, head_dim=8)
    groups = param_groups(
        rule, optimizer=OPTIMIZERS["adamw"], lr=0.01, weight_decay=0.1, tied_embeddings=False
    )
    return make_model(TINY, rule, groups, seq_len=LENGTH, seed=0)


@pytest.fixture
def sequences() -> Tensor:
    return torch.randint(61, (3, LENGTH + 1), generator=torch.Generator().manual_seed(1))


def measure(model: ProxyModel, sequences: Tensor, *names: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for probe in choose_probes(names):
        found |= probe(model, sequences, [])
    return found


def zero(model: ProxyModel, part: str) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.zero_()


def test_every_probe_fills_its_column_of_the_runs_table(
    model: ProxyModel, sequences: Tensor
) -> None:
    found = measure(model, sequences, "all")
    assert set(found) == set(PROBES) <= set(COLUMNS)
    assert all(math.isfinite(value) for value in found.values())


def test_uniform_attention_has_the_entropy_of_the_keys_it_sees(
    model: ProxyModel, sequences: Tensor
) -> None:
    zero(model, "q_proj")
    found = measure(model, sequences, "attention_entropy")
    expected = sum(math.log(keys) for keys in range(1, LENGTH + 1)) / LENGTH
    assert found["attention_entropy"] == pytest.approx(expected, rel=1e-6)
    assert found["max_attention_logit"] == 0


def test_the_largest_attention_logit_is_that_of_plain_query_times_key(
    model: ProxyModel, sequences: Tensor
) -> None:
    # One position is not rotated, so its logit is the plain product.
    layer: Any = model.layers[0]
    zero(model, "layers.1")
    x = model.embed_tokens(sequences[:, :1])
    normed = layer.input_layernorm(x)
    q = layer.self_attn.q_proj(normed).view(3, 4, 8)
    k = layer.self_attn.k_proj(normed).view(3, 2, 8).repeat_interleave(2, dim=1)
    expected = ((q * k).sum(-1) / math.sqrt(8)).abs().max().item()
    found = measure(model, sequences[:, :2], "max_attention_logit")
    assert found["max_attention_logit"] == pytest.approx(expected, rel=1e-5)


def test_a_head_of_zeros_has_the_log_partition_of_its_vocabulary(
    model: ProxyModel, sequences: Tensor
) -> None:
    zero(model, "lm_head")
    assert measure(model, sequences, "output_log_z")["output_log_z"] == pytest.approx(math.log(61))


def test_grad_rms_is_that_of_a_backward_pass_and_leaves_gradients_alone(
    model: ProxyModel, sequences: Tensor
) -> None:
    found = measure(model, sequences, "grad_rms")["grad_rms"]
    norms = list_gradient_norms(model, sequences)
    assert all(parameter.grad is None for parameter in model.parameters())
    model.loss(sequences[:, :-1], sequences[:, 1:]).backward()  # type: ignore[no-untyped-call]  # torch's has no types
    squares = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert found == pytest.approx(squares.square().mean().sqrt().item(), rel=1e-5)
    grad = model.lm_head.weight.grad
    assert grad is not None
    assert norms["lm_head.weight"] == pytest.approx(grad.norm().item(), rel=1e-5)


def test_top_singular_value_is_that_of_a_known_matrix(model: ProxyModel, sequences: Tensor) -> None:
    layer: Any = model.layers[1]
    with torch.no_grad():
        layer.self_attn.o_proj.weight.copy_(torch.diag(torch.linspace(0, 7.5, 32)))
    assert measure(model, sequences, "top_singular_value")["top_singular_value"] == pytest.approx(
        7.5
    )
    assert list_singular_values(model)["layers.1.self_attn.o_proj.weight"] == pytest.approx(7.5)


def test_a_probe_changes_nothing(model: ProxyModel, sequences: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = model(sequences[:, :-1])
    measure(model, sequences, "all")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(model(sequences[:, :-1]), logits)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_unknown_probe_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="nearest is 'grad_rms'"):
        choose_probes(["grad_rm"])
