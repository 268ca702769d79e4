"""Bars of issue 12 for laws from smaller models, prior none."""

from pathlib import Path

import pytest

from fitting.cells.spline import measured_optima
from fitting.surface.fit import Effort
from tests.measured.step_law_cells import columns, read_table
from tests.measured.surface_extrapolation import (
    DRAWS,
    one_fit,
    per_target,
    published,
    splits,
    step_law_line,
    tenth,
    total,
)

BARS = (0.075, 0.09, 0.08, 0.10)
"""Mean regret in percent, in the order of `splits`."""

QUICK = Effort(bootstraps=0)


@pytest.mark.parametrize("place", range(len(BARS)))
def test_laws_from_smaller_models_meet_their_bars(shared: Path, place: int) -> None:
    assert one_fit(splits(shared)[place], None, [], QUICK).regret <= BARS[place]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(BARS)))
def test_fits_for_a_target_meet_the_same_bars(shared: Path, place: int) -> None:
    assert per_target(splits(shared)[place], None, [], QUICK).regret <= BARS[place]


def test_a_tenth_of_the_runs_meets_its_bar(shared: Path) -> None:
    cases = [tenth(shared, seed) for seed in range(DRAWS)]
    assert total([one_fit(case, None, [], QUICK) for case in cases]).regret <= 0.08


@pytest.mark.parametrize("place", range(len(BARS)))
def test_the_default_prior_does_no_harm(shared: Path, place: int) -> None:
    split = splits(shared)[place]
    none = one_fit(split, None, [], QUICK).regret
    assert one_fit(split, step_law_line(), [], Effort(bootstraps=50)).regret <= none + 0.01


def test_the_published_law_scores_what_the_issue_says(shared: Path) -> None:
    scores = [published(split).regret for split in splits(shared)]
    assert scores == pytest.approx([0.076, 0.076, 0.069, 0.069], abs=5e-4)


@pytest.mark.slow
def test_intervals_hold_the_measured_optimum_of_larger_models(shared: Path) -> None:
    optima = measured_optima(columns(read_table(shared)))
    cases = splits(shared) + [tenth(shared, seed) for seed in range(DRAWS)]
    score = total([per_target(case, None, optima, Effort(bootstraps=50)) for case in cases])
    assert 0.7 <= score.held / score.asked <= 0.9
