"""What a corpus is: documents and where they come from, then its tokens when it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fitting.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

StoredTokens = npt.NDArray[np.unsignedinteger[Any]]
"""Tokens in memory or in a mapped file, one dimension."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is read as a whole, or a piece of one."""

    text: str
    """What it says; a null character in it ends the document there."""
    key: str
    """What decides whether it is held out: the whole text, or what stands for it."""
    ends: bool = True
    """Whether the text is complete: a null character then follows, the end-of-text token."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """Where text comes from: what every reader of this package returns."""

    name: str
    """Short name for messages, tables and the cache folder."""
    description: str
    """What the text is, with the version that matters."""
    identity: str
    """Changes whenever the text may have: sizes and times of files, options of a stream."""
    documents: Callable[[], Iterator[Document]]
    """All documents, in the same order at each call."""


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


def read_options(text: str, defaults: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Options written as `name=value,name=value`, over their defaults.

    Raises:
        InputError: an option is unknown or has no value.
    """
    options = dict(defaults)
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        if name not in options:
            known = ", ".join(defaults)
            near = nearest_name(name, options) or f"; known are {known}"
            raise InputError(f"{where}: '{name}' is not an option{near}")
        if not value:
            raise InputError(f"{where}: option '{name}' has no value; write {name}=VALUE")
        options[name] = value
    return options
