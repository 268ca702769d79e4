"""Schedules compared by a curve law, and the lr of a longer run by the last-iterate bound."""

from __future__ import annotations

from planner.recommendation.schedule import (
    best_schedule,
    bound_lr,
    final_log_loss,
    gain_over,
    sample_schedule,
    usual_schedules,
)
from tests.fixtures.curves import LAW, PEAK, WARMUP, simulated


def test_best_schedule_is_no_worse_than_the_usual_ones() -> None:
    best = best_schedule(LAW, steps=20_000, lr=PEAK, warmup_steps=WARMUP)
    lowest = final_log_loss(LAW, sample_schedule(best, PEAK))
    for usual in usual_schedules(20_000, WARMUP).values():
        assert lowest <= final_log_loss(LAW, sample_schedule(usual, PEAK)) + 1e-9


def test_schedule_gains_nothing_over_itself() -> None:
    schedule = sample_schedule(usual_schedules(5000, 100)["cosine"], PEAK)
    gain = gain_over(LAW, schedule, schedule)
    assert gain.value == 0
    assert gain.low < 0 < gain.high


def test_best_schedule_of_the_shortest_run_can_be_had() -> None:
    assert best_schedule(LAW, steps=2, lr=PEAK, warmup_steps=None).steps == 2


def test_bound_lowers_the_lr_of_a_longer_run() -> None:
    """By 1 / sqrt of the length or so (2501.18965): a run made 4 times longer wants about half,
    less than that for what has been done at the old lr."""
    log = simulated("constant", steps=12_000)
    lrs = [bound_lr(log, steps=steps, warmup_steps=WARMUP) for steps in (24_000, 48_000)]
    assert PEAK > lrs[0] > lrs[1]
    assert 0.25 * PEAK < lrs[1] < 0.6 * PEAK
