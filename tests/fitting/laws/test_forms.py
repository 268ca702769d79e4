import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.laws.evaluate import evaluate_law, law_log_sd
from fitting.laws.forms import FORMS, SURFACE_COEFFICIENTS, Point
from fitting.laws.law import Covariance, Quantity

SATURATING = {
    "scale": 2.0,
    "params": -0.5,
    "tokens": 0.25,
    "c": 0.5,
    "p": 2.0,
    "batch_scale": 4.0,
    "batch_exponent": 0.5,
}
CHINCHILLA = {"E": 1.0, "A": 100.0, "alpha": 0.5, "B": 1000.0, "beta": 0.5}

BY_HAND: dict[str, tuple[Quantity, Point, float | None]] = {
    "power": (
        Quantity(
            form="power",
            coefficients={"scale": 3.0, "params": -0.5, "tokens": 0.25},
            reference={"params": 100.0},
        ),
        {"params": 1e4, "tokens": 16.0},
        3.0 * 0.1 * 2.0,
    ),
    "exponents": (Quantity(form="exponents", coefficients={"lr": 1.0}), {"lr": 0.1}, None),
    "log-linear": (
        Quantity(form="log-linear", coefficients={"intercept": 5.0, "slope": -2.0}),
        {"params": math.e},
        3.0,
    ),
    # B* = 4 sqrt(1e4) = 400, twice the batch: (1 + 0.5 * 2)^-2 = 1/4; level 2 / 100 * 10.
    "saturating": (
        Quantity(form="saturating", coefficients=SATURATING),
        {"params": 1e4, "tokens": 1e4, "batch_tokens": 200.0},
        2.0 / 100.0 * 10.0 / 4.0,
    ),
    # tau = 2 (400/100)^-0.5 = 1; weight decay = 8 / (0.01 * 400 * 1).
    "ema-timescale": (
        Quantity(form="ema-timescale", coefficients={"scale": 2.0, "tokens_per_param": -0.5}),
        {"params": 100.0, "tokens": 400.0, "batch_tokens": 8.0, "lr": 0.01},
        2.0,
    ),
    # Halfway in log params is halfway in log value.
    "table": (
        Quantity(
            form="table",
            rows=[{"params": 100.0, "value": 4.0}, {"params": 1.0, "value": 1.0}],
        ),
        {"params": 10.0},
        2.0,
    ),
    "ensemble": (
        Quantity(form="ensemble", coefficients={"E": 3.0, "c": 0.5, "a": 1.0}),
        {"models": 5.0},
        3.1,
    ),
    "text": (Quantity(form="text", text="words"), {}, None),
    "three-term": (
        Quantity(form="three-term", coefficients=dict.fromkeys(SURFACE_COEFFICIENTS.split(), 1.0)),
        {},
        None,
    ),
    "multi-power": (
        Quantity(
            form="multi-power",
            coefficients=dict.fromkeys(
                ["L0", "A", "alpha", "B", "C", "beta", "gamma", "q", "r"], 1.0
            ),
        ),
        {},
        None,
    ),
    "annealing": (
        Quantity(form="annealing", coefficients=dict.fromkeys(["L0", "A", "alpha", "C"], 1.0)),
        {},
        None,
    ),
    "power-in-lr-sum": (
        Quantity(form="power-in-lr-sum", coefficients=dict.fromkeys(["L0", "A", "alpha"], 1.0)),
        {},
        None,
    ),
    "chinchilla": (
        Quantity(form="chinchilla", coefficients=CHINCHILLA),
        {"params": 1e4, "tokens": 1e6},
        1.0 + 1.0 + 1.0,
    ),
    # 10^(0.5 x 4 + 20 / 10 - 1)
    "stacking": (
        Quantity(form="stacking", coefficients={"params": 0.5, "flops": 20.0, "intercept": -1.0}),
        {"params": 1e4, "flops": 1e10},
        1e3,
    ),
    "skaling": (
        Quantity(form="skaling", coefficients=CHINCHILLA | {"k": 2.0}),
        {"params": 1e4, "tokens": 1e6},
        1.0 + 4.0,
    ),
    # With ln N = 1: b + e = 0.5, N^c = e^2, N^-a = 1/e.
    "n-dependent": (
        Quantity(
            form="n-dependent",
            coefficients={
                "E": 1.0,
                "A": math.e,
                "a": 1.0,
                "B": 2.0,
                "c": 2.0,
                "b": 0.25,
                "e": 0.25,
            },
        ),
        {"params": math.e, "tokens": 4.0},
        1.0 + 1.0 + 2.0 * math.e**2 / 2.0,
    ),
    # s = b1 = a1 = 0: exp(ln 2) + exp(ln 12) 16^-exp(ln 0.5).
    "farseer": (
        Quantity(
            form="farseer",
            coefficients={
                "s": 0.0,
                "q": 1.0,
                "S": math.log(2),
                "b1": 0.0,
                "b2": 1.0,
                "Q": math.log(12),
                "a1": 0.0,
                "a2": 1.0,
                "E": math.log(0.5),
            },
        ),
        {"params": 7.0, "tokens": 16.0},
        2.0 + 3.0,
    ),
    # A = B: useful params are min(N, U) = N; D/U - 1 = 3 repeats at r 3 count 3 (1 - 1/e) U.
    "data-constrained": (
        Quantity(
            form="data-constrained",
            coefficients={
                "E": 1.0,
                "A": 10.0,
                "B": 10.0,
                "alpha": 1.0,
                "beta": 1.0,
                "r_params": 5.0,
                "r_tokens": 3.0,
            },
        ),
        {"params": 10.0, "tokens": 400.0, "unique_tokens": 100.0},
        1.0 + 1.0 + 10.0 / (100.0 * (1 + 3 * (1 - math.exp(-1)))),
    ),
    "mixed-terms": (
        Quantity(
            form="mixed-terms",
            coefficients={"E": 1.0, "c1": 6.0, "a1": -0.5, "c2": 8.0, "b2": -0.5, "u2": -0.5},
        ),
        {"params": 9.0, "tokens": 4.0, "unique_tokens": 4.0},
        1.0 + 2.0 + 2.0,
    ),
}


