from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.groups import (
    PATTERNS,
    ParamGroup,
    base_settings,
    param_groups,
    with_head_init,
)
from proxies.run.parametrization import (
    OPTIMIZERS,
    RULES,
    Parametrization,
    convert_adamw_law,
    convert_sp_law,
    make_parametrization,
    with_embedding_multiplier,
)

LAYER = (
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
    "self_attn.o_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "mlp.down_proj.weight",
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
)
LLAMA = (
    "model.embed_tokens.weight",
    *(f"model.layers.{layer}.{name}" for layer in (0, 1, 11) for name in LAYER),
    "model.norm.weight",
    "lm_head.weight",
)
"""Names of transformers' LlamaForCausalLM."""

OTHERS = (
    "model.layers.0.self_attn.q_norm.weight",  # Qwen3
    "model.layers.0.self_attn.k_norm.weight",
    "model.layers.0.self_attn.q_proj.bias",  # Qwen2
    "model.layers.0.mlp.down_proj.bias",  # LlamaConfig(mlp_bias=True)
    "model.layers.0.input_layernorm.bias",  # LayerNorm
    "model.layers.0.post_feedforward_layernorm.weight",  # OLMo-2
    "model.norm.bias",
    "model.embed_positions.weight",
)

GROUP_OF = {
    "model.embed_tokens.weight": "embedding",
    "model.embed_positions.weight": "embedding",
    "model.norm.weight": "final_norm",
    "model.norm.bias": "final_norm",
    "lm_head.weight": "head",
}


def base_depth(name: str, layers: int) -> dict[str, Any]:
    """The base depth that CompleteP wants."""
    return {"base_n_layers": layers} if name == "completep" else {}


def groups_of(
    name: str,
    *,
    optimizer: str = "adamw",
    width: int = 1024,
    layers: int = 16,
    **bases: Any,
) -> tuple[Parametrization, dict[str, ParamGroup]]:
    """A parametrization and its groups by name, at lr 0.01, weight decay 0.1 and std 0.02."""
    bases = base_depth(name, layers) | bases
    rule = make_parametrization(name, d_model=width, n_layers=layers, head_dim=64, **bases)
    groups = param_groups(
        rule,
        optimizer=OPTIMIZERS[optimizer],
        lr=0.01,
        weight_decay=0.1,
        init_std=0.02,
        tied_embeddings=False,
    )
    return rule, {group.name: group for group in groups}


def settings(group: ParamGroup) -> tuple[float, float, float | None, float | None]:
    """What the table speaks of: lr, weight decay, eps and init."""
    return group.lr, group.weight_decay, group.eps, group.init_std


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("head_dim", [64, 80, 128])
def test_at_the_base_all_rules_are_one_model_number_for_number(
    optimizer: str, head_dim: int
) -> None:
    seen = []
    for name in RULES:
        base = {} if name == "sp" else {"base_d_model": 768}
        base |= base_depth(name, 12)
        rule = make_parametrization(name, d_model=768, n_layers=12, head_dim=head_dim, **base)
        groups = param_groups(
            rule,
            optimizer=OPTIMIZERS[optimizer],
            lr=3.7e-3,
            weight_decay=0.13,
            tied_embeddings=False,
        )
        seen.append((dataclasses.replace(rule, name="any"), groups))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0].attention_scale == 1 / math.sqrt(head_dim)


def test_sp_is_plain_at_every_size() -> None:
    rule, groups = groups_of("sp")
    assert settings(groups["embedding"]) == (0.01, 0.1, 1e-8, 0.02)
    assert settings(groups["matrices"]) == (0.01, 0.1, 1e-8, 0.02)
    assert settings(groups["block_vectors"]) == (0.01, 0.0, 1e-8, None)
    assert settings(groups["final_norm"]) == (0.01, 0.0, 1e-8, None)
    assert settings(groups["head"]) == (0.01, 0.1, 1e-8, 0.02)
    assert (rule.attention_scale, rule.residual_multiplier, rule.logits_multiplier) == (0.125, 1, 1)


