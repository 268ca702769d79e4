"""Probes of small models asked of larger ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.probes.law import crossing_lr, fit_probe, predict_probe, why_unknown
from fitting.probes.lr_sensitivity import common_range, lr_sensitivities
from fitting.runs.table import check_runs

LRS = np.geomspace(1e-3, 0.1, 7)
SIZES = (1e5, 4e5, 1.6e6)


def grid(
    value: Callable[[float, float], float], *, sizes: tuple[float, ...] = SIZES, noise: float = 0.0
) -> pd.DataFrame:
    """Runs whose largest logit is `value(lr, params)`."""
    rng = np.random.default_rng(5)
    rows = [
        {
            "params": size,
            "tokens": 1e6,
            "loss": 3.0,
            "lr": lr,
            "max_attention_logit": value(lr, size) * math.exp(noise * rng.normal()),
        }
        for size in sizes
        for lr in LRS
    ]
    return pd.DataFrame(rows)


def rising(lr: float, params: float) -> float:
    """A floor of 8 under a power of lr and params."""
    size = params / 1e5
    return float(8 * size**0.3 + 4e5 * lr**2 * size)


def test_a_rising_probe_is_recovered_and_crossed_where_it_was() -> None:
    law = fit_probe(grid(rising), "max_attention_logit")
    assert law is not None
    assert law.form == "rising"
    assert law.lr_slope == pytest.approx(2, rel=0.01)
    assert law.params_slope == pytest.approx(1, rel=0.02)
    found = crossing_lr(law, params=1e7, threshold=1e4)
    assert found is not None
    expected = math.sqrt((1e4 - 8 * 100**0.3) / (4e5 * 100))
    assert found.value == pytest.approx(expected, rel=0.02)


@settings(max_examples=12)
@given(st.floats(0.5, 3), st.floats(-0.5, 1.5), st.floats(20, 1e6))
def test_the_probe_at_the_crossing_lr_is_the_threshold(s: float, t: float, limit: float) -> None:
    table = grid(lambda lr, params: 1e3 * lr**s * (params / 1e5) ** t)
    law = fit_probe(table, "max_attention_logit")
    assert law is not None
    found = crossing_lr(law, params=1e6, threshold=limit)
    assert found is not None
    there = predict_probe(law, lr=found.value, params=1e6)
    assert there.value == pytest.approx(limit, rel=1e-3)


def test_the_interval_holds_a_third_size_about_as_often_as_it_says() -> None:
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        level = {size: math.exp(0.2 * rng.normal()) for size in SIZES}

        def value(lr: float, params: float, level: dict[float, float] = level) -> float:
            return rising(lr, params) * level[params]

        table = grid(value)
        table["max_attention_logit"] *= np.exp(0.2 * rng.normal(size=len(table)))
        law = fit_probe(table[table["params"] < SIZES[-1]], "max_attention_logit")
        assert law is not None
        found = predict_probe(law, lr=0.05, params=SIZES[-1])
        inside.append(found.low <= value(0.05, SIZES[-1]) <= found.high)
    # 80% of 40 is 32, with a binomial standard deviation of 2.5.
    assert sum(inside) >= 26


def test_one_odd_run_moves_the_crossing_little() -> None:
    table = grid(rising, noise=0.1)
    odd = table.copy()
    odd["max_attention_logit"] *= np.where(odd.index == 10, 30.0, 1.0)
    found = [fit_probe(each, "max_attention_logit") for each in (table, odd)]
    lrs = [crossing_lr(law, params=1e7, threshold=1e4) for law in found if law is not None]
    first, second = (lr.value for lr in lrs if lr is not None)
    assert second == pytest.approx(first, rel=0.25)


def test_a_probe_that_does_not_rise_with_lr_has_no_crossing() -> None:
    law = fit_probe(grid(lambda lr, params: 10.0, noise=0.2), "max_attention_logit")
    assert law is not None
    assert crossing_lr(law, params=1e7, threshold=1e4) is None


def test_a_missing_probe_names_the_command_that_records_it() -> None:
    table = grid(rising).drop(columns="max_attention_logit")
    assert fit_probe(table, "max_attention_logit") is None
    why = why_unknown(table, "max_attention_logit") or ""
    assert "plan proxy train --probes max_attention_logit" in why


def test_one_size_is_too_few() -> None:
    assert "2 params" in (why_unknown(grid(rising, sizes=(1e5,)), "max_attention_logit") or "")


def test_infinite_probes_are_left_out() -> None:
    table = grid(rising)
    table.loc[0, "max_attention_logit"] = math.inf
    assert fit_probe(table, "max_attention_logit") is not None


def sweep(losses: list[float], **columns: float) -> pd.DataFrame:
    lrs = [1e-3, 2e-3, 4e-3, 8e-3]
    rows = {"params": 1e5, "tokens": 1e6, "lr": lrs, "loss": losses, "loss_at_init": 5.0}
    return pd.DataFrame(rows | columns)


def test_sensitivity_is_the_mean_loss_over_log_lr_above_the_best() -> None:
    (found,) = lr_sensitivities(check_runs(sweep([3.2, 3.0, 3.1, 3.4])), bounds=None)
    expected = ((3.2 + 3.0) / 2 + (3.0 + 3.1) / 2 + (3.1 + 3.4) / 2) / 3 - 3.0
    assert found.value == pytest.approx(expected)
    assert found.best_lr == pytest.approx(2e-3)


def test_a_diverged_run_counts_with_the_loss_at_init() -> None:
    (found,) = lr_sensitivities(check_runs(sweep([3.2, 3.0, 3.1, math.nan])), bounds=None)
    expected = ((3.2 + 3.0) / 2 + (3.0 + 3.1) / 2 + (3.1 + 5.0) / 2) / 3 - 3.0
    assert found.value == pytest.approx(expected)


def test_sensitivity_is_unknown_where_a_run_diverged_from_an_unknown_loss() -> None:
    table = sweep([3.2, 3.0, 3.1, math.nan]).drop(columns="loss_at_init")
    (found,) = lr_sensitivities(check_runs(table), bounds=None)
    assert found.value is None


def test_sizes_are_compared_over_the_lrs_that_all_have() -> None:
    small, large = sweep([3.2, 3.0, 3.1, 3.4]), sweep([2.9, 2.8, 2.9, 3.3], params=1e6)
    large["lr"] *= 2
    runs = check_runs(pd.concat([small, large], ignore_index=True))
    bounds = common_range(runs)
    assert bounds == (2e-3, 8e-3)
    assert [each.lrs for each in lr_sensitivities(runs, bounds=bounds)] == [3, 3]
