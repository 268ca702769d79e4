"""Designed schedules, runs in progress, and final losses from beginnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.curves.extend import extend
from fitting.curves.law import forecast, last_row
from fitting.curves.path import make_path
from fitting.curves.schedule_design import Begun, FinalLoss, design, node_steps, warmed_up
from fitting.errors import InputError
from fitting.logs.series import Curve
from tests.fixtures.curves import LAW, PEAK, WARMUP, published_law, simulated
from tests.measured.curve_extrapolation import extrapolate, judge


def final(schedule: Curve) -> float:
    return float(np.exp(last_row(LAW, make_path(schedule, warmup_steps=0))[0]))


@given(decay=st.floats(0.05, 1.0), power=st.floats(0.5, 2.5), end=st.floats(0.0, 0.5))
@settings(max_examples=30, deadline=None)
def test_no_decay_of_one_power_beats_the_designed_schedule(
    decay: float, power: float, end: float
) -> None:
    steps = 20_000
    step = np.linspace(WARMUP, steps, 400)
    share = (step - WARMUP) / (steps - WARMUP)
    fallen = np.clip((share - 1 + decay) / decay, 0, 1)
    lr = PEAK * (end + (1 - end) * (1 - fallen) ** power)
    rival = Curve(name="rival", step=np.append(0.0, step), lr=np.append(0.0, lr), loss=None)
    assert final(DESIGNED) <= final(rival) + 1e-4


DESIGNED = design(LAW, warmed_up(PEAK, WARMUP), steps=20_000)


def test_designed_schedule_never_rises_and_ends_at_its_steps() -> None:
    assert DESIGNED.step[-1] == 20_000
    assert DESIGNED.step[:2].tolist() == [0, WARMUP]
    assert (np.diff(DESIGNED.lr[1:]) <= 0).all()
    assert DESIGNED.lr.max() == PEAK
    assert (DESIGNED.step == DESIGNED.step.round()).all()


def test_final_loss_of_a_design_is_the_law_s_own() -> None:
    begun = warmed_up(PEAK, WARMUP)
    node = node_steps(WARMUP, 20_000)
    drops = np.full(len(node) - 1, 0.05)
    problem = FinalLoss(LAW, make_path(begun.done, warmup_steps=0), PEAK, np.diff(node))
    schedule = Curve(
        name="x",
        step=np.concatenate([[0.0], node]),
        lr=np.concatenate([[0.0, PEAK], PEAK * np.exp(-np.cumsum(drops))]),
        loss=None,
    )
    assert np.exp(problem.value_and_slope(drops)[0]) == pytest.approx(final(schedule), abs=2e-4)
    value, slope = problem.value_and_slope(drops)
    for i in (0, 20, len(drops) - 1):
        ahead = problem.value_and_slope(drops + 1e-6 * np.eye(len(drops))[i])[0]
        assert slope[i] == pytest.approx((ahead - value) / 1e-6, abs=1e-6)


def test_design_without_warmup_begins_at_the_peak() -> None:
    found = design(LAW, warmed_up(PEAK, 0), steps=500)
    assert found.step[0] == 0
    assert found.lr[0] == PEAK


def test_law_that_has_no_best_schedule_is_refused() -> None:
    with pytest.raises(InputError, match="form annealing: designs no schedule"):
        design(published_law("annealing"), warmed_up(PEAK, 100), steps=1000)


def test_extension_of_a_law_s_own_run_is_that_law() -> None:
    log = simulated("constant", steps=12_000)
    found = extend(LAW, log, steps=24_000, warmup_steps=WARMUP)
    held = next(way for way in found.ways if way.name == "lr as it is")
    whole = simulated("constant", steps=24_000)
    assert whole.loss is not None
    assert held.loss == pytest.approx(whole.loss[-1], rel=2e-4)
    assert found.offset == pytest.approx(0, abs=1e-6)
    designed = found.ways[-1]
    assert designed.name == "designed"
    assert designed.loss <= min(way.loss for way in found.ways)
    assert designed.low < designed.loss < designed.high


def test_extension_keeps_the_run_s_distance_from_the_law() -> None:
    log = simulated("constant", steps=12_000)
    assert log.loss is not None
    worse = replace(log, loss=1.01 * log.loss)
    plain, moved = (
        extend(LAW, run, steps=24_000, warmup_steps=WARMUP).ways[1].loss for run in (log, worse)
    )
    assert moved == pytest.approx(1.01 * plain)


def test_run_that_ended_at_lr_0_is_not_extended() -> None:
    log = simulated("constant", steps=12_000)
    ended = replace(log, lr=np.append(log.lr[:-1], 0.0))
    with pytest.raises(InputError, match="ends at lr 0"):
        design(LAW, Begun(ended, WARMUP), steps=24_000)


def test_horizon_before_the_log_s_end_is_refused() -> None:
    with pytest.raises(InputError, match="must be above the 12000 steps of constant"):
        extend(LAW, simulated("constant", steps=12_000), steps=9000, warmup_steps=WARMUP)


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_final_loss_is_foretold_from_three_quarters_of_a_run(name: str) -> None:
    whole = simulated(name, noise=1e-3)
    assert whole.loss is not None
    seen = replace(whole, step=whole.step[:60], lr=whole.lr[:60], loss=whole.loss[:60])
    found = extrapolate(seen, replace(whole, loss=None), warmup_steps=WARMUP)
    true = simulated(name).loss
    assert true is not None
    assert found.final_loss == pytest.approx(true[-1], rel=5e-3)
    assert found.low <= true[-1] <= found.high


def test_plan_that_ends_before_the_rows_seen_is_refused() -> None:
    whole = simulated("constant")
    with pytest.raises(InputError, match="after the planned"):
        extrapolate(whole, simulated("constant", steps=12_000), warmup_steps=WARMUP)


def judged(*forecasts: float) -> tuple[float | None, bool]:
    step = np.arange(1.0, len(forecasts) + 1)
    found = judge(step, np.log(forecasts), 0.003, unseen=0.5)
    return found.level, found.trusted


def test_forecasts_that_still_turn_are_not_trusted() -> None:
    assert judged(3.0, 3.001, 3.0, 3.001, 3.0) == (None, False)


def test_forecasts_that_fall_ever_less_are_trusted_from_where_they_fall() -> None:
    assert judged(3.0, 3.1, 3.05, 3.02, 3.019) == (2.0, True)


def test_forecasts_that_still_move_are_not_trusted() -> None:
    assert judged(3.3, 3.2, 3.1, 3.0) == (1.0, False)


def test_long_schedules_are_interpolated_to_within_a_hundredth_of_a_percent() -> None:
    step = np.arange(WARMUP, 24_001.0)
    lr = PEAK * (1 + np.cos(np.pi * (step - WARMUP) / (24_000 - WARMUP))) / 2
    every = Curve(name="x", step=step, lr=lr, loss=None)
    few = Curve(name="x", step=step[::40], lr=lr[::40], loss=None)
    long, short = (forecast(LAW, curve, warmup_steps=WARMUP) for curve in (every, few))
    assert len(long.loss) == len(step)
    np.testing.assert_allclose(long.loss[::40], short.loss, rtol=1e-4)
