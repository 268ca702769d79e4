"""Losses of single runs: level times excess, with scatter that grows with the excess."""

from __future__ import annotations

import numpy as np
import pytest

from fitting.errors import FitError
from fitting.level import RunScatter, measure_scatter, predict_runs
from fitting.loss_fit import fit_loss
from fitting.loss_report import LossFit


@pytest.fixture(scope="module")
def level() -> LossFit:
    """A law of 35 cells with a scatter of 0.1%."""
    rng = np.random.default_rng(0)
    params, tokens = (
        grid.ravel() for grid in np.meshgrid(np.geomspace(6e7, 1e9, 5), np.geomspace(2e9, 1e11, 7))
    )
    loss = 1.7 + 400 * params**-0.34 + 2000 * tokens**-0.36
    return fit_loss(
        params, tokens, loss * np.exp(0.001 * rng.normal(size=35)), family="chinchilla", rng=rng
    )


def test_noise_and_share_are_recovered_from_runs() -> None:
    rng = np.random.default_rng(1)
    excess = rng.uniform(0, 0.1, 4000)
    truth = RunScatter(noise=0.002, share=0.3)
    found = measure_scatter(excess, truth.sd(excess) * rng.normal(size=4000))
    assert found.share == pytest.approx(truth.share, rel=0.05)
    assert found.noise == pytest.approx(truth.noise, abs=0.001)


def test_runs_without_excess_have_the_noise_alone() -> None:
    scatter = RunScatter(noise=0.002, share=0.3)
    assert scatter.sd(np.array([0.0, 1.0])) == pytest.approx([0.002, 0.3], rel=1e-4)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(FitError, match="level: 3 runs, 10 needed"):
        measure_scatter([0.0, 0.1, 0.2], [0.0, 0.0, 0.0])


def test_a_run_is_predicted_at_its_level_times_its_excess(level: LossFit) -> None:
    scatter = RunScatter(noise=0.002, share=0.3)
    at = ([3e8, 3e8], [2e10, 2e10])
    best = level.predict(*at)
    runs = predict_runs(level, *at, excess=[0.0, 0.05], scatter=scatter)
    np.testing.assert_allclose(runs.value, best.value * np.exp([0.0, 0.05]))
    width = np.log(runs.high / runs.low)
    assert np.log(best.high / best.low)[0] < width[0] < width[1]


def test_intervals_hold_eight_runs_in_ten(level: LossFit) -> None:
    rng = np.random.default_rng(2)
    scatter = RunScatter(noise=0.003, share=0.25)
    params, tokens = 10 ** rng.uniform(7.8, 9, 500), 10 ** rng.uniform(9.5, 11, 500)
    excess = rng.uniform(0, 0.06, 500)
    mean = np.log(1.7 + 400 * params**-0.34 + 2000 * tokens**-0.36) + excess
    loss = np.exp(mean + scatter.sd(excess) * rng.normal(size=500))
    found = predict_runs(level, params, tokens, excess=excess, scatter=scatter)
    assert 0.74 <= np.mean((found.low <= loss) & (loss <= found.high)) <= 0.88
