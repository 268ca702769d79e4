"""Batch schedules: counting, growth, the lr that follows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.batching import (
    KINDS,
    Batching,
    BatchState,
    count_sequences,
    count_steps,
    count_tokens,
    lr_factor,
    next_sequences,
    observe,
)
from proxies.run.gradient_noise import GradientNorms


def norms_of(*, trace: float, grad_sq: float, small: int, big: int) -> GradientNorms:
    """What gradients of this noise and signal measure on average."""
    return GradientNorms(
        small_sequences=small,
        big_sequences=big,
        small_norm_sq=grad_sq + trace / small,
        big_norm_sq=grad_sq + trace / big,
    )


def make_batching(kind: str, **options: Any) -> Batching:
    """A batch schedule from 4 to 64 sequences."""
    if kind == "ramp":
        options = {"ramp_tokens": 1000} | options
    if kind != "fixed":
        options = {"max_sequences": 64} | options
    return Batching(kind=kind, sequences=4, **options)


@given(
    kind=st.sampled_from(["fixed", "ramp"]),
    tokens=st.integers(1, 20_000),
    seq_len=st.integers(1, 64),
    multiple=st.sampled_from([1, 4, 16]),
)
def test_a_run_takes_its_tokens_in_the_steps_that_were_counted(
    kind: str, tokens: int, seq_len: int, multiple: int
) -> None:
    batching = make_batching(kind, multiple=multiple)
    steps = count_steps(batching, tokens=tokens, seq_len=seq_len)
    whole = count_tokens(batching, steps=steps, seq_len=seq_len)
    before = count_tokens(batching, steps=steps - 1, seq_len=seq_len)
    assert before < count_sequences(tokens, seq_len=seq_len) * seq_len <= whole


def test_a_ramp_rises_linearly_in_tokens_and_stays() -> None:
    ramp = make_batching("ramp", ramp_tokens=6000)
    seen = range(0, 12_001, 1000)
    assert [next_sequences(ramp, BatchState(4), tokens_seen=t) for t in seen] == [
        4, 14, 24, 34, 44, 54, 64, 64, 64, 64, 64, 64, 64,
    ]  # fmt: skip


def test_an_adaptive_run_has_no_steps_ahead() -> None:
    with pytest.raises(InputError, match="its lr follows the tokens"):
        count_steps(make_batching("noise-scale"), tokens=100, seq_len=1)


@pytest.mark.parametrize("kind", ["norm-test", "adadagrad"])
def test_the_norm_test_asks_for_the_variance_over_theta_squared_of_the_norm(kind: str) -> None:
    batching = make_batching(kind, theta=0.5)
    norms = norms_of(trace=10.0, grad_sq=5.0, small=2, big=4)
    state = observe(batching, BatchState(4), norms)
    # ceil(10 / (0.25 (5 + 10 / 4))) = ceil(5.33)
    assert state.sequences == 6


def test_the_norm_test_never_shrinks() -> None:
    norms = norms_of(trace=0.001, grad_sq=5.0, small=2, big=30)
    assert observe(make_batching("norm-test"), BatchState(30), norms).sequences == 30


def test_the_noise_scale_rule_follows_its_fraction_up_and_down() -> None:
    batching = make_batching("noise-scale", noise_fraction=0.5, ema_decay=0.0)
    up = observe(batching, BatchState(30), norms_of(trace=400, grad_sq=5.0, small=2, big=30))
    assert up.sequences == 40
    down = observe(batching, up, norms_of(trace=100, grad_sq=5.0, small=2, big=40))
    assert down.sequences == 10


@pytest.mark.parametrize("kind", ["norm-test", "adadagrad", "noise-scale"])
@given(
    trace=st.floats(-10, 1e9),
    grad_sq=st.floats(0, 1e9),
    now=st.integers(4, 64),
    multiple=st.sampled_from([1, 3, 8]),
)
def test_an_adaptive_batch_stays_in_its_bounds_and_at_most_doubles(
    kind: str, trace: float, grad_sq: float, now: int, multiple: int
) -> None:
    batching = make_batching(kind, multiple=multiple)
    norms = GradientNorms(
        small_sequences=now / 2,
        big_sequences=now,
        small_norm_sq=max(0.0, grad_sq + trace),
        big_norm_sq=grad_sq,
    )
    after = observe(batching, BatchState(now), norms).sequences
    assert 4 <= after <= min(64, 2 * now + multiple - 1)


def test_a_batch_without_a_signal_stays() -> None:
    norms = GradientNorms(small_sequences=2, big_sequences=8, small_norm_sq=8, big_norm_sq=1)
    assert observe(make_batching("noise-scale"), BatchState(8), norms).sequences == 8


@pytest.mark.parametrize(("rule", "factor"), [("sqrt", 2.0), ("linear", 4.0), ("none", 1.0)])
def test_the_lr_follows_the_batch_by_rule(rule: str, factor: float) -> None:
    batching = make_batching("ramp", lr_rule=rule)
    assert lr_factor(batching, 16) == factor
    assert lr_factor(batching, 4) == 1.0
    assert lr_factor(make_batching("ramp", lr_rule=rule, lr_sequences=16), 16) == 1.0


def test_a_fixed_batch_keeps_its_lr_in_a_short_last_update() -> None:
    assert lr_factor(make_batching("fixed"), 1) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "noise"}, "nearest is 'noise-scale'"),
        ({"sequences": 0}, "both at least 1"),
        ({"max_sequences": 8}, "it never grows; use ramp"),
        ({"kind": "norm-test"}, "largest batch None for a first one of 4 sequences"),
        ({"kind": "norm-test", "max_sequences": 2}, "largest batch 2"),
        ({"kind": "ramp", "max_sequences": 8}, "ramp tokens None"),
        ({"kind": "norm-test", "max_sequences": 8, "theta": 1.0}, "theta 1.0"),
        ({"ema_decay": 1.0}, "ema decay 1.0"),
        ({"lr_rule": "square"}, "known: sqrt, linear, none"),
        ({"kind": "noise-scale", "max_sequences": 8, "noise_fraction": 0.0}, "noise fraction"),
    ],
)
def test_a_batch_that_no_run_can_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Batching(**({"sequences": 4} | options))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_starts_at_its_first_batch(kind: str) -> None:
    assert next_sequences(make_batching(kind), BatchState(4), tokens_seen=0) == 4
