"""Init scales and Adam's multipliers against Microsoft's own `mup` (Yang et al. 2022)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from proxies.model.transformer import ProxyModel
from proxies.run.groups import group_of, param_groups
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.shape import Shape

mup: Any = pytest.importorskip("mup", reason="Microsoft's mup is installed by scripts/test")

BASE = Shape(d_model=64, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=32, d_ff=128, vocab_size=50)
WIDTHS = (64, 128, 256, 512, 1024)
LR, DECAY, STD = 0.01, 0.1, 0.02


def shape_at(width: int) -> Shape:
    m = width // BASE.d_model
    return replace(BASE, d_model=width, n_heads=2 * m, n_kv_heads=m, d_ff=128 * m)


def transformer(width: int) -> nn.Module:
    shape = shape_at(width)
    rule = make_parametrization("sp", d_model=width, n_layers=2, head_dim=32)
    model = ProxyModel(shape, rule, seq_len=8)
    model.lm_head = mup.MuReadout(width, shape.vocab_size, bias=False)
    return model


def perceptron(width: int) -> nn.Module:
    """An MLP whose parts have the names of the groups that they belong to."""
    model = nn.Module()
    model.embed_tokens = nn.Linear(7, width, bias=False)  # a fixed input: as an embedding
    model.layers = nn.ModuleList([nn.Module()])
    model.layers[0].mlp = nn.Module()
    model.layers[0].mlp.up_proj = nn.Linear(width, 2 * width)
    model.layers[0].mlp.down_proj = nn.Linear(2 * width, width)
    model.lm_head = mup.MuReadout(width, 5, bias=False)
    return model


def peer(make: Any, width: int) -> dict[str, tuple[float, float, float]]:
    """(init std, lr, weight decay) of every parameter by `mup`."""
    model = make(width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mup.set_base_shapes(model, make(64), delta=make(128), rescale_params=False)
        optimizer = mup.MuAdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found = {}
    for name, parameter in model.named_parameters():
        torch.manual_seed(0)
        mup.normal_(parameter, std=STD)
        torch.manual_seed(0)
        unit = torch.empty_like(parameter).normal_()
        found[name] = ((parameter / unit).median().item(), *settings[id(parameter)])
    return found


@pytest.mark.parametrize("make", [transformer, perceptron])
@pytest.mark.parametrize("width", WIDTHS)
def test_init_and_adam_multipliers_equal_those_of_microsofts_mup(make: Any, width: int) -> None:
    rule = make_parametrization("mup", d_model=width, n_layers=2, head_dim=32, base_d_model=64)
    groups = param_groups(
        rule,
        optimizer=OPTIMIZERS["adamw"],
        lr=LR,
        weight_decay=DECAY,
        init_std=STD,
        tied_embeddings=False,
    )
    theirs = peer(make, width)
    assert len(theirs) == (21 if make is transformer else 6)
    for name, (std, lr, weight_decay) in theirs.items():
        ours = group_of(name, groups)
        assert ours.lr == pytest.approx(lr, rel=1e-12), name
        if ours.init_std is None:
            continue  # mup leaves gains and biases to the user, and decays what it is told to
        assert ours.init_std == pytest.approx(std, rel=1e-6), name  # float32 ratio
        assert ours.weight_decay == pytest.approx(weight_decay, rel=1e-12), name
    readout = mup.MuReadout(width, 5)
    base = mup.MuReadout(64, 5)
    mup.set_base_shapes(readout, base, delta=mup.MuReadout(128, 5), rescale_params=False)
    assert rule.logits_multiplier == pytest.approx(1 / readout.width_mult())
