"""Each family's gradient, and its formula against the one in `fitting.laws.loss`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from fitting.arrays import Floats
from fitting.laws.loss import predict_loss
from fitting.loss.families import FAMILIES, natural, natural_slope
from fitting.loss.slopes import Features, centre_of, curve_of_params, to_features


def some_runs(seed: int) -> tuple[Floats, Floats, Floats, Features]:
    """Twelve runs over two decades, half of them with repeated data, and their features."""
    rng = np.random.default_rng(seed)
    params = 10 ** rng.uniform(7.5, 9.5, 12)
    tokens = 10 ** rng.uniform(9.0, 11.5, 12)
    unique = tokens * np.where(np.arange(12) % 2, 1.0, 10 ** rng.uniform(-1.5, -0.1, 12))
    centre = centre_of(params, tokens, unique)
    return params, tokens, unique, to_features(params, tokens, unique, centre)


def a_guess(family: str, rng: np.random.Generator) -> Floats:
    """A parameter vector among the family's starts, moved a little."""
    member = FAMILIES[family]
    drawn = [rng.choice(member.guesses[name]) for name in member.names]
    free: Floats = np.array(drawn) + rng.normal(scale=0.02, size=len(drawn))
    return free


@pytest.mark.parametrize("family", FAMILIES)
def test_slope_is_the_finite_difference_of_ln_loss(family: str) -> None:
    features = some_runs(0)[3]
    rng = np.random.default_rng(1)
    for _ in range(5):
        free = a_guess(family, rng)
        weights = rng.normal(size=12)

        def value(at: Floats, weights: Floats = weights) -> float:
            return float(weights @ FAMILIES[family].evaluate(features, at[None])[0][0])

        def slope(at: Floats, weights: Floats = weights) -> Floats:
            found: Floats = FAMILIES[family].evaluate(features, at[None])[1][0] @ weights
            return found

        size = float(np.linalg.norm(slope(free)))
        # Forward differences with step 1.5e-8 are good to about 1e-6 of the curvature.
        assert check_grad(value, slope, free) < 2e-6 * max(size, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_fitted_form_is_the_form_of_the_law_file(family: str) -> None:
    params, tokens, unique, features = some_runs(2)
    rng = np.random.default_rng(3)
    batch = np.stack([a_guess(family, rng) for _ in range(4)])
    log_loss, _ = FAMILIES[family].evaluate(features, batch)
    coefficients = natural(FAMILIES[family], batch, features.centre)
    for member in range(len(batch)):
        named = {name: float(column[member]) for name, column in coefficients.items()}
        plain = [
            predict_loss(FAMILIES[family].form, named, params=n, tokens=d, unique_tokens=u)
            for n, d, u in zip(params, tokens, unique, strict=True)
        ]
        # rtol: A / N^alpha with A up to e^30 keeps about 13 digits.
        np.testing.assert_allclose(np.exp(log_loss[member]), plain, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_slope_of_coefficients_is_their_finite_difference(family: str) -> None:
    centre = some_runs(0)[3].centre
    free = a_guess(family, np.random.default_rng(5))
    slope = natural_slope(FAMILIES[family], free, centre)
    for index in range(len(free)):
        step = np.zeros_like(free)
        step[index] = 1e-6
        up, down = (natural(FAMILIES[family], free + s, centre) for s in (step, -step))
        by_difference = [(up[name] - down[name]) / 2e-6 for name in up]
        np.testing.assert_allclose(
            slope[:, index], by_difference, rtol=1e-6, atol=1e-7 * np.abs(slope).max()
        )


def test_a_power_of_params_without_bend_is_a_line() -> None:
    x = np.linspace(-2, 2, 9)
    tiny, none = (curve_of_params(x, np.array([b]), np.array([0.3])) for b in (2e-6, 0.0))
    for bent, straight in zip(tiny, none, strict=True):
        np.testing.assert_allclose(bent, straight, atol=1e-5)
    np.testing.assert_allclose(none[0][0], 0.3 * x)
