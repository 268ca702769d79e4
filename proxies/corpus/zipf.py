"""A synthetic language of known entropy that never runs out.

Each token is a draw of a rank r with chance proportional to (r + 1)^-exponent. An even rank is
the token itself, whatever came before. An odd rank is looked up in one of `states` shuffles of
the odd tokens, chosen by the token before. So after any token the chances are the same numbers in
another order, and the entropy rate is exactly the entropy of the ranks; a model that ignores the
token before pays more.

The token at a place depends on the places before it only back to the last even rank, so it is
computed there: no file, no state, any place at once, the same for the same seed.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fitting.errors import InputError
from proxies.corpus.corpus import Corpus, read_options
from proxies.corpus.shuffle import GAMMA, make_key, mix

SLOTS = 2**20
"""Chances are whole multiples of 1 / SLOTS, so that a draw is one look-up and its entropy exact."""

SLOT_SHIFT = np.uint64(64 - 20)
"""Leaves as many bits of a word as count the slots."""

TRAIN_TOKENS = 2**48
"""Training tokens: a run of 10^14 tokens repeats none."""

HELD_OUT_TOKENS = 2**18
"""Held-out tokens, from beyond the training tokens."""

MAX_TABLE = 2**26
"""Most entries of the shuffles, states times half the vocabulary: 128 MB."""

OPTIONS = {"vocab": "512", "exponent": "1", "states": "64", "seed": "0"}
"""Options and their defaults."""

LEAD = 32
"""Places read ahead of a window to find an even rank; doubled where there is none."""


@dataclass(frozen=True, slots=True)
class ZipfStream:
    """Tokens of the synthetic language, computed where they are read."""

    key: np.uint64
    """What the draws depend on beside their place."""
    slots: npt.NDArray[np.uint16]
    """Rank of each of `SLOTS` equally likely draws, shape (SLOTS,)."""
    odd_tokens: npt.NDArray[np.uint16]
    """Token of each odd rank in each state, shape (states, vocab // 2)."""
    size: int = TRAIN_TOKENS
    """Tokens to train on; places beyond are held out."""

    def read(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """`length` tokens from each of `starts`, shape (starts, length)."""
        lead = LEAD
        while True:
            ranks = self._draw_ranks(starts - lead, lead + length)
            if (ranks[:, :lead] % 2 == 0).any(axis=1).all():
                return self._look_up(ranks)[:, lead:].astype(np.int64)
            lead *= 2

    def _draw_ranks(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.uint16]:
        places = starts[:, None] + np.arange(length)
        # A place below 0 wraps to the far end of 64 bits, which is a place like any other.
        words = mix((places.astype(np.uint64) + self.key) ^ GAMMA)
        ranks: npt.NDArray[np.uint16] = self.slots[words >> SLOT_SHIFT]
        return ranks

    def _look_up(self, ranks: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Tokens of ranks; in each row those before the first even rank are not to be used."""
        tokens = ranks.ravel().copy()
        known = ranks % 2 == 0
        known[:, 0] = True
        done = known.ravel()
        pending = np.flatnonzero(~done)
        states = len(self.odd_tokens)
        while pending.size:
            ready = done[pending - 1]
            now = pending[ready]
            tokens[now] = self.odd_tokens[tokens[now - 1] % states, tokens[now] // 2]
            done[now] = True
            pending = pending[~ready]
        return tokens.reshape(ranks.shape)


def open_zipf(where: str) -> Corpus:
    """The synthetic corpus of some options.

    Args:
        where: `vocab=512,exponent=1,states=64,seed=0`, each with the default shown.

    Raises:
        InputError: an option is unknown or out of range.
    """
    source = f"corpus zipf:{where}"
    options = read_options(where, OPTIONS, where=source)
    vocab = _whole(options, "vocab", (2, 65_536), source)
    states = _whole(options, "states", (1, vocab), source)
    seed = _whole(options, "seed", (0, 2**32 - 1), source)
    try:
        exponent = float(options["exponent"])
    except ValueError:
        exponent = math.nan
    if not 0 <= exponent <= 8:
        raise InputError(f"{source}: exponent is {options['exponent']}; write one of 0 to 8")
    if states * (vocab // 2) > MAX_TABLE:
        raise InputError(f"{source}: {states} states of {vocab} tokens are too many; lower either")
    counts = share_slots(vocab, exponent)
    slots = np.repeat(np.arange(vocab, dtype=np.uint16), counts)
    stream = ZipfStream(make_key(seed), slots, _shuffle_odd(vocab, states, seed))
    held_out = stream.read(np.array([TRAIN_TOKENS]), HELD_OUT_TOKENS)[0].astype(np.uint16)
    name = f"zipf:vocab={vocab},exponent={exponent:g},states={states},seed={seed}"
    digest = hashlib.sha256(name.encode() + held_out.astype("<u2").tobytes())
    chances = counts[counts > 0] / SLOTS
    return Corpus(
        name=name,
        description="synthetic Zipf-Markov tokens",
        tokenizer="none",
        vocab_size=vocab,
        train=stream,
        held_out=held_out,
        bytes_per_token=None,
        fingerprint=digest.hexdigest(),
        entropy=float(-(chances * np.log(chances)).sum()),
    )


def share_slots(vocab: int, exponent: float) -> npt.NDArray[np.int64]:
    """Slots of each rank: `SLOTS` shared in proportion to (rank + 1)^-exponent.

    Largest remainders round up. A rank whose share is far below one slot may get none.
    """
    weights = np.arange(1, vocab + 1, dtype=np.float64) ** -exponent
    exact = weights / weights.sum() * SLOTS
    counts: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")[: SLOTS - int(counts.sum())]
    counts[largest] += 1
    return counts


def _shuffle_odd(vocab: int, states: int, seed: int) -> npt.NDArray[np.uint16]:
    """A shuffle of the odd tokens for each state."""
    count = vocab // 2
    draws = np.arange(states * count, dtype=np.uint64).reshape(states, count)
    order = np.argsort(mix(draws + make_key(seed, 1)), axis=1)
    return (order * 2 + 1).astype(np.uint16)


def _whole(options: dict[str, str], name: str, bounds: tuple[int, int], where: str) -> int:
    low, high = bounds
    text = options[name]
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise InputError(f"{where}: {name} is {text}; write a whole number of {low} to {high}")
    return int(text)
