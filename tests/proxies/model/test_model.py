from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fitting.errors import InputError
from proxies.model.optimizers import make_optimizers, set_lr
from proxies.model.transformer import ProxyModel, make_model
from proxies.run.groups import ParamGroup, param_groups
from proxies.run.parametrization import OPTIMIZERS, RULES, make_parametrization
from proxies.run.shape import Shape, count_params

UP = "layers.0.mlp.up_proj.weight"
TINY = Shape(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48, vocab_size=61)
PARTS = {
    "plain": TINY,
    "tied": replace(TINY, tied_embeddings=True),
    "qk-norm": replace(TINY, qk_norm="per-head"),
    "wide-heads": replace(TINY, head_dim=16, n_kv_heads=4),
}


def build(
    shape: Shape, rule: str = "sp", *, optimizer: str = "adamw", seed: int = 0, **base: int
) -> tuple[ProxyModel, list[ParamGroup]]:
    parametrization = make_parametrization(
        rule, d_model=shape.d_model, n_layers=shape.n_layers, head_dim=shape.head_dim, **base
    )
    groups = param_groups(
        parametrization,
        optimizer=OPTIMIZERS[optimizer],
        lr=0.01,
        weight_decay=0.1,
        tied_embeddings=shape.tied_embeddings,
    )
    return make_model(shape, parametrization, groups, seq_len=16, seed=seed), groups


def weight(model: ProxyModel, name: str) -> Tensor:
    return dict(model.named_parameters())[name]


def tokens(*, seed: int = 1) -> Tensor:
    return torch.randint(TINY.vocab_size, (3, 17), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", PARTS.values(), ids=PARTS)
def test_the_model_has_the_parameters_that_its_shape_counts(shape: Shape) -> None:
    model, _ = build(shape)
    counted = count_params(shape)
    assert sum(p.numel() for p in model.parameters()) == counted.total_params
    blocks = [*model.layers.parameters(), *model.norm.parameters()]
    assert sum(p.numel() for p in blocks) == counted.params


@pytest.mark.parametrize("shape", PARTS.values(), ids=PARTS)
def test_logits_equal_those_of_transformers(shape: Shape) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="extra: trainers")
    normed = shape.qk_norm != "none"
    config = (transformers.Qwen3Config if normed else transformers.LlamaConfig)(
        hidden_size=shape.d_model,
        intermediate_size=shape.d_ff,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size,
        rms_norm_eps=shape.norm_eps,
        tie_word_embeddings=shape.tied_embeddings,
    )
    theirs = (transformers.Qwen3ForCausalLM if normed else transformers.LlamaForCausalLM)(config)
    ours, _ = build(shape)
    weights = {
        name if name.startswith("lm_head") else f"model.{name}": value
        for name, value in ours.state_dict().items()
    }
    theirs.load_state_dict(weights)
    inputs = tokens()[:, :16]
    with torch.no_grad():
        # float32 sums in another order.
        torch.testing.assert_close(ours(inputs), theirs(inputs).logits, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_at_the_base_all_parametrizations_are_one_model_bit_for_bit(optimizer: str) -> None:
    losses, weights = {}, {}
    for rule in RULES:
        base = {} if rule == "sp" else {"base_d_model": TINY.d_model}
        base |= {"base_n_layers": TINY.n_layers} if rule == "completep" else {}
        model, groups = build(TINY, rule, optimizer=optimizer, **base)
        optimizers = make_optimizers(model, groups)
        for step in range(3):
            batch = tokens(seed=step)
            loss = model.loss(batch[:, :-1], batch[:, 1:])
            torch.autograd.backward(loss)
            for each in optimizers:
                each.step()
                each.zero_grad()
        losses[rule], weights[rule] = loss.item(), model.state_dict()
    assert len(set(losses.values())) == 1
    for name, value in weights["sp"].items():
        assert torch.equal(value, weights["mup"][name])
        assert torch.equal(value, weights["completep"][name])


def test_mup_scales_what_the_table_says() -> None:
    wide, groups = build(
        replace(TINY, d_model=128, n_heads=16, n_kv_heads=8), "mup", base_d_model=32
    )
    rates = {
        group["name"]: group["lr"]
        for o in make_optimizers(wide, groups)
        for group in o.param_groups
    }
    assert rates["matrices"] == pytest.approx(0.01 / 4)
    assert rates["embedding"] == rates["head"] == rates["block_vectors"] == 0.01
    assert weight(wide, UP).std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert wide.embed_tokens.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_causal_and_longer_sequences_do_not_change_what_came_before() -> None:
    model, _ = build(TINY)
    batch = tokens()
    with torch.no_grad():
        torch.testing.assert_close(model(batch[:, :9]), model(batch[:, :16])[:, :9])


def test_z_loss_adds_the_squared_log_partition() -> None:
    model, _ = build(TINY)
    batch = tokens()
    with torch.no_grad():
        log_z = model(batch[:, :-1]).logsumexp(-1)
        plain = model.loss(batch[:, :-1], batch[:, 1:])
        regularised = model.loss(batch[:, :-1], batch[:, 1:], z_loss=0.5)
    torch.testing.assert_close(regularised, plain + 0.5 * log_z.square().mean())


def test_lr_follows_the_fraction_in_every_group() -> None:
    model, groups = build(TINY, "mup", base_d_model=16, optimizer="muon")
    optimizers = make_optimizers(model, groups)
    assert [type(each).__name__ for each in optimizers] == ["AdamW", "Muon"]
    set_lr(optimizers, 0.25)
    for each in optimizers:
        for group in each.param_groups:
            assert group["lr"] == group["peak_lr"] * 0.25


def test_lion_moves_by_the_sign_and_decays_like_adamw() -> None:
    model, groups = build(TINY, optimizer="lion")
    (lion,) = make_optimizers(model, groups)
    before = weight(model, UP).detach().clone()
    batch = tokens()
    torch.autograd.backward(model.loss(batch[:, :-1], batch[:, 1:]))
    gradient = weight(model, UP).grad
    assert gradient is not None
    lion.step()
    expected = before * (1 - 0.01 * 0.1) - 0.01 * gradient.sign()
    torch.testing.assert_close(weight(model, UP).detach(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlp": "gelu"}, "mlp 'gelu' is not built; swiglu"),
        ({"norm": "layernorm"}, "norm 'layernorm'"),
        ({"biases": "qkv"}, "biases 'qkv'"),
        ({"head_dim": 7}, "head_dim 7 is odd"),
        ({"n_kv_heads": 3}, "3"),
    ],
)
def test_shapes_that_cannot_be_built_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(replace(TINY, **change))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor uses torch.jit
def test_compiles_whole() -> None:
    model, _ = build(TINY)
    batch = tokens()
    compiled = torch.compile(model.loss, fullgraph=True)
    torch.testing.assert_close(
        compiled(batch[:, :-1], batch[:, 1:]), model.loss(batch[:, :-1], batch[:, 1:])
    )
