from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.schedule.batches import steps_at, steps_of_run, tokens_at

BATCHES = st.lists(st.integers(1, 10**7), min_size=1, max_size=60)


@given(batches=BATCHES)
def test_whole_steps_convert_exactly_both_ways(batches: list[int]) -> None:
    for step in range(len(batches) + 1):
        assert tokens_at(step, batches) == sum(batches[:step])
        assert steps_at(sum(batches[:step]), batches) == step


@given(batches=BATCHES, share=st.floats(0, 1))
def test_between_steps_the_two_are_each_others_inverse(batches: list[int], share: float) -> None:
    s = share * len(batches)
    assert steps_at(tokens_at(s, batches), batches) == pytest.approx(s, abs=1e-9)


@given(batches=BATCHES, share=st.floats(0, 1))
def test_a_run_has_the_fewest_steps_that_train_its_tokens(batches: list[int], share: float) -> None:
    tokens = share * sum(batches)
    steps = steps_of_run(tokens, batches)
    assert sum(batches[:steps]) >= tokens
    assert steps == 0 or sum(batches[: steps - 1]) < tokens


def test_what_is_not_in_the_batch_schedule_is_refused() -> None:
    for s in (-1, 3.5, math.nan):
        with pytest.raises(InputError, match=r"outside 0\.\.3 of the batch schedule"):
            tokens_at(s, [10, 10, 10])
    for tokens in (-1, 31, math.nan):
        with pytest.raises(InputError, match=r"outside 0\.\.30 of the batch schedule"):
            steps_at(tokens, [10, 10, 10])
    with pytest.raises(InputError, match="batch of update 2: 0 tokens; at least 1"):
        tokens_at(1, [10, 0])
    with pytest.raises(InputError, match="has no updates"):
        steps_at(0, [])