def test_mup_at_four_times_the_width_is_the_table() -> None:
    rule, groups = groups_of("mup", base_d_model=256)
    assert settings(groups["embedding"]) == (0.01, 0.1, 2.5e-9, 0.02)
    assert settings(groups["matrices"]) == (0.0025, 0.4, 2.5e-9, 0.01)
    assert settings(groups["block_vectors"]) == (0.01, 0.0, 2.5e-9, None)
    assert settings(groups["final_norm"]) == (0.01, 0.0, 2.5e-9, None)
    assert settings(groups["head"]) == (0.01, 0.1, 2.5e-9, 0.02)
    assert (rule.width_mult, rule.depth_mult) == (4, 1)
    assert (rule.residual_multiplier, rule.logits_multiplier) == (1, 0.25)
    assert rule.embedding_multiplier == 1


def test_completep_at_four_times_the_width_and_twice_the_depth_is_the_table() -> None:
    rule, groups = groups_of("completep", base_d_model=256, base_n_layers=8)
    assert settings(groups["embedding"]) == (0.01, 0.1, 2.5e-9, 0.02)
    # alpha = 1: r^(alpha-1) = 1, so depth touches eps and the residual branches only.
    assert settings(groups["matrices"]) == (0.0025, 0.4, 1.25e-9, 0.01)
    assert settings(groups["block_vectors"]) == (0.01, 0.0, 1.25e-9, None)
    # Depth is no factor of the eps outside the blocks, which no residual multiplier shrinks.
    assert settings(groups["final_norm"]) == (0.01, 0.0, 2.5e-9, None)
    assert settings(groups["head"]) == (0.01, 0.1, 2.5e-9, 0.02)
    assert (rule.width_mult, rule.depth_mult) == (4, 2)
    assert (rule.residual_multiplier, rule.logits_multiplier) == (0.5, 0.25)


@pytest.mark.parametrize("name", ["mup", "completep"])
def test_attention_falls_as_one_over_head_dim_from_the_bases_square_root(name: str) -> None:
    for head_dim, base, expected in ((64, 64, 1 / 8), (128, 64, 8 / 128), (256, 16, 4 / 256)):
        rule = make_parametrization(
            name,
            d_model=1024,
            n_layers=4,
            head_dim=head_dim,
            base_head_dim=base,
            **base_depth(name, 4),
        )
        assert rule.attention_scale == pytest.approx(expected, rel=1e-15)


@given(
    name=st.sampled_from(["mup", "completep"]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    width=st.integers(8, 20_000),
    base=st.integers(8, 20_000),
)
def test_lr_times_weight_decay_of_matrices_does_not_change_with_width(
    name: str, optimizer: str, width: int, base: int
) -> None:
    _, groups = groups_of(name, optimizer=optimizer, width=width, base_d_model=base)
    for group in ("matrices", "embedding", "head"):
        product = groups[group].lr * groups[group].weight_decay
        assert product == pytest.approx(0.01 * 0.1, rel=1e-14)


def test_lion_has_no_eps_and_follows_the_adamw_rule_of_width() -> None:
    _, groups = groups_of("mup", optimizer="lion", base_d_model=256)
    assert settings(groups["matrices"]) == (0.0025, 0.4, None, 0.01)
    assert {group.optimizer for group in groups.values()} == {"lion"}
    assert {group.betas for group in groups.values()} == {(0.9, 0.99)}


def test_muon_takes_the_matrices_and_leaves_the_rest_to_adamw() -> None:
    _, groups = groups_of("sp", optimizer="muon")
    assert {name: group.optimizer for name, group in groups.items()} == {
        "embedding": "adamw",
        "matrices": "muon",
        "block_vectors": "adamw",
        "final_norm": "adamw",
        "head": "adamw",
    }
    assert settings(groups["matrices"]) == (0.01, 0.1, None, 0.02)
    assert groups["matrices"].betas == (0.95,)
    assert groups["head"].betas == (0.9, 0.95)


def test_muon_under_mup_keeps_the_spectral_norm_of_its_update() -> None:
    norms = []
    for width in (256, 1024, 4096):
        _, groups = groups_of("mup", optimizer="muon", width=width, base_d_model=256)
        # A square orthogonal update has spectral norm 1; Moonshot scales it by 0.2 sqrt(width).
        norms.append(groups["matrices"].lr * 0.2 * math.sqrt(width))
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-14)