def test_every_form_has_a_value_by_hand() -> None:
    assert BY_HAND.keys() == FORMS.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_the_form_gives_the_value_by_hand(name: str) -> None:
    quantity, point, value = BY_HAND[name]
    found = evaluate_law(quantity, point)
    # rel=1e-12: a few float64 operations.
    assert found == (None if value is None else pytest.approx(value, rel=1e-12))


def test_a_law_is_silent_where_an_input_is_missing() -> None:
    for quantity, point, value in BY_HAND.values():
        for missing in FORMS[quantity.form].needs(quantity.coefficients) if value else ():
            rest = {name: x for name, x in point.items() if name != missing}
            assert evaluate_law(quantity, rest) is None


@pytest.mark.parametrize("params", [0.5, 200.0])
def test_a_table_is_silent_outside_its_rows(params: float) -> None:
    assert evaluate_law(BY_HAND["table"][0], {"params": params}) is None


@pytest.mark.parametrize(("params", "value"), [(1.0, 1.0), (100.0, 4.0)])
def test_a_table_gives_its_rows(params: float, value: float) -> None:
    assert evaluate_law(BY_HAND["table"][0], {"params": params}) == pytest.approx(value)


def test_a_log_linear_law_is_silent_below_zero() -> None:
    assert evaluate_law(BY_HAND["log-linear"][0], {"params": math.e**3}) is None


def test_a_cap_holds() -> None:
    quantity = Quantity(form="power", coefficients={"scale": 1.0, "tokens": 1.0}, maximum=5.0)
    assert evaluate_law(quantity, {"tokens": 4.0}) == 4.0
    assert evaluate_law(quantity, {"tokens": 6.0}) == 5.0


@given(st.floats(1e-3, 1e3), st.floats(1e6, 1e12), st.floats(1e6, 1e13))
def test_a_power_law_does_not_depend_on_the_unit_of_tokens(
    unit: float, params: float, tokens: float
) -> None:
    plain = Quantity(form="power", coefficients={"scale": 2.0, "params": -0.7, "tokens": 0.3})
    scaled = Quantity(
        form="power",
        coefficients={"scale": 2.0 * unit**0.3, "params": -0.7, "tokens": 0.3},
        reference={"tokens": unit},
    )
    point = {"params": params, "tokens": tokens}
    # rel=1e-9: exponents of 0.3 on numbers of 1e13.
    assert evaluate_law(scaled, point) == pytest.approx(evaluate_law(plain, point), rel=1e-9)


@given(st.floats(1e4, 1e8))
def test_the_saturating_lr_never_falls_with_the_batch(batch: float) -> None:
    quantity = Quantity(form="saturating", coefficients=SATURATING)
    point = {"params": 1e8, "tokens": 1e10}
    small = evaluate_law(quantity, point | {"batch_tokens": batch})
    large = evaluate_law(quantity, point | {"batch_tokens": 2 * batch})
    level = SATURATING["scale"] * 1e8**-0.5 * 1e10**0.25
    assert small is not None
    assert large is not None
    assert small < large < level


@given(st.floats(1e6, 1e12), st.floats(1e6, 1e13))
def test_the_log_gradient_of_a_power_law_is_that_of_differences(
    params: float, tokens: float
) -> None:
    coefficients = {"scale": 2.0, "params": -0.7, "tokens": 0.3}
    point = {"params": params, "tokens": tokens}
    gradient = FORMS["power"].log_gradient
    assert gradient is not None
    found = gradient(Quantity(form="power", coefficients=coefficients), point)
    for name, slope in found.items():
        step = 1e-4
        key, factor = ("scale", math.exp(step)) if name == "log_scale" else (name, 1.0)
        moved = coefficients | {
            key: coefficients[key] * factor + (0.0 if name == "log_scale" else step)
        }
        up = evaluate_law(Quantity(form="power", coefficients=moved), point)
        start = evaluate_law(Quantity(form="power", coefficients=coefficients), point)
        assert up is not None
        assert start is not None
        # rel=1e-6: ln(value) is linear in its coefficients, so only rounding over the step is left.
        assert math.log(up / start) / step == pytest.approx(slope, rel=1e-6)


def test_the_sd_of_a_law_is_the_root_of_the_quadratic_form() -> None:
    quantity = Quantity(
        form="power",
        coefficients={"scale": 1.0, "tokens": 0.5},
        covariance=Covariance(names=["log_scale", "tokens"], matrix=[[4.0, -1.0], [-1.0, 1.0]]),
    )
    # g = (1, ln D) with ln D = 2: 4 - 2 * 2 + 4 = 4.
    assert law_log_sd(quantity, {"tokens": math.e**2}) == pytest.approx(2.0, rel=1e-12)


def test_the_sd_is_unknown_without_a_covariance() -> None:
    assert law_log_sd(BY_HAND["power"][0], {"params": 1.0, "tokens": 1.0}) is None
