import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.errors import FitError, InputError
from fitting.laws.file import read_law
from fitting.laws.law import Quantity
from fitting.laws.surface import (
    Setting,
    Surface,
    Term,
    best_batch,
    best_lr,
    best_point,
    log_penalty,
    optimal_shares,
    surface_from,
    surface_of,
    surface_quantity,
    weights,
)

LAW = Path(__file__).parents[3] / "data" / "laws" / "step-law-surface.toml"

THEORY = Surface(
    progress=Term(-4.0, 0.1, -0.8, -0.8, 0.8),
    noise=Term(-4.5, 0.2, 0.2, 0.5, -1.0),
    heat=Term(-5.5, 0.5, 0.0, 1.5, 0.0),
)

surfaces = st.builds(
    lambda p, nl, nb, h, consts, sizes: Surface(
        progress=Term(consts[0], sizes[0], -p, -p, p),
        noise=Term(consts[1], sizes[1], sizes[2], nl, -nb),
        heat=Term(consts[2], sizes[3], sizes[4], h, 0.0),
    ),
    st.floats(0.1, 1.5),
    st.floats(0.0, 0.09),
    st.floats(0.2, 1.5),
    st.floats(0.3, 2.5),
    st.tuples(*[st.floats(-7, -2)] * 3),
    st.tuples(*[st.floats(-0.5, 0.8)] * 5),
)
"""Surfaces with an optimum: noise_lr / noise_batch below 1, so that shares are above 0."""

sizes = st.floats(1e6, 1e12)
budgets = st.floats(1e8, 1e14)


def loss_at(surface: Surface, params: float, tokens: float, lr: float, batch: float) -> float:
    return log_penalty(surface, params=params, tokens=tokens, lr=lr, batch_tokens=batch)


def test_log_penalty_is_the_sum_written_out() -> None:
    n, d, x, b = math.log(1e9 / 3e8), math.log(1e10 / 2e10), math.log(2.0), math.log(5e5 / 3e5)
    q = (
        math.exp(-4.0 + 0.1 * n - 0.8 * (d + x - b))
        + math.exp(-4.5 + 0.2 * n + 0.2 * d + 0.5 * x - b)
        + math.exp(-5.5 + 0.5 * n + 1.5 * x)
    )
    assert math.isclose(loss_at(THEORY, 1e9, 1e10, 2e-3, 5e5), math.log(1 + q), rel_tol=1e-12)


@given(surfaces, sizes, budgets, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_no_point_is_below_the_best_point(
    surface: Surface, params: float, tokens: float, x: float, y: float
) -> None:
    lr, batch = best_point(surface, params, tokens)
    best = loss_at(surface, params, tokens, lr, batch)
    other = loss_at(surface, params, tokens, lr * math.exp(x), batch * math.exp(y))
    assert other >= best * (1 - 1e-12)


@given(surfaces, sizes, budgets)
def test_best_lr_and_best_batch_meet_at_the_best_point(
    surface: Surface, params: float, tokens: float
) -> None:
    lr, batch = best_point(surface, params, tokens)
    assert math.isclose(best_lr(surface, params, tokens, batch), lr, rel_tol=1e-9)
    assert math.isclose(best_batch(surface, params, tokens, lr), batch, rel_tol=1e-9)


@given(surfaces, sizes, budgets, st.floats(1.0, 1e12), st.floats(0.8, 1.25))
def test_best_lr_is_lowest_at_any_batch(
    surface: Surface, params: float, tokens: float, batch: float, factor: float
) -> None:
    lr = best_lr(surface, params, tokens, batch)
    best = loss_at(surface, params, tokens, lr, batch)
    assert loss_at(surface, params, tokens, lr * factor, batch) >= best * (1 - 1e-12)


@given(surfaces, sizes, budgets, st.floats(1.1, 100.0))
def test_optimum_is_a_power_of_tokens(
    surface: Surface, params: float, tokens: float, factor: float
) -> None:
    points = [best_point(surface, params, tokens * factor**k) for k in range(3)]
    for first, second, third in zip(*points, strict=True):
        assert math.isclose(second / first, third / second, rel_tol=1e-6)


@given(sizes, budgets, st.floats(1.0, 100.0))
def test_more_tokens_never_lower_the_shipped_best_batch(
    params: float, tokens: float, factor: float
) -> None:
    surface = surface_from(read_law(LAW, trusted=True).quantities["surface"])
    before = best_point(surface, params, tokens)[1]
    assert best_point(surface, params, tokens * factor)[1] >= before


@given(sizes, budgets, st.floats(1e-3, 1e3))
@settings(max_examples=30)
def test_units_of_tokens_do_not_change_the_optimum(
    params: float, tokens: float, unit: float
) -> None:
    ref = THEORY.reference
    rescaled = replace(
        THEORY,
        reference=Setting(ref.params, ref.tokens * unit, ref.lr, ref.batch_tokens * unit),
    )
    lr, batch = best_point(THEORY, params, tokens)
    lr_there, batch_there = best_point(rescaled, params, tokens * unit)
    assert math.isclose(lr, lr_there, rel_tol=1e-9)
    assert math.isclose(batch * unit, batch_there, rel_tol=1e-9)


def test_optimal_shares_balance_both_exponents() -> None:
    shares = optimal_shares(THEORY)
    assert math.isclose(sum(shares), 1)
    assert math.isclose(-0.8 * shares[0] + 0.5 * shares[1] + 1.5 * shares[2], 0, abs_tol=1e-12)
    assert math.isclose(0.8 * shares[0] - 1.0 * shares[1], 0, abs_tol=1e-12)


def test_terms_without_an_optimum_are_refused() -> None:
    rising = replace(THEORY, progress=Term(-4.0, 0.1, 0.8, 0.8, 0.8))
    with pytest.raises(FitError, match="enclose no optimum"):
        best_point(rising, 1e9, 1e10)
    with pytest.raises(FitError, match="no lowest point in lr"):
        best_lr(rising, 1e9, 1e10, 3e5)


def test_a_surface_survives_its_law_file_table() -> None:
    quantity = read_law(LAW).quantities["surface"]
    surface = surface_from(quantity)
    assert surface_quantity(surface, n=quantity.n, r2=quantity.r2) == quantity
    assert surface_of(weights(surface), covariance=surface.covariance) == surface


def test_another_form_is_not_a_surface() -> None:
    with pytest.raises(InputError, match="form 'power' is not a surface"):
        surface_from(Quantity(form="power", coefficients={"scale": 1.0}))