def test_muon_with_a_depth_multiplier_is_refused() -> None:
    with pytest.raises(InputError, match="no source gives its rule at depth multiplier 2"):
        groups_of("completep", optimizer="muon", base_n_layers=8)


def test_tied_embeddings_have_no_head_group() -> None:
    rule = make_parametrization("mup", d_model=512, n_layers=8, head_dim=64)
    groups = param_groups(
        rule, optimizer=OPTIMIZERS["adamw"], lr=0.01, weight_decay=0.1, tied_embeddings=True
    )
    assert [group.name for group in groups] == [
        "embedding",
        "matrices",
        "block_vectors",
        "final_norm",
    ]


@pytest.mark.parametrize("parameter", [*LLAMA, *OTHERS])
def test_each_parameter_name_matches_one_pattern_only(parameter: str) -> None:
    found = [name for name, pattern in PATTERNS.items() if re.fullmatch(pattern, parameter)]
    is_matrix = parameter.endswith("_proj.weight")
    inside = "matrices" if is_matrix else "block_vectors"
    assert found == [GROUP_OF.get(parameter, inside)]


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_patterns_see_through_wrappers(prefix: str) -> None:
    for parameter in LLAMA:
        bare = parameter.removeprefix("model.")
        for name in (prefix + parameter, prefix + bare):
            found = [group for group, pattern in PATTERNS.items() if re.fullmatch(pattern, name)]
            assert len(found) == 1, name


@given(
    name=st.sampled_from(sorted(RULES)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    width=st.integers(8, 20_000),
)
def test_a_converted_sp_law_gives_matrices_its_own_values(
    name: str, optimizer: str, width: int
) -> None:
    rule = make_parametrization(name, d_model=width, n_layers=8, head_dim=64, **base_depth(name, 8))
    lr, weight_decay = convert_sp_law(
        lr=2e-3, weight_decay=0.1, parametrization=rule, optimizer=OPTIMIZERS[optimizer]
    )
    groups = param_groups(
        rule,
        optimizer=OPTIMIZERS[optimizer],
        lr=lr,
        weight_decay=weight_decay,
        tied_embeddings=False,
    )
    matrices = next(group for group in groups if group.name == "matrices")
    assert (matrices.lr, matrices.weight_decay) == pytest.approx((2e-3, 0.1), rel=1e-14)


def test_adamw_laws_are_a_fifth_for_lion_and_unchanged_for_the_others() -> None:
    values = {
        name: convert_adamw_law(lr=1e-3, weight_decay=0.1, optimizer=optimizer)
        for name, optimizer in OPTIMIZERS.items()
    }
    assert values["lion"] == pytest.approx((2e-4, 0.5), rel=1e-15)
    assert values["adamw"] == values["muon"] == (1e-3, 0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mupp", {}, "'mupp': not known; nearest is 'mup'"),
        ("sp", {"base_d_model": 256}, "base width 256 has no effect; leave it out, or use mup"),
        ("mup", {"base_n_layers": 4}, "base layers 4 has no effect; leave it out, or use complete"),
        ("mup", {"base_d_model": 0}, "base width 0; at least 1"),
        ("sp", {"base_head_dim": 32}, "base head dim 32 has no effect"),
        ("mup", {"head_dim": 0}, "base head dim for a model of 0"),
        ("completep", {"base_d_model": 256}, "is mup where no base depth is given; give --base-la"),
    ],
)
def test_bases_that_cannot_be_or_do_nothing_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    sizes = {"d_model": 512, "n_layers": 8, "head_dim": 64} | options
    with pytest.raises(InputError, match=message):
        make_parametrization(name, **sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, r"lr 0\.0: must be"),
        ({"lr": math.nan}, "lr nan: must be"),
        ({"weight_decay": -0.1}, r"weight decay -0\.1: must be"),
        ({"weight_decay": math.inf}, "weight decay inf: must be"),
        ({"init_std": 0.0}, r"init std 0\.0: must be"),
        ({"decay_rule": "layerwize"}, "weight decay rule 'layerwize': .*nearest is 'layerwise'"),
    ],
)
def test_values_that_cannot_train_are_refused(options: dict[str, Any], message: str) -> None:
    rule = make_parametrization("sp", d_model=512, n_layers=8, head_dim=64)
    values: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "init_std": 0.02} | options
    with pytest.raises(InputError, match=message):
        param_groups(rule, optimizer=OPTIMIZERS["adamw"], tied_embeddings=False, **values)


