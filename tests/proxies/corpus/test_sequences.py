"""Packing: every token once per epoch, in an order that depends on seed and position only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.corpus import (
    Corpus,
    available_tokens,
    read_held_out,
    read_sequences,
    require_tokens,
    unique_tokens,
)
from proxies.corpus.shuffle import make_key, shuffled


def numbered(train: int, held_out: int = 40) -> Corpus:
    """A corpus whose tokens say where they stand."""
    return Corpus(
        name="numbered",
        description="",
        tokenizer="bytes",
        vocab_size=train,
        train=np.arange(train, dtype=np.uint32),
        held_out=np.arange(held_out, dtype=np.uint32),
        bytes_per_token=1.0,
        fingerprint="0" * 64,
    )


@given(train=st.integers(2, 400), seq_len=st.integers(1, 30), seed=st.integers(0, 2**40))
def test_an_epoch_has_every_window_once_and_every_token_once_as_target(
    train: int, seq_len: int, seed: int
) -> None:
    windows = (train - 1) // seq_len
    if not windows:
        return
    rows = read_sequences(numbered(train), seq_len=seq_len, order_seed=seed, start=0, count=windows)
    assert rows.shape == (windows, seq_len + 1)
    assert (np.diff(rows) == 1).all()
    assert sorted(rows[:, :-1].ravel()) == list(range(windows * seq_len))
    assert sorted(rows[:, 1:].ravel()) == list(range(1, windows * seq_len + 1))


@given(
    parts=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    seed=st.integers(0, 5),
    epochs=st.integers(1, 3),
)
def test_reading_in_any_parts_is_reading_at_once(parts: list[int], seed: int, epochs: int) -> None:
    corpus = numbered(200)
    whole = read_sequences(
        corpus, seq_len=7, order_seed=seed, start=0, count=28 * epochs, epochs=epochs
    )
    start = 0
    for count in parts:
        if start + count > len(whole):
            return
        rows = read_sequences(
            corpus, seq_len=7, order_seed=seed, start=start, count=count, epochs=epochs
        )
        np.testing.assert_array_equal(rows, whole[start : start + count])
        start += count


@given(count=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_a_shuffle_has_each_number_once(count: int, key: int) -> None:
    found = shuffled(np.arange(count, dtype=np.int64), count, make_key(key))
    np.testing.assert_array_equal(np.sort(found), np.arange(count))


def test_a_shuffle_is_the_same_on_every_machine_and_version() -> None:
    found = shuffled(np.arange(5, dtype=np.int64), 1000, make_key(7, 0))
    assert found.tolist() == [176, 917, 608, 152, 803]


def test_a_shuffle_sends_every_place_everywhere() -> None:
    places = np.arange(8, dtype=np.int64)
    found = np.array([shuffled(places, 8, make_key(seed)) for seed in range(2000)])
    hits = np.stack([np.bincount(found[:, place], minlength=8) for place in places])
    # 250 expected in each of 64 cells, standard deviation 15.
    assert abs(hits - 250).max() < 65


def test_a_shuffle_leaves_no_neighbours_together() -> None:
    found = shuffled(np.arange(100_000, dtype=np.int64), 100_000, make_key(3))
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.015
    assert np.mean(np.diff(found) == 1) < 1e-4


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    corpus = numbered(1001)
    orders = [
        read_sequences(corpus, seq_len=10, order_seed=seed, start=start, count=100, epochs=2)[:, 0]
        for seed, start in ((0, 0), (0, 100), (1, 0), (1, 100))
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_no_token_comes_twice_unless_asked_for() -> None:
    corpus = numbered(101)
    assert available_tokens(corpus, seq_len=10) == 100
    with pytest.raises(InputError, match=r"^corpus numbered: 110 tokens asked for, 100 in an ep"):
        read_sequences(corpus, seq_len=10, order_seed=0, start=9, count=2)
    with pytest.raises(InputError, match=r"or allow 3 epochs$"):
        require_tokens(corpus, tokens=201, seq_len=10, epochs=2)
    require_tokens(corpus, tokens=200, seq_len=10, epochs=2)


@pytest.mark.parametrize(("tokens", "distinct"), [(60, 60), (100, 100), (250, 100)])
def test_unique_tokens_stop_at_one_epoch(tokens: int, distinct: int) -> None:
    assert unique_tokens(numbered(105), tokens=tokens, seq_len=10) == distinct


def test_held_out_sequences_are_spread_and_always_the_same() -> None:
    corpus = numbered(50, held_out=101)
    rows = read_held_out(corpus, seq_len=10, count=5)
    assert rows[:, 0].tolist() == [0, 20, 40, 60, 80]
    assert read_held_out(corpus, seq_len=10, count=99).shape == (10, 11)


@pytest.mark.parametrize(
    ("seq_len", "message"),
    [
        (0, "seq_len: 0 is not at least 1"),
        (50, "50 training tokens are less than one sequence of 50"),
    ],
)
def test_a_sequence_that_cannot_be_had_is_refused(seq_len: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_sequences(numbered(50), seq_len=seq_len, order_seed=0, start=0, count=1)


def test_held_out_text_shorter_than_a_sequence_is_refused() -> None:
    with pytest.raises(InputError, match="40 held-out tokens are less than one sequence of 40"):
        read_held_out(numbered(50), seq_len=40, count=1)
