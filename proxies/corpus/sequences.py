"""Tokens to sequences: what a run reads, in an order that is a function of seed and position.

An epoch has windows of seq_len + 1 tokens, one every seq_len: as inputs and as targets each token
comes once. Their order is a shuffle by seed, another one in each epoch. Position p of a run is
place p mod windows of epoch p div windows, so a run may be read from anywhere: a resumed run, a
branch and a run with another batch schedule see the same sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fitting.errors import InputError
from proxies.corpus.shuffle import make_key, shuffled

if TYPE_CHECKING:
    from proxies.corpus.corpus import Corpus, StoredTokens, TokenStream


def read_sequences(
    corpus: Corpus, *, seq_len: int, order_seed: int, start: int, count: int, epochs: int = 1
) -> npt.NDArray[np.int64]:
    """Training sequences `start` .. `start + count` of a run, shape (count, seq_len + 1).

    Args:
        corpus: where to read.
        seq_len: tokens a sequence trains on, at least 1; a row has one more, its last target.
        order_seed: which order of the windows.
        start: sequences that the run has read before, 0 or more.
        count: sequences to read, 0 or more.
        epochs: how often each window may come; 1 for never again.

    Raises:
        InputError: the run asks for more than `epochs` epochs have.
    """
    windows = count_windows(corpus, seq_len)
    if start < 0 or count < 0:
        raise InputError(f"corpus {corpus.name}: no sequences at {start} + {count}; count from 0")
    require_tokens(corpus, tokens=(start + count) * seq_len, seq_len=seq_len, epochs=epochs)
    places = np.arange(start, start + count, dtype=np.int64)
    epoch_of, place_of = np.divmod(places, windows)
    chosen = np.empty_like(places)
    for epoch in np.unique(epoch_of):
        now = epoch_of == epoch
        chosen[now] = shuffled(place_of[now], windows, make_key(order_seed, int(epoch)))
    return _gather(corpus.train, chosen * seq_len, seq_len + 1)


def read_held_out(corpus: Corpus, *, seq_len: int, count: int) -> npt.NDArray[np.int64]:
    """Held-out sequences, spread evenly over the held-out text, shape (at most count, seq_len + 1).

    The same ones at every call; all there are where `count` is more.

    Raises:
        InputError: the held-out text is shorter than one sequence.
    """
    windows = (corpus.held_out.size - 1) // _checked(seq_len)
    if windows < 1:
        raise InputError(
            f"corpus {corpus.name}: {corpus.held_out.size} held-out tokens are less than one "
            f"sequence of {seq_len} + 1; give more text or a larger held-out share"
        )
    taken = min(count, windows)
    chosen = np.arange(taken, dtype=np.int64) * windows // max(taken, 1)
    return _gather(corpus.held_out, chosen * seq_len, seq_len + 1)


def count_windows(corpus: Corpus, seq_len: int) -> int:
    """Training sequences of one epoch.

    Raises:
        InputError: there is less than one.
    """
    windows = (corpus.train.size - 1) // _checked(seq_len)
    if windows < 1:
        raise InputError(
            f"corpus {corpus.name}: {corpus.train.size} training tokens are less than one "
            f"sequence of {seq_len} + 1"
        )
    return windows


def available_tokens(corpus: Corpus, *, seq_len: int) -> int:
    """Training tokens that no run has to see twice: whole sequences only."""
    return count_windows(corpus, seq_len) * seq_len


def require_tokens(corpus: Corpus, *, tokens: int, seq_len: int, epochs: int = 1) -> None:
    """Refuses a run that would see a token more often than it asked for.

    Raises:
        InputError: `tokens` are more than `epochs` epochs have.
    """
    if epochs < 1:
        raise InputError(f"epochs: {epochs} is not at least 1")
    once = available_tokens(corpus, seq_len=seq_len)
    if tokens > once * epochs:
        needed = -(-tokens // once)
        raise InputError(
            f"corpus {corpus.name}: {tokens:,} tokens asked for, "
            f"{once:,} in an epoch of {corpus.tokenizer} in sequences of {seq_len}; "
            f"ask for fewer, take a larger corpus or allow {needed} epochs"
        )


def unique_tokens(corpus: Corpus, *, tokens: int, seq_len: int) -> int:
    """Distinct ones among the first `tokens` that a run trains on."""
    return min(tokens, available_tokens(corpus, seq_len=seq_len))


def _checked(seq_len: int) -> int:
    if seq_len < 1:
        raise InputError(f"seq_len: {seq_len} is not at least 1")
    return seq_len


def _gather(
    tokens: StoredTokens | TokenStream, starts: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.int64]:
    """`length` tokens from each of `starts`."""
    if isinstance(tokens, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(tokens, length)[starts].astype(np.int64)
    return tokens.read(starts, length)
