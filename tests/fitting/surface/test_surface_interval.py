import math

import pytest

from fitting.laws.law import Covariance
from fitting.laws.plateau import optimum_gradient, surface_log_sd
from fitting.laws.surface import COEFFICIENTS, Surface, Term, best_point, surface_of, weights

THEORY = Surface(
    progress=Term(-4.0, 0.1, -0.8, -0.8, 0.8),
    noise=Term(-4.5, 0.2, 0.2, 0.5, -1.0),
    heat=Term(-5.5, 0.5, 0.0, 1.5, 0.0),
)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    params, tokens, h = 2e9, 3e11, 1e-6
    place = COEFFICIENTS.index(name)

    def moved(step: float) -> tuple[float, float]:
        values = list(weights(THEORY))
        values[place] += step
        lr, batch = best_point(surface_of(values), params, tokens)
        return math.log(lr), math.log(batch)

    in_lr, in_batch = optimum_gradient(THEORY, params, tokens)
    up, down = moved(h), moved(-h)
    assert in_lr[name] == pytest.approx((up[0] - down[0]) / (2 * h), abs=1e-6)
    assert in_batch[name] == pytest.approx((up[1] - down[1]) / (2 * h), abs=1e-6)


def test_without_a_covariance_nothing_is_said() -> None:
    assert surface_log_sd(THEORY, 1e9, 2e10) is None


def test_sd_is_the_gradient_times_that_of_the_only_uncertain_weight() -> None:
    surface = surface_of(
        weights(THEORY), covariance=Covariance(names=["heat_const"], matrix=[[0.04]])
    )
    in_lr, in_batch = optimum_gradient(surface, 1e9, 2e10)
    known = surface_log_sd(surface, 1e9, 2e10)
    expected = (0.2 * abs(in_lr["heat_const"]), 0.2 * abs(in_batch["heat_const"]))
    assert known == pytest.approx(expected)
