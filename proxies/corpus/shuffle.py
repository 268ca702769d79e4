"""Numbers that look random and are computed from their place: shuffles without memory.

A window's place in an epoch, and a synthetic token's value, are functions of a key and a number,
so that any part of either can be had at once: resuming a run is reading at another place.

Sources: Steele, Lea and Flood 2014 (SplitMix, OOPSLA), the mixing function; Black and Rogaway
2002 (CT-RSA), a permutation of any size by a generalised Feistel network that walks its cycles.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""Odd step between the states of SplitMix64: 2^64 over the golden ratio."""

ROUNDS = 3
"""Turns of rows and of columns. *Assumed*: the tests of shuffles find no trace of the order."""

STRIDE = np.uint64(2 * ROUNDS)
"""Keeps the words of one turn apart from those of the others."""


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
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    found = _permute(places.astype(np.uint64), rows, columns, key)
    # The table has up to one row too many: who lands there goes on until inside.
    while (outside := found >= np.uint64(count)).any():
        found[outside] = _permute(found[outside], rows, columns, key)
    return found.astype(np.int64)


def _permute(cells: Words, rows: int, columns: int, key: np.uint64) -> Words:
    """A permutation of the cells of a table: rows turn by column, then columns by row."""
    high, wide = np.uint64(rows), np.uint64(columns)
    row, column = np.divmod(cells, wide)
    for number in range(ROUNDS):
        row = (row + mix(column * STRIDE + np.uint64(2 * number) ^ key) % high) % high
        column = (column + mix(row * STRIDE + np.uint64(2 * number + 1) ^ key) % wide) % wide
    return row * wide + column
