import numpy as np
import pytest
from scipy.optimize import approx_fprime

from fitting.arrays import Floats
from fitting.errors import InputError
from fitting.laws.law import Quantity
from fitting.laws.surface import best_point, surface_of
from fitting.surface.line import (
    Line,
    combine,
    line_gradient,
    optimum_lines,
    shift_line,
    size_direction,
)
from fitting.surface.prior import MUP_EXPONENT, line_from_law, mup_line, neutral_prior
from fitting.surface.solver import basis

FREE_WEIGHTS = neutral_prior().mean
STEP_LAW_LR = Quantity(
    form="power", coefficients={"scale": 1.79, "params": -0.713, "tokens": 0.307}
)
STEP_LAW_BATCH = Quantity(form="power", coefficients={"scale": 0.58, "tokens": 0.571})
PLACES = ((3e8, 2e10), (1e7, 3e9), (7e10, 5e12))


def line_value(line: Floats, params: float, tokens: float) -> tuple[float, float]:
    at = size_direction(params, tokens)
    return float(1e-3 * np.exp(line[:3] @ at)), float(3e5 * np.exp(line[3:] @ at))


@pytest.mark.parametrize("place", PLACES)
def test_the_line_is_the_best_point(place: tuple[float, float]) -> None:
    line = optimum_lines(FREE_WEIGHTS[None])[0]
    surface = surface_of((basis() @ FREE_WEIGHTS).tolist())
    assert np.allclose(line_value(line, *place), best_point(surface, *place), rtol=1e-9)


def test_line_gradient_agrees_with_finite_differences() -> None:
    def line_at(free: Floats) -> Floats:
        line: Floats = optimum_lines(free[None])[0]
        return line

    numeric = approx_fprime(FREE_WEIGHTS, line_at, 1e-7)
    assert np.allclose(line_gradient(FREE_WEIGHTS), numeric, atol=1e-5)


def test_weights_without_an_optimum_have_no_line() -> None:
    rising = FREE_WEIGHTS.copy()
    rising[2] = 0.8
    assert np.isnan(optimum_lines(rising[None])).any()


@pytest.mark.parametrize("place", PLACES)
def test_a_shifted_surface_has_the_shifted_line(place: tuple[float, float]) -> None:
    move = np.array([0.3, -0.05, 0.02, -0.4, 0.1, 0.07])
    weights = shift_line(basis() @ FREE_WEIGHTS, move)
    expected = line_value(optimum_lines(FREE_WEIGHTS[None])[0] + move, *place)
    assert np.allclose(best_point(surface_of(weights.tolist()), *place), expected, rtol=1e-9)


def test_combining_weighs_by_precision() -> None:
    one = Line(mean=np.zeros(6), covariance=np.eye(6))
    two = Line(mean=np.full(6, 3.0), covariance=np.eye(6) / 2)
    both = combine(one, two)
    assert np.allclose(both.mean, 2)
    assert np.allclose(both.covariance, np.eye(6) / 3)


@pytest.mark.parametrize("place", PLACES)
def test_a_law_and_its_line_agree(place: tuple[float, float]) -> None:
    line = line_from_law(STEP_LAW_LR, STEP_LAW_BATCH)
    params, tokens = place
    lr, batch = 1.79 * params**-0.713 * tokens**0.307, 0.58 * tokens**0.571
    assert np.allclose(line_value(line.mean, *place), (lr, batch), rtol=1e-9)


def test_mup_lr_does_not_change_with_params_at_fixed_tokens_per_param() -> None:
    line = mup_line(STEP_LAW_LR, STEP_LAW_BATCH)
    along = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert line.mean @ along == pytest.approx(0, abs=1e-12)
    assert along @ line.covariance @ along == pytest.approx(MUP_EXPONENT**2)


def test_a_prior_in_other_inputs_is_refused() -> None:
    in_flops = Quantity(form="power", coefficients={"scale": 0.3, "flops": -0.125})
    with pytest.raises(InputError, match="prior: lr is of form 'power' in flops"):
        line_from_law(in_flops, STEP_LAW_BATCH)
