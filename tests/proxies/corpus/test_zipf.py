"""The synthetic corpus: its entropy is what it says, and any place can be read at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.corpus import Corpus, available_tokens, open_corpus, read_sequences
from proxies.corpus.zipf import SLOTS, TRAIN_TOKENS, share_slots


def read_run(corpus: Corpus, start: int, length: int) -> npt.NDArray[np.int64]:
    """Training tokens from one place on."""
    assert not isinstance(corpus.train, np.ndarray)
    run: npt.NDArray[np.int64] = corpus.train.read(np.array([start]), length)[0]
    return run


def conditional_entropy(tokens: npt.NDArray[np.int64], vocab: int, context: int) -> float:
    """Nats of a token given `context` tokens before it, from counts, corrected for their bias."""
    code = np.zeros(tokens.size - context, dtype=np.int64)
    for place in range(context):
        code = code * vocab + tokens[place : place - context]
    joint = np.unique(code * vocab + tokens[context:], return_counts=True)[1]
    before = np.unique(code, return_counts=True)[1]
    n = code.size
    entropy = [-(count / n * np.log(count / n)).sum() for count in (joint, before)]
    # Miller and Madow 1955: counts of k cells are short of the entropy by (k - 1) / 2n.
    return float(entropy[0] - entropy[1] + (joint.size - before.size) / (2 * n))


@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_counted_ngrams_have_the_stated_entropy(exponent: float, context: int) -> None:
    corpus = open_corpus(f"zipf:vocab=16,states=5,exponent={exponent}")
    tokens = read_run(corpus, 10**9, 1_000_000)
    assert corpus.entropy is not None
    # Standard error of a mean of 1e6 surprises of sd below 1.5 nats is 0.0015.
    assert conditional_entropy(tokens, 16, context) == pytest.approx(corpus.entropy, abs=0.005)
    if exponent > 0:
        assert conditional_entropy(tokens, 16, 0) > corpus.entropy + 0.01


def test_the_estimate_approaches_the_entropy_as_text_grows() -> None:
    corpus = open_corpus("zipf:vocab=64,states=64")
    assert corpus.entropy is not None
    errors = [
        abs(conditional_entropy(read_run(corpus, 0, n), 64, 1) - corpus.entropy)
        for n in (3_000, 30_000, 1_000_000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.005


@settings(max_examples=30)
@given(
    start=st.integers(0, TRAIN_TOKENS - 200),
    cut=st.integers(1, 99),
    seed=st.integers(0, 3),
    vocab=st.sampled_from([2, 3, 50]),
)
def test_a_place_has_the_same_token_however_it_is_read(
    start: int, cut: int, seed: int, vocab: int
) -> None:
    corpus = open_corpus(f"zipf:vocab={vocab},states=2,seed={seed}")
    whole = read_run(corpus, start, 100)
    np.testing.assert_array_equal(whole[cut:], read_run(corpus, start + cut, 100 - cut))


def test_seeds_have_languages_of_their_own() -> None:
    first, second = (open_corpus(f"zipf:seed={seed}") for seed in (1, 2))
    assert first.fingerprint != second.fingerprint
    assert np.mean(read_run(first, 0, 2000) == read_run(second, 0, 2000)) < 0.2
    assert first.entropy == second.entropy


def test_the_default_language_is_the_same_on_every_machine_and_version() -> None:
    corpus = open_corpus("zipf:")
    assert corpus.held_out[:12].tolist() == [2, 147, 99, 211, 4, 0, 164, 0, 89, 445, 2, 98]
    assert corpus.fingerprint.startswith("70a3d0e8ff1a")


def test_training_never_reaches_the_held_out_places() -> None:
    corpus = open_corpus("zipf:")
    after = read_run(corpus, TRAIN_TOKENS, 50)
    np.testing.assert_array_equal(after, corpus.held_out[:50])
    assert available_tokens(corpus, seq_len=1000) < TRAIN_TOKENS


def test_a_run_of_a_hundred_trillion_tokens_is_read_at_its_end() -> None:
    corpus = open_corpus("zipf:")
    rows = read_sequences(corpus, seq_len=100, order_seed=0, start=10**12, count=4)
    assert rows.shape == (4, 101)
    with pytest.raises(InputError, match="tokens asked for"):
        read_sequences(corpus, seq_len=100, order_seed=0, start=10**13, count=4)


@given(vocab=st.integers(2, 5000), exponent=st.floats(0, 8))
def test_slots_are_shared_out_in_order_of_rank(vocab: int, exponent: float) -> None:
    counts = share_slots(vocab, exponent)
    assert counts.sum() == SLOTS
    assert counts.min() >= 0
    assert (np.diff(counts) <= (1 if math.isclose(exponent, 0, abs_tol=1e-3) else 0)).all()


@pytest.mark.parametrize(
    "option", ["vocab=1", "vocab=70000", "states=0", "states=513", "exponent=nan", "seed=-1"]
)
def test_an_option_out_of_range_is_refused(option: str) -> None:
    name = option.partition("=")[0]
    with pytest.raises(InputError, match=rf"^corpus zipf:{option}: {name} is .*; write"):
        open_corpus(f"zipf:{option}")
