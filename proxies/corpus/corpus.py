"""A corpus that is open: its tokens, and what a run records of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

StoredTokens = npt.NDArray[np.unsignedinteger[Any]]
"""Tokens in memory or in a mapped file, one dimension."""


class TokenStream(Protocol):
    """Tokens that are computed where they are read."""

    @property
    def size(self) -> int:
        """Tokens in it."""

    def read(self, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """`length` tokens from each of `starts`, shape (starts, length)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Tokens to train on, tokens held out, and where they come from."""

    name: str
    """Short name for tables and messages."""
    description: str
    """What the text is, with the version that matters."""
    tokenizer: str
    """`bytes`, `bpe:SIZE`, or `none` where tokens are made, not read from text."""
    vocab_size: int
    """Tokens are in [0, vocab_size)."""
    train: StoredTokens | TokenStream
    """Tokens to train on; `train.size` counts them."""
    held_out: StoredTokens
    """Tokens that are never trained on."""
    bytes_per_token: float | None
    """UTF-8 bytes of held-out text for each of its tokens, ends of text counted as one byte; None
    where there is no text. Bits per byte = nats per token / (ln 2 * bytes_per_token)."""
    fingerprint: str
    """sha256 of tokens and tokenizer, 64 hex digits: same fingerprint, same losses."""
    entropy: float | None = None
    """Lowest loss that any model can reach, nats per token; None where nobody knows."""

    @property
    def label(self) -> str:
        """What the column `corpus` of a runs table says; laws pool no two of them."""
        return f"{self.name}@{self.fingerprint[:12]}"