@pytest.mark.parametrize(("value", "said"), [(0.0, "0.0"), (math.inf, "inf"), (-1.0, "-1.0")])
def test_an_embedding_multiplier_that_is_not_above_0_is_refused(value: float, said: str) -> None:
    rule = make_parametrization("sp", d_model=512, n_layers=8, head_dim=64)
    with pytest.raises(InputError, match=f"embedding multiplier {said}: must be"):
        with_embedding_multiplier(rule, value)


def test_adamw_under_mup_starts_from_the_published_base_and_others_from_the_plain_one() -> None:
    for name in ("mup", "completep"):
        base = base_settings(name, optimizer="adamw")
        assert (base.init_std, base.embedding_multiplier, base.warmup_fraction) == (0.08, 10, 0.1)
        assert base_settings(name, optimizer="lion") == base_settings("sp", optimizer="adamw")
    plain = base_settings("sp", optimizer="adamw")
    assert (plain.init_std, plain.embedding_multiplier, plain.warmup_fraction) == (0.02, 1, None)


def test_a_head_has_its_own_init_unless_it_is_the_embedding() -> None:
    rule = make_parametrization("mup", d_model=64, n_layers=2, head_dim=32)
    numbers: dict[str, Any] = {"optimizer": OPTIMIZERS["adamw"], "lr": 0.01, "weight_decay": 0.1}
    groups = param_groups(rule, **numbers, init_std=0.08, tied_embeddings=False)
    changed = with_head_init(groups, init_std=0.02)
    assert changed[:-1] == groups[:-1]
    assert dataclasses.replace(changed[-1], init_std=0.08) == groups[-1]
    assert changed[-1].init_std == 0.02
    with pytest.raises(InputError, match=r"head init std 0\.0: must be"):
        with_head_init(groups, init_std=0.0)
    with pytest.raises(InputError, match=r"head init std 0\.02: the head is the embedding"):
        with_head_init(param_groups(rule, **numbers, tied_embeddings=True), init_std=0.02)


def test_importing_parametrizations_loads_no_array_library() -> None:
    code = (
        "import sys, proxies.run.parametrization\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'scipy', 'pydantic') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_layerwise_decay_grows_as_the_root_of_width_and_spares_vectors() -> None:
    rule = make_parametrization("mup", d_model=1024, n_layers=4, head_dim=64, base_d_model=64)
    groups = {
        group.name: group
        for group in param_groups(
            rule,
            optimizer=OPTIMIZERS["adamw"],
            lr=0.01,
            weight_decay=0.1,
            decay_rule="layerwise",
            tied_embeddings=False,
        )
    }
    decays = {name: group.weight_decay for name, group in groups.items()}
    # arXiv 2510.15262: matrices lr as 1/d and weight decay as sqrt(d), here sqrt(16) = 4.
    assert decays == pytest.approx(
        {"embedding": 0, "matrices": 0.4, "block_vectors": 0, "final_norm": 0, "head": 0.1}
    )
    assert groups["matrices"].lr == pytest.approx(0.01 / 16)
