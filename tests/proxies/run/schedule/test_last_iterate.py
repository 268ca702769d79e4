from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.schedule import lr_fraction, make_schedule
from proxies.run.schedule.convex_bound import best_peak_lr, last_iterate_bound, transferred_lr
from tests.fixtures.schedules import updates


def by_the_formula(lrs: list[float], norms: list[float], distance: float) -> float:
    """Omega_T of Schaipp et al. (arXiv 2501.18965), sum by sum, in the paper's order."""
    total = len(lrs)
    while lrs[total - 1] == 0:
        total -= 1
    whole = math.fsum(lrs[:total])
    omega = distance**2 / (2 * whole)
    omega += math.fsum((lrs[t] * norms[t]) ** 2 for t in range(total)) / (2 * whole)
    for k in range(total - 1):
        after = math.fsum(lrs[k + 1 : total])
        tail = math.fsum((lrs[t] * norms[t]) ** 2 for t in range(k, total))
        omega += 0.5 * (lrs[k] / after) * (tail / math.fsum(lrs[k:total]))
    return omega


RUNS = st.lists(
    st.tuples(st.floats(0, 1) | st.just(0.0), st.floats(0.1, 10)), min_size=1, max_size=40
).filter(lambda run: sum(lr for lr, _ in run) > 1e-3 and all(lr == 0 or lr > 1e-6 for lr, _ in run))


@given(run=RUNS, distance=st.floats(0.1, 10))
def test_the_fast_bound_is_the_formula(run: list[tuple[float, float]], distance: float) -> None:
    lrs, norms = [lr for lr, _ in run], [norm for _, norm in run]
    bound = last_iterate_bound(lrs, norms=norms, distance=distance)
    assert bound.value == pytest.approx(by_the_formula(lrs, norms, distance), rel=1e-9)


@given(run=RUNS, factor=st.floats(0.1, 10))
def test_no_other_scale_has_a_lower_bound_than_the_best(
    run: list[tuple[float, float]], factor: float
) -> None:
    lrs, norms = np.array([lr for lr, _ in run]), [norm for _, norm in run]
    bound = last_iterate_bound(lrs, norms=norms)
    best = last_iterate_bound(lrs * bound.best_scale, norms=norms)
    other = last_iterate_bound(lrs * bound.best_scale * factor, norms=norms)
    assert best.value == pytest.approx(bound.best_value, rel=1e-9)
    assert other.value >= best.value * (1 - 1e-12)


def test_one_number_for_the_norms_is_that_number_at_every_step() -> None:
    lrs = updates(make_schedule("wsd", steps=50))
    assert last_iterate_bound(lrs, norms=2.0) == last_iterate_bound(lrs, norms=[2.0] * 50)


def test_linear_to_zero_has_its_closed_form() -> None:
    """With eta_t = c (1 - t / T) the three terms are, as sums become integrals, R^2 / (c T),
    c G^2 / 3 and 2 c G^2 / 3: the best c is R / (G sqrt(T)) and the bound there 2 R G / sqrt(T)."""
    steps = 4000
    lrs = [1 - t / steps for t in range(steps)]
    bound = last_iterate_bound(lrs, norms=3.0, distance=2.0)
    assert bound.best_scale == pytest.approx(2.0 / (3.0 * math.sqrt(steps)), rel=0.005)
    assert bound.best_value == pytest.approx(2 * 2.0 * 3.0 / math.sqrt(steps), rel=0.005)


def test_tuned_schedules_rank_as_published() -> None:
    """Schaipp et al. (arXiv 2501.18965): a cooldown removes the log term of a constant lr, and
    linear decay is the best of the usual ones."""
    options = {"linear": {}, "cosine": {}, "wsd": {"decay_shape": "linear"}, "constant": {}}
    best = {
        kind: last_iterate_bound(
            updates(make_schedule(kind, steps=2000, warmup_steps=1, **option))  # type: ignore[arg-type]
        ).best_value
        for kind, option in options.items()
    }
    assert best["linear"] < best["wsd"] < best["constant"]
    assert best["cosine"] < best["constant"]


def test_twice_the_steps_of_one_shape_want_the_lr_over_root_two() -> None:
    short, long = (make_schedule("linear", steps=s, warmup_steps=s // 10) for s in (2000, 4000))
    assert transferred_lr(1e-3, short, long) == pytest.approx(1e-3 / math.sqrt(2), rel=0.01)
    assert transferred_lr(1e-3, short, short) == 1e-3


def test_the_best_peak_is_the_one_whose_bound_is_lowest() -> None:
    schedule = make_schedule("cosine", steps=300)
    peak = best_peak_lr(schedule, norms=2.0, distance=0.5)
    values = [
        last_iterate_bound(
            [lr * lr_fraction(schedule, s) for s in range(1, 301)], norms=2.0, distance=0.5
        ).value
        for lr in (peak / 1.01, peak, peak * 1.01)
    ]
    assert values[1] == min(values)


@pytest.mark.parametrize("lrs", [[], [0.0, 0.0], [1.0, -1.0], [1.0, math.nan], [[1.0]]])
def test_lrs_that_train_nothing_are_refused(lrs: list[float]) -> None:
    with pytest.raises(InputError, match="lrs: must be a list of finite numbers"):
        last_iterate_bound(lrs)


def test_norms_and_distances_must_be_above_nought() -> None:
    for norms in (0.0, [1.0, 0.0], [1.0, 2.0, 3.0], math.inf):
        with pytest.raises(InputError, match="norms: must be one number above 0 or 2"):
            last_iterate_bound([1.0, 0.5], norms=norms)
    with pytest.raises(InputError, match="distance 0: must be above 0"):
        last_iterate_bound([1.0], distance=0.0)
    run = make_schedule("wsd", steps=10)
    with pytest.raises(InputError, match="lr 0: must be above 0"):
        transferred_lr(0.0, run, run)
