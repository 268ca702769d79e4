import math
from dataclasses import replace

import pytest

from fitting.fit.summary import law_block, timescale_block
from fitting.laws.evaluate import log_sd_at
from fitting.laws.law import Covariance, Quantity, Range
from fitting.text import wrap_line
from fitting.units import format_spread

LR = Quantity(
    form="power",
    coefficients={"scale": 2e-3, "params": -0.6087, "tokens": 0.2726},
    reference={"params": 3e8, "tokens": 2e10},
    covariance=Covariance(
        names=["log_scale", "params", "tokens"],
        matrix=[[0.03**2, 0, 0], [0, 0.0267**2, 0], [0, 0, 0.119**2]],
    ),
    scatter=0.3,
    form_log_sd=0.4,
)
LIMITS = Range(params=[6e7, 3e8], tokens=[2e9, 1e11])


def test_exponents_have_the_digits_that_their_errors_earn() -> None:
    first, second, *_ = law_block("lr", LR, limits=LIMITS, at=(3e8, 2e10), assumed=False).lines
    assert first == "lr = 2e-3 (params / 300M)^-0.609 (tokens / 20B)^0.27"
    assert second == "  level ± 3%; exponent of params ± 0.027, tokens ± 0.12"


def test_the_interval_inside_the_range_is_that_of_coefficients_and_scatter() -> None:
    point = {"params": 3e8, "tokens": 2e10}
    assert log_sd_at(LR, LIMITS, point) == pytest.approx(math.hypot(0.03, 0.3))
    assert log_sd_at(LR, LIMITS, point, scatter=False) == pytest.approx(0.03)


def test_the_interval_outside_grows_by_the_form() -> None:
    point = {"params": 3e8 * math.e, "tokens": 2e10}
    known = math.hypot(0.03, 0.0267)
    expected = math.hypot(known, 0.3, 0.4)
    assert log_sd_at(LR, LIMITS, point) == pytest.approx(expected)


def test_a_law_without_covariance_has_no_interval_in_its_text() -> None:
    bare = Quantity(form="power", coefficients={"scale": 2e-3, "params": -0.6}, reference={})
    assert log_sd_at(bare, LIMITS, {"params": 3e8, "tokens": 2e10}) is None


def test_a_cliff_is_said() -> None:
    found = law_block("lr", replace(LR, cliff=4.83), limits=LIMITS, at=(3e8, 2e10), assumed=False)
    assert found.lines[-1] == "  runs diverged from 4.8 times this lr on"


def test_a_timescale_names_its_cells() -> None:
    law = Quantity(
        form="ema-timescale",
        coefficients={"scale": 0.836, "tokens_per_param": -0.499},
        covariance=Covariance(
            names=["log_scale", "tokens_per_param"], matrix=[[0.01, 0], [0, 0.0144]]
        ),
        scatter=0.2,
        n=3,
    )
    assert timescale_block(law).lines == (
        "weight decay = batch / (lr tokens tau), tau = 0.836 (tokens / params)^-0.499",
        "  exponent -0.50 ± 0.12; 3 cells scatter by 22% about it",
    )


def test_wide_scatter_is_a_factor() -> None:
    assert format_spread(0.02) == "2%"
    assert format_spread(math.log(3)) == "a factor of 3"


def test_a_wrapped_line_keeps_its_indent() -> None:
    lines = wrap_line("  " + "word " * 40).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("  word")
    assert all(line.startswith("    word") for line in lines[1:])
