"""The choice between an ensemble and runs one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fitting.errors import InputError
from proxies.run.parametrization import OPTIMIZERS
from proxies.sweep.executors.timing import WORTH, EnsembleTiming, time_ensemble
from tests.fixtures.tiny_run import tiny_corpus, tiny_spec, varied


def test_both_ways_are_timed_even_where_the_run_is_shorter_than_the_timing() -> None:
    specs = [varied(tiny_spec(steps=2), seed=seed) for seed in range(3)]
    timing = time_ensemble(specs, tiny_corpus())
    assert 0 < timing.together < 10
    assert 0 < timing.one_by_one < 10


def test_trials_go_together_only_where_that_is_faster_by_more_than_noise() -> None:
    assert EnsembleTiming(together=1.0, one_by_one=WORTH).faster_together
    assert not EnsembleTiming(together=1.0, one_by_one=1.01).faster_together
    assert not EnsembleTiming(together=2.0, one_by_one=1.0).faster_together


def test_runs_that_cannot_be_stacked_are_refused_before_anything_is_timed() -> None:
    with pytest.raises(InputError, match="optimizer lion is not stacked"):
        time_ensemble([replace(tiny_spec(), optimizer=OPTIMIZERS["lion"])], tiny_corpus())
