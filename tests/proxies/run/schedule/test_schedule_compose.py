from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.schedule import (
    SHAPES,
    Checkpoint,
    Schedule,
    ScheduleRequest,
    build_schedule,
    lr_fraction,
    make_schedule,
    share_of_peak,
)
from proxies.run.schedule.extend import EXTENSIONS, extend_schedule, join_schedules
from tests.fixtures.schedules import make_any, updates


@given(
    kind=st.sampled_from(sorted(EXTENSIONS)), steps=st.integers(8, 300), more=st.integers(1, 300)
)
def test_an_extension_repeats_the_run_up_to_the_checkpoint_it_goes_on_from(
    kind: str, steps: int, more: int
) -> None:
    finished = make_any(kind, steps=steps)
    longer = extend_schedule(finished, steps + more)
    assert longer.schedule.steps == steps + more
    shared = longer.resume_step
    assert updates(longer.schedule)[:shared] == pytest.approx(updates(finished)[:shared], abs=1e-12)


def test_an_extended_wsd_goes_on_before_its_decay_which_keeps_its_share() -> None:
    longer = extend_schedule(make_schedule("wsd", steps=1000), 3000)
    assert longer.resume_step == 800
    assert longer.schedule.decay_steps == 600
    assert longer.schedule.warmup_steps == 100


def test_an_extended_wsd_s_gets_one_more_budget() -> None:
    finished = make_schedule("wsd-s", steps=100, checkpoints=[Checkpoint(50), Checkpoint(100)])
    longer = extend_schedule(finished, 200)
    assert longer.resume_step == 100
    assert [point.step for point in longer.schedule.checkpoints] == [50, 100, 200]


def test_an_extended_run_keeps_where_its_warmup_began() -> None:
    finished = build_schedule(ScheduleRequest(kind="wsd", steps=100, start_lr_fraction=0.3))
    assert lr_fraction(extend_schedule(finished, 200).schedule, 0) == 0.3


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_a_kind_that_depends_on_its_length_cannot_be_extended(kind: str) -> None:
    with pytest.raises(InputError, match="warm it up again"):
        extend_schedule(make_schedule(kind, steps=100), 200)


def test_an_extension_is_longer() -> None:
    with pytest.raises(InputError, match="extension to 100 steps: the finished run has 100"):
        extend_schedule(make_schedule("wsd", steps=100), 100)


def continuation(finished: Schedule, *, peak_ratio: float) -> Schedule:
    """WSD over 60 steps that starts from the finished run's final lr."""
    return build_schedule(
        ScheduleRequest(
            kind="wsd",
            steps=60,
            warmup_steps=10,
            start_lr_fraction=finished.final_lr_fraction / peak_ratio,
        )
    )


@given(peak_ratio=st.floats(0.2, 5), steps=st.integers(8, 300))
def test_a_rewarmed_run_joins_its_finished_one_without_a_jump(
    peak_ratio: float, steps: int
) -> None:
    finished = make_schedule("cosine", steps=steps)
    then = continuation(finished, peak_ratio=peak_ratio)
    whole = join_schedules(finished, then, peak_ratio=peak_ratio)
    higher = max(1.0, peak_ratio)
    assert whole.steps == steps + 60
    expected = [f / higher for f in updates(finished)]
    expected += [f * peak_ratio / higher for f in updates(then)]
    assert updates(whole) == pytest.approx(expected, abs=1e-12)
    assert lr_fraction(whole, steps + 1e-9) == pytest.approx(lr_fraction(whole, steps), abs=1e-6)
    assert max(updates(whole)) == pytest.approx(1, abs=1e-12)


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    peak_ratio=st.floats(0.1, 10),
    share=st.floats(0.01, 1),
)
def test_every_shape_keeps_its_form_at_another_peak(
    shape: str, peak_ratio: float, share: float
) -> None:
    run = make_schedule("wsd", steps=50, decay_shape=shape, final_lr_fraction=0.1)
    whole = join_schedules(run, run, peak_ratio=peak_ratio)
    scale = peak_ratio / max(1.0, peak_ratio)
    s = share * 50
    assert lr_fraction(whole, 50 + s) == pytest.approx(lr_fraction(run, s) * scale, abs=1e-6)


def test_a_peak_ratio_is_above_nought() -> None:
    run = make_schedule("wsd", steps=50)
    for ratio in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be above 0"):
            join_schedules(run, run, peak_ratio=ratio)


def test_a_fixed_final_lr_is_a_share_of_the_peak() -> None:
    """Step Law (arXiv 2503.04715) ends every run at 1e-5, whatever its peak."""
    assert share_of_peak(1e-5, 2e-3, where="--final-lr") == 0.005
    with pytest.raises(InputError, match=r"--final-lr 0\.1: must be from 0 to the peak lr of 0"):
        share_of_peak(0.1, 1e-3, where="--final-lr")


def test_a_start_above_nought_needs_steps_to_rise() -> None:
    request = ScheduleRequest(kind="wsd", steps=50, warmup_steps=0, start_lr_fraction=0.1)
    with pytest.raises(InputError, match=r"starts at 0\.1 of the peak, but warmup 0"):
        build_schedule(request)
