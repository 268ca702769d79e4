"""Schedules from files: any CSV of steps and lrs, and refined ones from gradient norms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import median_filter

from fitting.errors import InputError
from proxies.run.schedule import KINDS, lr_fraction, lr_fractions, update_fractions
from proxies.run.schedule.from_file import StepValue, read_schedule, through_knots
from proxies.run.schedule.refined import (
    explain_refined,
    read_norms,
    refine_schedule,
    refined_fractions,
)
from tests.fixtures.schedules import make_any, updates


def write(path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def logged(norms: list[float], *, every: int = 1) -> list[StepValue]:
    """Norms as rows of a log."""
    return [StepValue(n + 1, n * every, norm) for n, norm in enumerate(norms, start=1)]


KNOTS = st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=1, max_size=20).map(
    lambda gaps: [(sum(g for g, _ in gaps[: n + 1]), f) for n, (_, f) in enumerate(gaps)]
)


@given(knots=KNOTS, share=st.floats(0, 1))
def test_a_schedule_through_knots_is_linear_between_them(
    knots: list[tuple[int, float]], share: float
) -> None:
    highest = max([fraction for _, fraction in knots] + [1e-3])
    whole = [(0, 0.0), *((s, min(1.0, f / highest)) for s, f in knots), (knots[-1][0] + 7, 1.0)]
    schedule = through_knots(whole, kind="csv")
    steps = whole[-1][0]
    assert schedule.steps == steps
    assert schedule.warmup_steps + schedule.stable_steps + schedule.decay_steps == steps
    x, y = [s for s, _ in whole], [f for _, f in whole]
    assert lr_fraction(schedule, share * steps) == pytest.approx(
        float(np.interp(share * steps, x, y)), abs=1e-12
    )
    assert [lr_fraction(schedule, s) for s in x] == y
    points = np.linspace(0, steps, 50)
    assert lr_fractions(schedule, points).tolist() == [lr_fraction(schedule, s) for s in points]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_written_schedule_comes_back(kind: str, tmp_path: Path) -> None:
    made = make_any(kind, steps=60)
    rows = [f"{s},{2e-3 * fraction!r}" for s, fraction in enumerate(updates(made), start=1)]
    read = read_schedule(write(tmp_path / "lr.csv", "step,lr", *rows))
    assert read.peak_lr == 2e-3
    assert read.schedule.steps == 60
    assert updates(read.schedule) == pytest.approx(updates(made), abs=1e-15)


def test_before_the_first_row_the_lr_rose_from_nought(tmp_path: Path) -> None:
    path = write(tmp_path / "lr.csv", "step,loss,lr", "10,9,0.5", "20,9,0.25", "30,,0.1")
    whole_rise, short_rise = read_schedule(path), read_schedule(path, warmup_steps=4)
    assert [lr_fraction(whole_rise.schedule, s) for s in (0, 5, 10, 15, 30)] == [
        0,
        0.5,
        1,
        0.75,
        0.2,
    ]
    assert [lr_fraction(short_rise.schedule, s) for s in (0, 2, 4, 7, 10)] == [0, 0.5, 1, 1, 1]
    assert (short_rise.schedule.warmup_steps, short_rise.schedule.stable_steps) == (4, 6)
    with pytest.raises(InputError, match="warmup 11, but its first row is at step 10"):
        read_schedule(path, warmup_steps=11)


def test_a_published_curve_is_a_schedule(shared: Path) -> None:
    read = read_schedule(shared / "data/loss_curves_25M/wsdcon_9.csv", warmup_steps=2160)
    assert read.peak_lr == 3e-4
    assert read.schedule.final_lr_fraction == pytest.approx(0.3)
    assert lr_fraction(read.schedule, 2160) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["step,lr", "1,1", "2,nan"], r"row 3, column lr: 'nan' is not a number"),
        (["step,lr", "1,1", "2,"], r"row 3, column lr: '' is not a number"),
        (["step,lr", "1,1", "2,-1"], r"row 3: lr -1; 0 or more"),
        (["step,lr", "1,1", "1,0.5"], r"row 3: step 1 is there twice"),
        (["step,lr", "5,1", "2,0.5"], r"row 3: step 2 comes after 5; sort the rows"),
        (["step,lr", "1.5,1"], r"row 2, column step: 1.5 is not a whole number"),
        (["step,lr", "-1,1"], r"row 2, column step: -1 is below 0"),
        (["step,lr", "1,0", "2,0"], r"every lr is 0"),
        (["step,lr", "0,1"], r"its only row is step 0"),
        (["step,lr"], r"has a header and no rows"),
        (["stp,lr", "1,1"], r"no column step; it has stp, lr"),
        (["step,rate", "1,1"], r"no column lr; it has step, rate"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused_with_its_row(
    lines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_schedule(write(tmp_path / "lr.csv", *lines))
    assert "\n" not in str(caught.value)


def test_a_warmup_beside_a_row_for_step_nought_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a row for step 0"):
        read_schedule(write(tmp_path / "lr.csv", "step,lr", "0,0", "5,1"), warmup_steps=3)


@given(norms=st.lists(st.floats(0.01, 100), min_size=10, max_size=200))
def test_refined_is_the_published_recipe(norms: list[float]) -> None:
    count = len(norms)
    width = 2 * int(0.1 * count) // 2 + 1
    padded = norms + norms[: -2 * width - 1 : -1]
    weights = median_filter(np.array(padded), size=width, mode="nearest")[:count] ** -2.0
    lrs = [w * sum(weights[t + 1 :]) / sum(weights) for t, w in enumerate(weights)]
    found = refined_fractions(norms)
    assert found.tolist() == pytest.approx([lr / max(lrs) for lr in lrs], rel=1e-9, abs=1e-12)
    assert found[-1] == 0
    assert found.max() == 1


def test_unchanging_norms_prefer_linear_to_nought() -> None:
    schedule = refine_schedule(logged([3.0] * 100))
    expected = [(100 - s) / 99 for s in range(1, 101)]
    assert updates(schedule) == pytest.approx(expected, abs=1e-12)
    reading = explain_refined(schedule)
    assert reading.anneal_step is None
    assert "falls in a straight line to 0" in reading.sentence


def test_large_first_norms_warm_up_and_shrinking_ones_anneal_fast_at_the_end() -> None:
    steps = np.arange(1, 1001)
    norms = 1 + 10 * np.exp(-steps / 40) + 2 * (1 - steps / 1000)
    schedule = refine_schedule(logged(norms.tolist(), every=10))
    reading = explain_refined(schedule)
    assert schedule.steps == 10_000
    # The filter reaches half of its tenth past the large norms.
    assert reading.warmup_steps >= 500
    assert reading.anneal_step is not None
    assert reading.anneal_step >= 7000
    assert "anneals fast over the last" in reading.sentence


def test_norms_that_grow_at_the_end_bring_the_lr_down_before_it() -> None:
    norms = 1 + 2 * np.maximum(0, np.arange(1000) - 900) / 100
    reading = explain_refined(refine_schedule(logged(norms.tolist())))
    assert reading.anneal_fraction is not None
    assert reading.anneal_fraction < 0.05
    assert "for norms grow" in reading.sentence


def test_falling_norms_hold_the_lr_up() -> None:
    """Norms that fall make later steps worth more, so the lr stays above the straight line."""
    norms = np.linspace(2, 1, 200)
    fractions = update_fractions(refine_schedule(logged(norms.tolist())))
    assert fractions[150] > 0.6


def test_the_l1_norm_weighs_by_its_first_power() -> None:
    norms = [4.0] * 50 + [1.0] * 50
    l1, l2 = refined_fractions(norms, norm="l1"), refined_fractions([n**0.5 for n in norms])
    assert l1.tolist() == pytest.approx(l2.tolist(), rel=1e-12)
    with pytest.raises(InputError, match="norm 'l3': not known; one of l2, l1"):
        refined_fractions(norms, norm="l3")


def test_norms_are_read_with_an_early_last_row(tmp_path: Path) -> None:
    rows = [f"{s},1.5" for s in [*range(10, 120, 10), 115]]
    points = read_norms(write(tmp_path / "n.csv", "step,grad_norm", *rows))
    assert [point.step for point in points[-2:]] == [110, 115]
    assert refine_schedule(points).steps == 115


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,2"], r"1 gradient norm; a schedule needs at least 10"),
        ([f"{s},1" for s in range(1, 8)], r"7 gradient norms; a schedule needs"),
        (
            [f"{s},{'nan' if s == 5 else 1}" for s in range(20)],
            r"row 7, column grad_norm: 'nan' is",
        ),
        ([f"{s},{'' if s == 5 else 1}" for s in range(20)], r"row 7, column grad_norm: '' is not"),
        ([f"{s},{0 if s == 5 else 1}" for s in range(20)], r"row 7: norm 0; must be above 0"),
        ([f"{s},1" for s in range(20) if s != 9], r"row 11: step 10 after 8, where rows began 1"),
        ([f"{s},1" for s in reversed(range(20))], r"row 3: step 18 comes after 19; sort"),
        ([f"{s},1" for s in (1, 1, 2)], r"row 3: step 1 is there twice"),
        ([f"{s},1" for s in range(100, 200, 5)], r"row 2: begins at step 100, where rows are 5"),
    ],
)
def test_norms_that_make_no_schedule_are_refused_in_one_line(
    rows: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_norms(write(tmp_path / "n.csv", "step,grad_norm", *rows))
    assert "\n" not in str(caught.value)
