"""Text on its way into a corpus: documents, where they come from, and which are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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


def is_held_out(document: Document, share: float) -> bool:
    """Whether a document is kept from training: a fixed draw of its key with chance `share`.

    Documents of one key fall on one side, so a copy of a held-out text is never trained on.
    """
    digest = hashlib.sha256(document.key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


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
