from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.schedule import (
    KINDS,
    SHAPES,
    Checkpoint,
    Schedule,
    ScheduleRequest,
    build_schedule,
    default_warmup_steps,
    lr_fraction,
    make_schedule,
)
from tests.fixtures.schedules import make_any, quarter_budgets, updates

FREE_SHAPES = [name for name in SHAPES if name not in ("drop", "exponential", "inverse-sqrt")]
"""Shapes that may end anywhere in 0..1."""


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of the registry, one after another."""
    return str(request.param)


def test_the_registry_is_the_issues_list() -> None:
    assert set(KINDS) == {
        "wsd",
        "linear",
        "cosine",
        "wsd-s",
        "constant",
        "inverse-sqrt",
        "two-stage",
    }


@given(kind=st.sampled_from(sorted(KINDS)), steps=st.integers(8, 3000))
def test_stages_add_up_to_the_steps_exactly(kind: str, steps: int) -> None:
    schedule = make_any(kind, steps=steps)
    assert schedule.steps == steps
    assert schedule.warmup_steps + schedule.stable_steps + schedule.decay_steps == steps
    assert all(stage.steps >= 1 for stage in schedule.stages)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    steps=st.integers(8, 10**7),
    share=st.floats(0, 1),
)
def test_fractions_stay_between_zero_and_one(kind: str, steps: int, share: float) -> None:
    fraction = lr_fraction(make_any(kind, steps=steps), share * steps)
    assert 0 <= fraction <= 1


@given(kind=st.sampled_from(sorted(KINDS)), steps=st.integers(8, 10**6))
def test_the_first_update_trains_and_the_last_is_at_the_final_lr(kind: str, steps: int) -> None:
    schedule = make_any(kind, steps=steps)
    assert lr_fraction(schedule, 0) == 0
    assert lr_fraction(schedule, 1) > 0
    assert lr_fraction(schedule, schedule.warmup_steps) == 1
    assert lr_fraction(schedule, steps) == schedule.final_lr_fraction


@given(kind=st.sampled_from(sorted(KINDS)), steps=st.integers(8, 10**6))
def test_the_lr_does_not_jump_but_after_a_checkpoint_or_at_the_drop(kind: str, steps: int) -> None:
    schedule = make_any(kind, steps=steps)
    finished = {point.step for point in schedule.checkpoints}
    for joint in schedule.ends[:-1]:
        before, at = lr_fraction(schedule, joint - 1e-7), lr_fraction(schedule, joint)
        after = lr_fraction(schedule, joint + 1e-7)
        # 1e-3 because a square root moves by sqrt(1e-7 / decay) within 1e-7 of its start.
        assert at == pytest.approx(before, abs=1e-3)
        if joint in finished:
            assert after == 1
        elif kind == "two-stage" and joint == steps - schedule.decay_steps:
            assert after == schedule.final_lr_fraction
        else:
            assert after == pytest.approx(at, abs=1e-3)


@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != "wsd-s"]),
    steps=st.integers(2, 400),
    final=st.floats(1e-9, 1),
)
def test_the_lr_rises_in_the_warmup_and_never_after(kind: str, steps: int, final: float) -> None:
    floor = None if kind == "constant" else final
    schedule = make_any(kind, steps=steps, final_lr_fraction=floor)
    assert_rises_then_never(schedule)


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    steps=st.integers(2, 400),
    final=st.floats(1e-9, 1),
    start=st.floats(0, 1),
)
def test_every_decay_of_wsd_falls_from_the_peak_to_the_final_lr(
    shape: str, steps: int, final: float, start: float
) -> None:
    schedule = build_schedule(
        ScheduleRequest(
            kind="wsd",
            steps=steps,
            decay_shape=shape,
            final_lr_fraction=final,
            start_lr_fraction=start,
        )
    )
    assert_rises_then_never(schedule)
    assert lr_fraction(schedule, 0) == start
    assert lr_fraction(schedule, steps) == final


def assert_rises_then_never(schedule: Schedule) -> None:
    """The lr rises to the peak in the warmup, and from there on only falls or stays."""
    lrs = updates(schedule)
    warmup = schedule.warmup_steps
    # 1e-15: two roundings of a number below 1.
    assert all(b >= a - 1e-15 for a, b in pairwise(lrs[:warmup]))
    assert all(b <= a + 1e-15 for a, b in zip(lrs[warmup - 1 :], lrs[warmup:], strict=False))


@given(kind=st.sampled_from(sorted(KINDS)), steps=st.integers(8, 10**6))
def test_a_schedules_own_numbers_make_it_again(kind: str, steps: int) -> None:
    made = make_any(kind, steps=steps)
    again = make_schedule(
        made.kind,
        steps=made.warmup_steps + made.stable_steps + made.decay_steps,
        warmup_steps=made.warmup_steps,
        decay_steps=made.decay_steps,
        decay_shape=made.decay_shape,
        final_lr_fraction=made.final_lr_fraction,
        checkpoints=made.checkpoints if kind == "wsd-s" else (),
    )
    assert again == made


def test_a_step_outside_the_run_is_refused(kind: str) -> None:
    schedule = make_any(kind, steps=100)
    for s in (-1, 100.5, math.nan):
        with pytest.raises(InputError, match=r"outside 0\.\.100"):
            lr_fraction(schedule, s)


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 9])
def test_very_short_runs_train_from_update_one(kind: str, steps: int) -> None:
    budgets = [Checkpoint(2), Checkpoint(steps)] if steps > 2 else [Checkpoint(2)]
    options = {"checkpoints": budgets} if kind == "wsd-s" else {}
    lrs = updates(make_any(kind, steps=steps, **options))
    assert lrs[0] == 1
    assert len(lrs) == steps


def test_a_run_of_one_step_can_only_be_constant() -> None:
    assert updates(make_schedule("constant", steps=1)) == [1.0]
    for kind in ("wsd", "linear", "cosine"):
        with pytest.raises(InputError, match=r"warmup 1 \+ decay 1 > steps 1"):
            make_schedule(kind, steps=1)


def test_wsd_is_warmup_then_peak_then_one_minus_square_root() -> None:
    schedule = make_schedule("wsd", steps=20, warmup_steps=4, decay_steps=8)
    warmup = [1 / 4, 2 / 4, 3 / 4, 1.0]
    decay = [1 - math.sqrt(k / 8) for k in range(1, 9)]
    assert updates(schedule) == pytest.approx(warmup + [1.0] * 8 + decay, abs=1e-15)


def test_linear_goes_to_zero_over_all_that_follows_the_warmup() -> None:
    schedule = make_schedule("linear", steps=10, warmup_steps=2)
    expected = [1 / 2, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0.0]
    assert updates(schedule) == pytest.approx(expected, abs=1e-15)


def test_cosine_goes_to_a_tenth() -> None:
    schedule = make_schedule("cosine", steps=6, warmup_steps=2)
    half_cosine = [(1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3, 4)]
    expected = [0.5, 1.0] + [0.1 + 0.9 * factor for factor in half_cosine]
    assert updates(schedule) == pytest.approx(expected, abs=1e-15)


def test_constant_stays_at_the_peak() -> None:
    schedule = make_schedule("constant", steps=5, warmup_steps=2)
    assert updates(schedule) == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert schedule.decay_shape is None


def test_wsd_s_returns_to_the_peak_after_each_checkpoint() -> None:
    schedule = make_schedule(
        "wsd-s",
        steps=12,
        warmup_steps=2,
        decay_shape="linear",
        checkpoints=[Checkpoint(6, 2), Checkpoint(12, 4)],
    )
    first = [0.5, 1.0, 1.0, 1.0, 0.5, 0.0]
    second = [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert updates(schedule) == first + second
    assert (schedule.stable_steps, schedule.decay_steps) == (4, 6)
    assert schedule.checkpoints == (Checkpoint(6, 2), Checkpoint(12, 4))


@given(steps=st.integers(2, 10**6))
def test_wsd_s_with_one_budget_is_wsd(steps: int) -> None:
    several = make_schedule("wsd-s", steps=steps, checkpoints=[Checkpoint(steps)])
    assert several.stages == make_schedule("wsd", steps=steps).stages


def test_wsd_s_decays_by_default_over_a_fifth_of_each_period() -> None:
    schedule = make_schedule("wsd-s", steps=4000, checkpoints=quarter_budgets(4000))
    assert [point.decay_steps for point in schedule.checkpoints] == [200, 200, 400]
    assert schedule.warmup_steps == default_warmup_steps(1000) == 100


@given(steps=st.integers(10, 10**8))
def test_default_warmup_lies_between_a_hundredth_and_a_tenth(steps: int) -> None:
    warmup = default_warmup_steps(steps)
    assert steps <= 100 * warmup
    assert 10 * warmup <= steps
    assert warmup <= max(2000, math.ceil(steps / 100))


def test_default_warmup_of_step_laws_runs_is_two_thousand_steps() -> None:
    assert [default_warmup_steps(steps) for steps in (19_999, 20_000, 200_000)] == [
        1999,
        2000,
        2000,
    ]


@given(start=st.floats(0, 1), end=st.floats(0, 1), shape=st.sampled_from(FREE_SHAPES))
def test_shapes_begin_and_end_where_they_are_told_to(start: float, end: float, shape: str) -> None:
    assert (SHAPES[shape](start, end, 0.0), SHAPES[shape](start, end, 1.0)) == (start, end)


@pytest.mark.parametrize(
    ("shape", "half_way"),
    [
        ("linear", 0.55),
        ("1-sqrt", 1 - 0.9 * math.sqrt(0.5)),
        ("cosine", 0.55),
        ("square", 0.1 + 0.9 * 0.75),
        ("2^(1-p)-1", 0.1 + 0.9 * (math.sqrt(2) - 1)),
        ("exponential", math.sqrt(0.1)),
        ("inverse-sqrt", 1 / math.sqrt(1 + 99 / 2)),
        ("drop", 0.1),
    ],
)
def test_each_shape_is_its_formula_half_way(shape: str, half_way: float) -> None:
    assert SHAPES[shape](1.0, 0.1, 0.5) == pytest.approx(half_way, abs=1e-15)


def test_inverse_sqrt_falls_with_the_root_of_the_steps_since_the_warmup() -> None:
    schedule = make_schedule("inverse-sqrt", steps=400, warmup_steps=100)
    expected = [math.sqrt(100 / s) for s in (100, 150, 200, 400)]
    found = [lr_fraction(schedule, s) for s in (100, 150, 200, 400)]
    assert found == pytest.approx(expected, abs=1e-15)
    assert schedule.final_lr_fraction == 0.5


def test_two_stage_drops_at_once_and_stays() -> None:
    schedule = make_schedule(
        "two-stage", steps=8, warmup_steps=2, decay_steps=3, final_lr_fraction=0.3
    )
    assert updates(schedule) == [0.5, 1.0, 1.0, 1.0, 1.0, 0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("wsd", {"warmup_steps": 500, "decay_steps": 800}, r"warmup 500 \+ decay 800 > steps 1000"),
        ("wsd", {"warmup_steps": 900}, r"warmup 900 \+ decay 200 > steps 1000; 100 too many"),
        ("linear", {"warmup_steps": 1000}, r"warmup 1000 \+ decay 1 > steps 1000"),
        ("cosine", {"warmup_steps": 2000}, r"warmup 2000 \+ decay 1 > steps 1000"),
        ("constant", {"warmup_steps": 1001}, r"warmup 1001 > steps 1000"),
        ("linear", {"decay_steps": 500}, r"warmup 100 \+ decay 500 < steps 1000"),
        ("linear", {"decay_steps": 0}, r"decay 0; at least 1 step"),
        ("wsd", {"decay_steps": 0}, r"decay 0; at least 1 step"),
        ("wsd", {"decay_steps": -3}, r"decay -3; at least 1 step"),
        ("wsd", {"warmup_steps": -1}, r"warmup -1; 0 steps or more"),
        ("linear", {"decay_shape": "cosine"}, r"decay shape 'cosine' is not linear"),
        ("wsd", {"decay_shape": "1-sqr"}, r"'1-sqr' is not known; nearest is '1-sqrt'"),
        ("wsd", {"final_lr_fraction": 1.5}, r"final lr fraction 1\.5"),
        ("wsd", {"final_lr_fraction": math.nan}, r"final lr fraction nan"),
        ("constant", {"decay_steps": 10}, r"decay 10, but it never decays"),
        ("constant", {"final_lr_fraction": 0.0}, r"final lr fraction 0\.0, but it never decays"),
        ("wsd", {"checkpoints": [Checkpoint(1000)]}, r"checkpoints belong to schedule wsd-s"),
        ("wsd-s", {}, r"no checkpoints"),
        (
            "wsd-s",
            {"checkpoints": [Checkpoint(500)]},
            r"last checkpoint at step 500, but steps 1000",
        ),
        ("wsd-s", {"checkpoints": [Checkpoint(0), Checkpoint(1000)]}, r"step 0 is not after 0"),
        (
            "wsd-s",
            {"checkpoints": [Checkpoint(500), Checkpoint(500), Checkpoint(1000)]},
            r"step 500 is not after 500",
        ),
        (
            "wsd-s",
            {"checkpoints": [Checkpoint(900), Checkpoint(1000, 150)]},
            r"decay 150 > steps 1000 - 900; 50 too many",
        ),
        (
            "wsd-s",
            {"checkpoints": [Checkpoint(500), Checkpoint(1000)], "decay_steps": 300},
            r"decay 300 != 100 \+ 100 of its checkpoints",
        ),
        ("wds", {}, r"no such schedule; nearest is 'wsd'"),
        ("two-stage", {"final_lr_fraction": 0.3}, r"has no default drop; give decay steps"),
        (
            "two-stage",
            {"decay_steps": 10, "final_lr_fraction": 0.3, "decay_shape": "linear"},
            r"decay shape 'linear' is not drop; use wsd",
        ),
        ("inverse-sqrt", {"warmup_steps": 0}, r"warmup 0, but it is the timescale"),
        (
            "wsd",
            {"decay_shape": "exponential", "final_lr_fraction": 0.0},
            r"decay shape exponential never gets to 0",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_arithmetic(
    kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_schedule(kind, steps=1000, **options)
    assert "\n" not in str(caught.value)


def test_a_run_without_steps_is_refused() -> None:
    with pytest.raises(InputError, match="steps 0; a run has at least 1"):
        make_schedule("wsd", steps=0)


def test_a_first_update_that_would_not_train_is_refused() -> None:
    with pytest.raises(InputError, match="update 1 of 1 has lr 0"):
        make_schedule("linear", steps=1, warmup_steps=0)


def test_importing_schedules_loads_no_array_library() -> None:
    code = (
        "import sys, proxies.run.schedule\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'scipy', 'pydantic') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
