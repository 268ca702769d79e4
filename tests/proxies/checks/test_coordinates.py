from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fitting.errors import FitError, InputError
from proxies.checks.broken_rules import FAULTS, leave_out
from proxies.checks.coordinates import (
    TOLERANCE,
    Coordinates,
    Recipe,
    Slope,
    fit_slope,
    judge_coordinates,
    measure_coordinates,
)
from proxies.corpus import open_corpus, read_sequences
from proxies.run.groups import ParamGroup, param_groups
from proxies.run.parametrization import OPTIMIZERS, Parametrization, make_parametrization
from proxies.run.shape import Shape

VOCAB = 32
SMALL = (32, 64, 128)


@cache
def sequences() -> Tensor:
    corpus = open_corpus(f"zipf:vocab={VOCAB},states={VOCAB}")
    return torch.from_numpy(read_sequences(corpus, seq_len=16, order_seed=0, start=0, count=8))


def make_shape(width: int, *, layers: int = 2, head_dim: int = 16) -> Shape:
    return Shape(
        d_model=width,
        n_layers=layers,
        n_heads=width // head_dim,
        n_kv_heads=width // head_dim,
        head_dim=head_dim,
        d_ff=width * 8 // 3,
        vocab_size=VOCAB,
    )


WIDTHS = tuple(make_shape(width) for width in SMALL)
WIDENING_HEADS = tuple(make_shape(width, head_dim=width // 2) for width in SMALL)
DEPTHS = tuple(make_shape(32, layers=layers) for layers in (4, 8, 16))


def make_recipe(
    rule: str, base: Shape, *, optimizer: str = "adamw", lr: float = 0.002, fault: str | None
) -> Recipe:
    bases = {"base_d_model": base.d_model, "base_head_dim": base.head_dim}
    depth = {"base_n_layers": base.n_layers} if rule == "completep" else {}

    def recipe(shape: Shape) -> tuple[Parametrization, list[ParamGroup]]:
        parametrization = make_parametrization(
            rule,
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            head_dim=shape.head_dim,
            **({} if rule == "sp" else bases | depth),
        )
        groups = param_groups(
            parametrization,
            optimizer=OPTIMIZERS[optimizer],
            lr=lr,
            weight_decay=0.1,
            init_std=0.5 / base.d_model**0.5,
            tied_embeddings=False,
        )
        if fault is None:
            return parametrization, groups
        return leave_out(fault, parametrization, groups, shape)

    return recipe


@cache
def check(
    shapes: tuple[Shape, ...],
    rule: str,
    *,
    optimizer: str = "adamw",
    fault: str | None = None,
    lr: float = 0.002,
) -> dict[str, Slope]:
    recipe = make_recipe(rule, shapes[0], optimizer=optimizer, lr=lr, fault=fault)
    measured = measure_coordinates(shapes, recipe, sequences(), steps=3, seeds=4)
    return {slope.tensor: slope for slope in judge_coordinates(measured)}


def names_off(slopes: dict[str, Slope]) -> list[str]:
    return [name for name, slope in slopes.items() if slope.verdict == "off"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_change_follows_width_under_mup(optimizer: str) -> None:
    lr = 0.001 if optimizer == "lion" else 0.002
    assert not names_off(check(WIDTHS, "mup", optimizer=optimizer, lr=lr))


def test_every_layer_grows_with_width_under_sp() -> None:
    for name, slope in check(WIDTHS, "sp").items():
        if name.startswith("layer"):
            assert slope.verdict == "off"
            assert slope.slope > 0.5


@pytest.mark.parametrize(
    ("fault", "shapes", "rule", "named", "least"),
    [
        ("matrix-lr", WIDTHS, "mup", "layer 0 mlp output", 0.5),
        ("matrix-init", WIDTHS, "mup", "layer 0 mlp output", 0.5),
        ("logits", WIDTHS, "mup", "logits", 0.3),
        ("attention", WIDENING_HEADS, "mup", "layer 0 attention logits", 0.2),
        ("residual", DEPTHS, "completep", "last layer residual stream", 0.5),
    ],
    ids=lambda value: value if value in FAULTS else "",
)
def test_a_rule_left_out_is_caught_at_its_layer(
    fault: str, shapes: tuple[Shape, ...], rule: str, named: str, least: float
) -> None:
    lr = 0.001 if rule == "completep" else 0.002
    wrong = check(shapes, rule, lr=lr, fault=fault)
    assert not names_off(check(shapes, rule, lr=lr))
    assert named in names_off(wrong)
    assert wrong[named].slope > least


def test_mup_is_flat_within_the_tolerance_where_it_is_known_well_enough() -> None:
    for slope in check(WIDTHS, "mup").values():
        assert abs(slope.slope) < TOLERANCE + 3 * slope.standard_error


@pytest.mark.slow
def test_mup_is_flat_within_the_tolerance_from_width_64_to_1024() -> None:
    shapes = tuple(make_shape(width) for width in (64, 128, 256, 512, 1024))
    recipe = make_recipe("mup", shapes[0], fault=None)
    measured = measure_coordinates(shapes, recipe, sequences(), steps=3, seeds=6)
    for slope in judge_coordinates(measured):
        assert abs(slope.slope) < TOLERANCE, slope


def test_the_same_seeds_give_the_same_coordinates() -> None:
    recipe = make_recipe("mup", WIDTHS[0], fault=None)
    first, second = (
        measure_coordinates(WIDTHS, recipe, sequences(), steps=3, seeds=1) for _ in range(2)
    )
    assert np.array_equal(first.rms, second.rms)


@pytest.mark.parametrize(
    ("tensor", "heads_widen", "tied"),
    [("layer 0 attention logits", True, False), ("logits", False, True)],
)
def test_logits_may_shrink_where_heads_widen_or_the_head_is_tied_and_may_not_grow(
    tensor: str, *, heads_widen: bool, tied: bool
) -> None:
    sizes = np.array([1.0, 2.0, 4.0])
    for exponent, verdict in ((-0.5, "shrinks"), (0.0, "flat"), (0.5, "off")):
        values = (sizes**exponent).reshape(3, 1, 1, 1)
        measured = Coordinates(
            variable="width",
            sizes=(1, 2, 4),
            heads_widen=heads_widen,
            tied=tied,
            tensors=(tensor,),
            rms=values,
            change=values,
        )
        assert judge_coordinates(measured)[0].verdict == verdict


@given(
    slope=st.floats(-3, 3),
    scale=st.floats(1e-6, 1e6),
    noise=st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6),
)
def test_a_slope_is_that_of_numpys_line_and_no_unit_changes_it(
    slope: float, scale: float, noise: list[float]
) -> None:
    sizes = [64, 128, 256]
    values = np.array(sizes)[:, None] ** slope * np.exp(np.reshape(noise, (3, 2)))
    found, error = fit_slope(sizes, values)
    x, y = np.repeat(np.log(sizes), 2), np.log(values).ravel()
    line = np.polynomial.polynomial.polyfit(x, y, 1)
    residual = y - line[0] - line[1] * x
    expected = np.sqrt(residual @ residual / 4 / np.square(x - x.mean()).sum())
    assert found == pytest.approx(line[1], abs=1e-9)
    assert error == pytest.approx(expected, abs=1e-9)
    assert fit_slope(sizes, values * scale) == pytest.approx((found, error), abs=1e-9)


@pytest.mark.parametrize(
    ("shapes", "lr", "message"),
    [
        (WIDTHS[:2], 0.002, "three or more, in rising order"),
        (WIDTHS[::-1], 0.002, "three or more, in rising order"),
        ((*WIDTHS, make_shape(256, layers=3)), 0.002, "vary one of them"),
        (WIDTHS, 1e-9, "raise the lr"),
    ],
)
def test_a_check_that_can_say_nothing_is_refused(
    shapes: tuple[Shape, ...], lr: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        measure_coordinates(
            shapes,
            make_recipe("mup", WIDTHS[0], lr=lr, fault=None),
            sequences(),
            steps=3,
            seeds=1,
        )


def test_two_steps_are_refused_because_attention_has_not_moved() -> None:
    recipe = make_recipe("mup", WIDTHS[0], fault=None)
    with pytest.raises(InputError, match="2 steps; at least 3"):
        measure_coordinates(WIDTHS, recipe, sequences(), steps=2, seeds=1)


def test_activations_that_overflow_are_named() -> None:
    recipe = make_recipe("sp", WIDTHS[0], lr=1e30, fault=None)
    with pytest.raises(FitError, match=r"at width 32: .* is not finite after step 1; lower the lr"):
        measure_coordinates(WIDTHS, recipe, sequences(), steps=3, seeds=1)


def test_a_fault_without_a_name_is_refused() -> None:
    recipe = make_recipe("mup", WIDTHS[0], fault="matrix_lr")
    with pytest.raises(InputError, match="nearest is 'matrix-lr'"):
        recipe(WIDTHS[0])
