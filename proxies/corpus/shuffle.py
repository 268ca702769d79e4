"""Numbers that look random and are computed from their place: shuffles without memory.

A window's place in an epoch, and a synthetic token's value, are functions of a key and a number,
so that any part of either can be had at once: resuming a run is reading at another place.

Sources: Steele, Lea and Flood 2014 (SplitMix, OOPSLA), the mixing function; Black and Rogaway
2002 (CT-RSA), a permutation of any size by a Feistel network that walks its cycles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""Odd step between the states of SplitMix64: 2^64 over the golden ratio."""

ROUNDS = 6
"""Feistel rounds; four already hide the order of a shuffle from a statistical test."""


def mix(words: Words) -> Words:
    """One hashed 64-bit word for each word: the output function of SplitMix64."""
    mixed = words * GAMMA
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def make_key(*numbers: int) -> np.uint64:
    """One 64-bit key from several whole numbers, in this order."""
    key = np.zeros(1, np.uint64)
    for number in numbers:
        key = mix(key ^ np.uint64(number % 2**64)) + GAMMA
    return np.uint64(key[0])


def shuffled(places: npt.NDArray[np.int64], count: int, key: np.uint64) -> npt.NDArray[np.int64]:
    """What stands at `places` of a shuffle of 0 .. count - 1.

    Args:
        places: in [0, count), shape (n,).
        count: length of the shuffle, in [1, 2^62].
        key: which of the shuffles; see `make_key`.

    Returns:
        Shape (n,); over all places each number once.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    found = _encrypt(places.astype(np.uint64), half, key)
    # The network permutes a power of 4 up to 4 times too large: outsiders go on until inside.
    while (outside := found >= np.uint64(count)).any():
        found[outside] = _encrypt(found[outside], half, key)
    return found.astype(np.int64)


def _encrypt(words: Words, half: int, key: np.uint64) -> Words:
    """A permutation of the words of 2 `half` bits."""
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = words >> bits, words & mask
    for number in range(ROUNDS):
        scrambled = mix((right << np.uint64(3) | np.uint64(number)) ^ key)
        left, right = right, left ^ scrambled & mask
    return left << bits | right
