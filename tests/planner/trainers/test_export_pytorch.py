"""The PyTorch export, executed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from planner.plan.export import export_plan
from planner.trainers.supported.pytorch import SHAPES, TRAINER
from proxies.run.schedule import SHAPES as KNOWN_SHAPES
from proxies.run.schedule import lr_fraction, make_schedule
from proxies.run.spec import RunSpec
from tests.fixtures.plans import SCHEDULES, SMALL, make_plan, small_run

# What importorskip gives has no types: hence what the classes below ignore.
torch = pytest.importorskip("torch", reason="the extra `proxies` is not installed")


def execute(settings: RunSpec) -> dict[str, Any]:
    """The module's names after it ran."""
    module: dict[str, Any] = {}
    exec(compile(TRAINER.write(settings, ["a head"])[""], "exported.py", "exec"), module)
    return module


class Attention(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """One head over all of the past, under transformers' names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, torch.nn.Linear(width, width, bias=False))

    def forward(self, x: Any) -> Any:
        found = torch.nn.functional.scaled_dot_product_attention(
            self.q_proj(x), self.k_proj(x), self.v_proj(x), is_causal=True
        )
        return self.o_proj(found)


class Mlp(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A gated MLP under transformers' names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(self, name, torch.nn.Linear(width, width, bias=False))

    def forward(self, x: Any) -> Any:
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A block under transformers' names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(width), Mlp(width)
        self.input_layernorm = torch.nn.RMSNorm(width)
        self.post_attention_layernorm = torch.nn.RMSNorm(width)

    def forward(self, x: Any) -> Any:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """The smallest model that has every parameter group."""

    def __init__(self, width: int = 16, vocab: int = 32) -> None:
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(vocab, width)
        self.layers = torch.nn.ModuleList([Layer(width) for _ in range(2)])
        self.norm = torch.nn.RMSNorm(width)
        self.lm_head = torch.nn.Linear(width, vocab, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_lambda_gives_our_lr_at_every_step(name: str) -> None:
    settings = small_run(schedule=SCHEDULES[name])
    found = execute(settings)["lr_fraction"]
    for step in range(settings.schedule.steps):
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert found(step) == pytest.approx(ours, abs=1e-12)
    assert found(settings.schedule.steps) == settings.schedule.final_lr_fraction


def test_every_shape_has_its_line() -> None:
    assert list(SHAPES) == list(KNOWN_SHAPES)


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "muon"])
def test_it_trains(optimizer: str) -> None:
    schedule = make_schedule("wsd", steps=12, warmup_steps=3, decay_steps=4)
    module = execute(small_run(schedule=schedule, optimizer=optimizer))
    torch.manual_seed(0)
    model = Model()
    module["init_weights"](model)
    module["apply_multipliers"](model)
    module["GRAD_CLIP"] = 1.0
    # The same tokens again and again are learned at any lr of the plan.
    tokens = torch.arange(17).repeat(6, 1)
    before = loss_of(model, tokens)
    module["train"](model, iter([tokens] * (12 * module["ACCUMULATION"])))
    assert loss_of(model, tokens) < before


def loss_of(model: Any, tokens: Any) -> float:
    logits = model(tokens[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    return float(loss.detach())


def test_every_parameter_has_the_lr_and_decay_of_its_group() -> None:
    plan = make_plan(gpus="4", parametrization="completep", base_d_model=64, base_n_layers=1)
    files, said = export_plan(plan, "pytorch")
    assert not said.losses
    module: dict[str, Any] = {}
    exec(compile(files[""], "exported.py", "exec"), module)
    model = Model()
    (optimizer,) = module["make_optimizers"](model)
    names = {id(p): name for name, p in model.named_parameters()}
    expected = {group.name: group for group in plan.param_groups}
    seen = set()
    for group in optimizer.param_groups:
        for p in group["params"]:
            planned = expected[module["group_of"](names[id(p)])["name"]]
            assert (group["lr"], group["weight_decay"]) == (planned.lr, planned.weight_decay)
            assert (group["betas"], group["eps"]) == (planned.betas, planned.eps)
            seen.add(names[id(p)])
    assert seen == set(names.values())


def test_multipliers_scale_the_modules_they_name() -> None:
    settings = small_run(
        parametrization="completep", base_d_model=64, base_n_layers=1, base_head_dim=8
    )
    rule = settings.parametrization
    module = execute(settings)
    torch.manual_seed(0)
    model, tokens = Model(), torch.arange(8)[None]
    layer, head = model.layers[0], model.lm_head
    x = torch.randn(1, 8, 16)
    plain = [layer.mlp(x), layer.self_attn.q_proj(x), head(x), layer.self_attn.k_proj(x)]
    module["apply_multipliers"](model)
    scaled = [layer.mlp(x), layer.self_attn.q_proj(x), head(x), layer.self_attn.k_proj(x)]
    factors = (
        rule.residual_multiplier,
        rule.attention_scale * math.sqrt(SMALL.head_dim),
        rule.logits_multiplier,
        1.0,
    )
    for before, after, factor in zip(plain, scaled, factors, strict=True):
        torch.testing.assert_close(after, before * factor)
    assert model(tokens).shape == (1, 8, 32)


def test_weights_start_with_the_std_of_their_group() -> None:
    settings = small_run(parametrization="mup", base_d_model=32)
    module = execute(settings)
    torch.manual_seed(0)
    model = Model(width=128)
    module["init_weights"](model)
    assert float(model.layers[0].mlp.up_proj.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(model.lm_head.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert bool((model.norm.weight == 1).all())


def test_a_parameter_that_no_pattern_names_is_refused() -> None:
    module = execute(small_run())
    model = Model()
    model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"extra\.weight: matches 0 patterns"):
        module["make_optimizers"](model)
