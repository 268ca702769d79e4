"""Decays that branch off one stable run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fitting.errors import InputError
from proxies.run.batching import Batching, count_steps
from proxies.run.result import CurvePoint, RunResult
from proxies.run.schedule import make_schedule
from proxies.run.spec import RunSpec
from proxies.train.branches import branch_specs, train_branches
from proxies.train.loop import train_run
from tests.fixtures.tiny_run import SEQ_LEN, tiny_corpus, tiny_spec, varied

STEP_TOKENS = 8 * SEQ_LEN
BUDGETS = [40 * STEP_TOKENS, 15 * STEP_TOKENS, 25 * STEP_TOKENS + 100]


def same(one: RunResult, other: RunResult) -> bool:
    """Whether two runs have the same numbers, but for their seconds."""
    return replace(one, seconds=0.0) == replace(other, seconds=0.0)


def note_steps(steps: list[int]) -> Callable[[CurvePoint], bool]:
    """What appends each update's number to `steps`."""

    def note(point: CurvePoint) -> bool:
        steps.append(point.step)
        return True

    return note


def make_wsd(batching: Batching) -> RunSpec:
    """A WSD run of the largest budget with `batching`."""
    spec, tokens = tiny_spec(), max(BUDGETS)
    steps = count_steps(batching, tokens=tokens, seq_len=SEQ_LEN)
    wsd = make_schedule("wsd", steps=steps, warmup_steps=3)
    return replace(spec, batching=batching, tokens=tokens, schedule=wsd)


@pytest.mark.parametrize(
    "batching",
    [
        Batching(sequences=8),
        Batching(kind="ramp", sequences=4, max_sequences=12, ramp_tokens=2000),
    ],
    ids=["fixed", "ramp"],
)
def test_each_branch_is_the_run_from_scratch(batching: Batching) -> None:
    spec, corpus = make_wsd(batching), tiny_corpus()
    results = train_branches(spec, corpus, BUDGETS)
    assert [result.spec.tokens for result in results] == sorted(BUDGETS)
    for result in results:
        assert result.spec.schedule.warmup_steps == 3
        assert same(result, train_run(result.spec, corpus))


def test_branches_go_on_where_they_stopped(tmp_path: Path) -> None:
    spec, corpus = make_wsd(Batching(sequences=8)), tiny_corpus()
    unbroken = train_branches(spec, corpus, BUDGETS)
    told: list[int] = []

    def stop_at_30th(point: CurvePoint) -> bool:
        told.append(point.step)
        if len(told) == 30:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        train_branches(spec, corpus, BUDGETS, directory=tmp_path, on_step=stop_at_30th)
    steps: list[int] = []
    resumed = train_branches(
        spec,
        corpus,
        BUDGETS,
        directory=tmp_path,
        on_step=note_steps(steps),
    )
    assert all(map(same, resumed, unbroken))
    assert 1 not in steps


def test_a_larger_budget_goes_on_from_the_trunk(tmp_path: Path) -> None:
    spec, corpus = make_wsd(Batching(sequences=8)), tiny_corpus()
    first, second, largest = sorted(BUDGETS)
    train_branches(spec, corpus, [first, second], directory=tmp_path)
    steps: list[int] = []
    more = train_branches(
        spec,
        corpus,
        [first, second, largest],
        directory=tmp_path,
        on_step=note_steps(steps),
    )
    assert all(map(same, more, train_branches(spec, corpus, BUDGETS)))
    # The trunk was at 21, where the decay of the second budget begins.
    assert steps == list(range(22, 41))


def test_a_lost_branch_behind_the_trunk_is_refused(tmp_path: Path) -> None:
    spec, corpus = make_wsd(Batching(sequences=8)), tiny_corpus()
    train_branches(spec, corpus, BUDGETS, directory=tmp_path)
    shutil.rmtree(tmp_path / f"tokens-{min(BUDGETS)}")
    with pytest.raises(InputError, match="its checkpoint is gone"):
        train_branches(spec, corpus, BUDGETS, directory=tmp_path)


def test_a_trunk_that_diverges_ends_every_longer_budget() -> None:
    spec = varied(make_wsd(Batching(sequences=8)), lr=1e4, grad_clip=None)
    results = train_branches(spec, tiny_corpus(), BUDGETS)
    assert [result.status for result in results] == ["diverged"] * 3
    assert len({result.tokens for result in results}) == 1


def test_branches_need_a_stable_phase_and_a_batch_known_ahead() -> None:
    spec = make_wsd(Batching(sequences=8))
    cosine = replace(spec, schedule=make_schedule("cosine", steps=spec.schedule.steps))
    with pytest.raises(InputError, match="cosine has no stable phase"):
        branch_specs(cosine, BUDGETS)
    grown = replace(spec, batching=Batching(kind="norm-test", sequences=8, max_sequences=16))
    with pytest.raises(InputError, match="use fixed or ramp"):
        branch_specs(grown, BUDGETS)
    with pytest.raises(InputError, match="name each once"):
        branch_specs(spec, [1000, 1000])
    with pytest.raises(InputError, match="warmup 3"):
        branch_specs(spec, [2 * STEP_TOKENS])
