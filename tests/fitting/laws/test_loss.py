"""Published loss laws against values worked out by hand, and gradients of law files."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fitting.laws.evaluate import law_log_sd
from fitting.laws.law import Covariance, Quantity
from fitting.laws.loss import FAMILIES, loss_log_gradient, predict_loss

CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
"""As printed in arXiv 2203.15556, eq. 10."""

DATA_CONSTRAINED = {
    "E": math.exp(0.6254804),
    "A": math.exp(6.255414),
    "B": math.exp(7.3049974),
    "alpha": 0.3526596,
    "beta": 0.3526596,
    "r_params": 5.309743,
    "r_tokens": 15.387756,
}
"""As in the repository of arXiv 2305.16264."""

EXAMPLES: dict[str, dict[str, float]] = {
    "chinchilla": CHINCHILLA,
    "skaling": CHINCHILLA | {"k": 0.5},
    "n-dependent": {"E": 1.5, "A": 400, "a": 0.34, "B": 300, "c": 0.05, "b": 0.2, "e": 0.004},
    "farseer": {
        "s": -0.02, "q": 0.17, "S": 1.1, "b1": -0.3, "b2": 0.1, "Q": 7.0,
        "a1": 0.02, "a2": 0.12, "E": -1.3,
    },
    "data-constrained": DATA_CONSTRAINED,
    "mixed-terms": {
        "E": 0.5, "c1": 2.0, "a1": 0.01, "b1": -0.05, "c2": 60, "a2": -0.2, "b2": 0.0, "u2": -0.01
    },
}  # fmt: skip


def test_chinchilla_itself_is_predicted_at_its_published_loss() -> None:
    # 406.4 / (7e10)^0.34 = 406.4 / 4869.5 = 0.08346; 410.7 / (1.4e12)^0.28 = 410.7 / 2516.5
    # = 0.16320; with E 1.69 that is 1.9367 (eq. 10 of the paper).
    loss = predict_loss("chinchilla", CHINCHILLA, params=7e10, tokens=1.4e12)
    assert loss == pytest.approx(1.9367, abs=2e-4)


def test_data_constrained_law_uses_five_hundredths_of_a_parameter_for_each_unique_token() -> None:
    # The paper's G^2 is 0.0510 with these constants (N_opt of U tokens is G^2 U at alpha = beta).
    g_squared = (DATA_CONSTRAINED["A"] / DATA_CONSTRAINED["B"]) ** (1 / DATA_CONSTRAINED["alpha"])
    assert g_squared == pytest.approx(0.0510, abs=5e-5)


def test_four_epochs_are_worth_3_6_and_forty_are_worth_15() -> None:
    # D' / U = 1 + 15.3878 (1 - exp(-3 / 15.3878)) = 1 + 15.3878 * 0.17715 = 3.7259 at 4 epochs,
    # 1 + 15.3878 (1 - exp(-39 / 15.3878)) = 1 + 15.3878 * 0.92070 = 15.1676 at 40.
    unique, params = 1e9, 1e7  # params below G^2 U, so that only tokens saturate
    for epochs, worth in ((4, 3.7259), (40, 15.1676)):
        repeated = predict_loss(
            "data-constrained", DATA_CONSTRAINED,
            params=params, tokens=epochs * unique, unique_tokens=unique,
        )  # fmt: skip
        fresh = predict_loss(
            "data-constrained", DATA_CONSTRAINED, params=params, tokens=worth * unique
        )
        assert repeated == pytest.approx(fresh, rel=1e-5)


def test_excess_params_saturate_at_six_times_what_the_data_can_use() -> None:
    # N' = U_N (1 + 5.3097 (1 - exp(-(N / U_N - 1) / 5.3097))) with U_N = 0.05101 U: at U = 1e9,
    # N = 11 U_N = 5.611e8 it is 5.101e7 (1 + 5.3097 * 0.84791) = 2.8067e8.
    constants = DATA_CONSTRAINED
    g_squared = (constants["A"] / constants["B"]) ** (1 / constants["alpha"])
    useful = g_squared * 1e9
    effective = useful * (1 + 5.309743 * (1 - math.exp(-10 / 5.309743)))
    assert effective == pytest.approx(2.807e8, rel=2e-3)
    by_hand = constants["E"] + (
        constants["A"] * effective ** -constants["alpha"]
        + constants["B"] * 1e9 ** -constants["beta"]
    )
    loss = predict_loss("data-constrained", constants, params=11 * useful, tokens=1e9)
    assert loss == pytest.approx(by_hand, rel=1e-9)


def test_skaling_at_power_one_is_chinchilla_and_at_half_is_the_root() -> None:
    point = {"params": 1e9, "tokens": 2e10}
    at_one = predict_loss("skaling", CHINCHILLA | {"k": 1.0}, **point)
    assert at_one == pytest.approx(predict_loss("chinchilla", CHINCHILLA, **point))
    # 406.4 / 1e9^0.34 = 0.35396; 410.7 / 2e10^0.28 = 0.53630; root of the sum 0.94354.
    at_half = predict_loss("skaling", CHINCHILLA | {"k": 0.5}, **point)
    assert at_half == pytest.approx(1.69 + 0.94354, abs=2e-4)


def test_farseer_form_is_two_nested_exponentials() -> None:
    # N = 1e9, D = 1e11: N^0.17 = 33.884, so exp(-0.02 * 33.884 + 1.1) = exp(0.42231) = 1.52549;
    # N^0.1 = 7.94328, exp(-0.3 * 7.94328 + 7) = exp(4.61702) = 101.19; N^0.12 = 12.0226,
    # exp(0.02 * 12.0226 - 1.3) = exp(-1.05955) = 0.34661; D^-0.34661 = exp(-0.34661 * 25.3284)
    # = exp(-8.77915) = 1.5391e-4; sum 1.52549 + 0.015574.
    loss = predict_loss("farseer", EXAMPLES["farseer"], params=1e9, tokens=1e11)
    assert loss == pytest.approx(1.54107, rel=2e-4)


def test_mixed_terms_and_n_dependent_exponent_by_hand() -> None:
    # 0.5 + 2 * 1e9^0.01 * 1e11^-0.05 + 60 * 1e9^-0.2 * 1e11^-0.01
    # = 0.5 + 2 * 1.230269 * 0.281838 + 60 * 0.0158489 * 0.776247 = 0.5 + 0.693473 + 0.738158.
    loss = predict_loss("mixed-terms", EXAMPLES["mixed-terms"], params=1e9, tokens=1e11)
    assert loss == pytest.approx(1.931631, rel=1e-5)
    # 1.5 + 400 * 1e9^-0.34 + 300 * 1e9^0.05 * 1e11^-(0.2 + 0.004 ln 1e9)
    # = 1.5 + 0.348385 + 300 * 2.818383 * exp(-0.2828931 * 25.328436) = 1.848385 + 0.653345.
    loss = predict_loss("n-dependent", EXAMPLES["n-dependent"], params=1e9, tokens=1e11)
    assert loss == pytest.approx(2.50173, rel=2e-4)


def test_more_unique_tokens_than_tokens_count_as_no_repeat() -> None:
    for family, coefficients in EXAMPLES.items():
        once = predict_loss(family, coefficients, params=1e9, tokens=1e10)
        spare = predict_loss(family, coefficients, params=1e9, tokens=1e10, unique_tokens=1e12)
        assert once == spare


@pytest.mark.parametrize("family", FAMILIES)
def test_log_gradient_predicts_a_small_move_of_every_coefficient(family: str) -> None:
    point = {"params": 3e8, "tokens": 2e10, "unique_tokens": 4e9}
    coefficients = EXAMPLES[family]
    gradient = loss_log_gradient(family, coefficients, **point)
    assert gradient.keys() == coefficients.keys()
    before = predict_loss(family, coefficients, **point)
    for name, value in coefficients.items():
        move = 1e-4 * (value or 1.0)
        after = predict_loss(family, coefficients | {name: value + move}, **point)
        assert math.log(after / before) == pytest.approx(gradient[name] * move, rel=2e-2, abs=1e-9)


def test_law_interval_keeps_the_cancelling_of_correlated_errors() -> None:
    # ln A and alpha known to 0.2 and 0.01, perfectly correlated so that N = e^20 is known exactly.
    scale = CHINCHILLA["A"]
    slope = np.array([20 * scale, 1.0]) * 0.01
    quantity = Quantity(
        form="chinchilla",
        coefficients=CHINCHILLA,
        covariance=Covariance(names=["A", "alpha"], matrix=np.outer(slope, slope).tolist()),
    )
    there = law_log_sd(quantity, {"params": math.exp(20), "tokens": 1e10})
    beyond = law_log_sd(quantity, {"params": math.exp(22), "tokens": 1e10})
    assert there is not None
    assert beyond is not None
    assert there < 1e-6
    term = scale * math.exp(-0.34 * 22)
    loss = predict_loss("chinchilla", CHINCHILLA, params=math.exp(22), tokens=1e10)
    assert beyond == pytest.approx(0.01 * 2 * term / loss, rel=1e-4)
