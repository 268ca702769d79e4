"""The spread between setups: recovered where it is known, refused where it cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fitting.errors import FitError
from fitting.laws.file import read_law
from tests.measured.fit_setups import TEXT
from tests.measured.setups import REFERENCE, Offset, fit_spread, spread_quantity

SETUPS = Path(__file__).parents[2] / "data" / "laws" / "setups.toml"


def simulate(
    *, level: float, size: float, horizon: float, scatter: float, setups: int
) -> list[Offset]:
    rng = np.random.default_rng(7)
    found = []
    for setup in range(setups):
        shift, a, b = rng.standard_normal(3) * (level, size, horizon)
        for _ in range(8):
            x, y = rng.uniform(-2, 2, 2)
            params = REFERENCE["params"] * math.exp(x)
            tokens = params * REFERENCE["tokens"] / REFERENCE["params"] * math.exp(y)
            error = scatter * rng.standard_normal()
            found.append(
                Offset(
                    setup=f"{setup}",
                    params=params,
                    tokens=tokens,
                    log_ratio=shift + a * x + b * y + error,
                    log_sd=0.0,
                )
            )
    return found


def test_a_known_spread_is_recovered() -> None:
    spread = fit_spread(simulate(level=0.5, size=0.1, horizon=0.4, scatter=0.15, setups=60))
    assert spread.level == pytest.approx(0.5, rel=0.25)
    assert spread.size == pytest.approx(0.1, rel=0.35)
    assert spread.horizon == pytest.approx(0.4, rel=0.25)
    assert spread.scatter == pytest.approx(0.15, rel=0.1)
    assert (spread.setups, spread.n) == (60, 480)


def test_an_error_shared_by_a_setup_is_not_counted_as_its_level() -> None:
    plain = simulate(level=0.5, size=0.1, horizon=0.1, scatter=0.1, setups=40)
    shared = [
        Offset(
            setup=one.setup,
            params=one.params,
            tokens=one.tokens,
            log_ratio=one.log_ratio,
            log_sd=one.log_sd,
            shared_log_sd=0.45,
        )
        for one in plain
    ]
    assert fit_spread(shared).level < 0.6 * fit_spread(plain).level


def test_two_setups_are_too_few() -> None:
    with pytest.raises(FitError, match="2 setups, 3 needed"):
        fit_spread(simulate(level=0.5, size=0.1, horizon=0.1, scatter=0.1, setups=2))


def test_slopes_along_the_horizon_and_along_size_are_those_of_the_covariance() -> None:
    spread = fit_spread(simulate(level=0.5, size=0.1, horizon=0.4, scatter=0.15, setups=30))
    covariance = spread_quantity(spread, TEXT).covariance
    assert covariance is not None
    along_size = {"log_scale": 0.0, "params": 1.0, "tokens": 1.0}
    along_horizon = {"log_scale": 0.0, "params": 0.0, "tokens": 1.0}
    assert covariance.log_variance(along_size) == pytest.approx(spread.size**2, rel=1e-3)
    assert covariance.log_variance(along_horizon) == pytest.approx(spread.horizon**2, rel=1e-3)


def test_the_shipped_spread_is_a_sound_law_file() -> None:
    law = read_law(SETUPS)
    assert set(law.quantities) == {"lr", "batch_tokens", "weight_decay", "loss"}
