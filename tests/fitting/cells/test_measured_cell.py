import math

import numpy as np
import pytest

from fitting.cells.measured import measure_cell
from fitting.runs.tuned import TunedRuns

BEST = np.log([2e-3, 1e5])


def cell(runs: int, *, best: np.ndarray = BEST, seed: int = 0, noise: float = 0.002) -> TunedRuns:
    rng = np.random.default_rng(seed)
    at = BEST + rng.uniform(-1.2, 1.2, size=(runs, 2))
    log_loss = math.log(3) + 0.01 * np.sum((at - best) ** 2, axis=1)
    lr, batch = np.exp(at.T)
    loss = np.exp(log_loss + noise * rng.normal(size=runs))
    return TunedRuns(np.full(runs, 1e8), np.full(runs, 2e9), lr, batch, loss)


def test_nine_runs_name_their_optimum_within_its_error() -> None:
    errors = []
    for seed in range(40):
        measured = measure_cell(cell(9, seed=seed))
        assert measured is not None
        if measured.place is not None:
            errors.append(np.abs(measured.place - BEST) / measured.sd)
    assert len(errors) >= 30
    assert np.mean(np.array(errors) < 1.2816) >= 0.8
    assert np.median(errors) > 0.05


def test_a_place_away_from_the_best_costs_what_the_bowl_says() -> None:
    for runs in (9, 60):
        measured = measure_cell(cell(runs, noise=0.0))
        assert measured is not None
        at = BEST + np.array([math.log(2), 0.0])
        assert measured.loss_at(at) / measured.loss_at(BEST) - 1 == pytest.approx(
            math.expm1(0.01 * math.log(2) ** 2), abs=1e-3
        )


def test_twenty_runs_count_as_exact_and_five_as_nothing() -> None:
    many = measure_cell(cell(60))
    assert many is not None
    assert (many.sd == 0).all()
    assert measure_cell(cell(5)) is None


def test_a_best_outside_the_runs_has_no_place() -> None:
    measured = measure_cell(cell(10, best=BEST + 4))
    assert measured is not None
    assert measured.place is None
