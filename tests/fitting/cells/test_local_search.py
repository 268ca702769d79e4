from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.arrays import Floats
from fitting.cells.few_runs import Start, Tried, fit_cell, rise, start_at
from fitting.cells.search import find_local_optimum, propose_run
from fitting.surface.prior import neutral_surface

PARAMS, TOKENS = 1e8, 2e9
BEST = (2e-3, 1e5)
"""Where the made-up cell is best."""


def made_up() -> Start:
    """A cell whose true surface is the prior's at `BEST`, but rises faster with lr."""
    plain = start_at(neutral_surface(), PARAMS, TOKENS, lr=BEST[0], batch_tokens=BEST[1])
    a, b, c, p, n, m, h = plain.weights
    # Still stationary at the start: sum_k q_k (exponents) = 0 with h up and c down.
    steeper = 1.5 * h
    return Start(*BEST, (a, b, c - math.log(steeper / h), p, n, m, steeper))


def loss_at(lr: Floats, batch_tokens: Floats) -> Floats:
    cell = made_up()
    at = np.column_stack([np.log(lr / cell.lr), np.log(batch_tokens / cell.batch_tokens)])
    return 2.5 * np.exp(rise(np.array(cell.weights), at)[0])


def grid(*, batches: int = 15) -> Floats:
    """Candidates a factor sqrt(2) apart, up to 11 times from the best."""
    lrs = BEST[0] * 2.0 ** (np.arange(-7, 8) / 2 + 0.2)
    sizes = BEST[1] * 2.0 ** ((np.arange(batches) - batches // 2) / 2 + 0.2)
    return np.array(list(itertools.product(lrs, sizes)))


def start_off(lr: float, batch_tokens: float) -> Start:
    return start_at(
        neutral_surface(), PARAMS, TOKENS, lr=BEST[0] * lr, batch_tokens=BEST[1] * batch_tokens
    )


def tried(points: Floats, *, diverges_above: float = math.inf) -> Tried:
    losses = loss_at(points[:, 0], points[:, 1])
    losses[points[:, 0] > diverges_above] = np.inf
    return Tried(points[:, 0], points[:, 1], losses, np.zeros(len(points), dtype=bool))


def search(
    start: Start, runs: int, candidates: Floats, *, diverges_above: float = math.inf
) -> Floats:
    """The settings run, in order."""
    done = np.empty((0, 2))
    for _ in range(runs):
        row = propose_run(
            start, tried(done, diverges_above=diverges_above), candidates=candidates, taken=done
        )
        assert row is not None
        done = np.vstack([done, candidates[row]])
    return done


def limits(candidates: Floats) -> Floats:
    return np.array([candidates.min(axis=0), candidates.max(axis=0)])


def test_search_opens_with_the_start_and_a_step_down_in_lr_and_in_batch() -> None:
    done = search(start_off(1, 1), 3, grid())
    steps = np.log2(done / done[0])
    assert np.allclose(steps, [[0, 0], [-1, 0], [0, -1]], atol=1e-9)


def test_search_steps_up_where_there_is_no_room_below() -> None:
    candidates = grid()
    low = candidates.min(axis=0)
    start = start_at(neutral_surface(), PARAMS, TOKENS, lr=low[0], batch_tokens=low[1])
    steps = np.log2(search(start, 3, candidates) / low)
    assert np.allclose(steps, [[0, 0], [1, 0], [0, 1]], atol=1e-9)


@pytest.mark.parametrize("factors", [(4, 4), (4, 0.25), (0.25, 4), (0.25, 0.25)])
def test_ten_runs_find_the_optimum_from_four_times_off(factors: tuple[float, float]) -> None:
    candidates = grid()
    start = start_off(*factors)
    found = find_local_optimum(start, tried(search(start, 10, candidates)), limits=limits(grid()))
    lowest = loss_at(np.array([BEST[0]]), np.array([BEST[1]]))
    at_found = loss_at(np.array([found.lr]), np.array([found.batch_tokens]))
    assert at_found[0] / lowest[0] < 1.0005
    assert found.loss == pytest.approx(at_found[0], rel=1e-3)


def test_interval_narrows_with_runs_and_is_unknown_on_the_edge() -> None:
    start = start_off(4, 4)
    done = search(start, 12, grid())
    widths = [
        find_local_optimum(start, tried(done[:count]), limits=limits(grid())).width
        for count in (3, 8, 12)
    ]
    assert widths[0] == math.inf
    assert widths[1] > widths[2] > 1


@given(st.permutations(range(8)))
@settings(max_examples=20, deadline=None)
def test_order_of_runs_does_not_matter(order: list[int]) -> None:
    start, done = start_off(4, 1), grid()[::29]
    found = find_local_optimum(start, tried(done), limits=limits(grid()))
    again = find_local_optimum(start, tried(done[order]), limits=limits(grid()))
    assert again.lr == pytest.approx(found.lr, rel=1e-3)
    assert again.batch_tokens == pytest.approx(found.batch_tokens, rel=1e-3)


def test_a_fixed_batch_is_searched_over_lr_alone() -> None:
    candidates = grid(batches=1)
    start = start_off(4, 1)
    done = search(start, 6, candidates)
    assert len(np.unique(done[:, 1])) == 1
    found = find_local_optimum(start, tried(done), limits=limits(candidates))
    assert found.batch_log_sd == 0
    assert found.lr == pytest.approx(BEST[0], rel=0.25)


def test_no_run_is_proposed_twice_even_while_others_are_under_way() -> None:
    candidates = grid()
    start = start_off(1, 1)
    taken = np.empty((0, 2))
    for _ in range(20):
        row = propose_run(start, tried(taken[:4]), candidates=candidates, taken=taken)
        assert row is not None
        taken = np.vstack([taken, candidates[row]])
    assert len(np.unique(taken, axis=0)) == 20


def test_nothing_is_left_when_all_candidates_are_taken() -> None:
    candidates = grid()[:3]
    assert (
        propose_run(start_off(1, 1), tried(candidates), candidates=candidates, taken=candidates)
        is None
    )


def test_search_goes_below_runs_that_diverged() -> None:
    candidates = grid()
    start = start_off(8, 1)
    cliff = 4 * BEST[0]
    done = search(start, 12, candidates, diverges_above=cliff)
    found = find_local_optimum(start, tried(done, diverges_above=cliff), limits=limits(candidates))
    assert found.lr == pytest.approx(BEST[0], rel=0.3)
    hot = np.minimum.accumulate(np.where(done[:, 0] > cliff, done[:, 0], np.inf))
    assert (done[1:, 0] < hot[:-1]).all()


def test_a_stopped_run_is_a_lower_bound() -> None:
    start = start_off(1, 1)
    points = np.array([BEST, (BEST[0] / 2, BEST[1]), (BEST[0] * 2, BEST[1])])
    losses = loss_at(points[:, 0], points[:, 1])
    complete = Tried(points[:, 0], points[:, 1], losses, np.zeros(3, dtype=bool))
    # A bound far below what the fit expects says nothing.
    lax = Tried(
        points[:, 0], points[:, 1], losses - np.array([0, 0, 1]), np.array([False, False, True])
    )
    two = Tried(points[:2, 0], points[:2, 1], losses[:2], np.zeros(2, dtype=bool))
    assert np.array_equal(fit_cell(start, lax).weights, fit_cell(start, two).weights)
    # One above it moves the fit like a measured loss.
    tight = Tried(
        points[:, 0], points[:, 1], losses + np.array([0, 0, 0.1]), np.array([False, False, True])
    )
    measured = Tried(points[:, 0], points[:, 1], losses + np.array([0, 0, 0.1]), complete.stopped)
    assert np.array_equal(fit_cell(start, tight).weights, fit_cell(start, measured).weights)
