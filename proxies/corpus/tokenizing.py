"""Text to tokens: bytes, or byte-level BPE trained on the corpus itself.

Text is a file of UTF-8 in which a null character ends each document. As bytes that file already
is the tokens; a BPE has token 0 for the null character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BYTES = "bytes"
"""Name of the tokenizer whose tokens are the bytes of UTF-8."""

BPE = "bpe:"
"""What the name of a BPE begins with; its vocabulary size follows."""

SMALLEST_BPE = 257
"""Tokens that a byte-level BPE starts from: each byte, and the end of a text."""

LARGEST_BPE = 1_000_000
"""Largest vocabulary that is taken for what somebody meant."""

LEARN_CHARACTERS = 64 * 2**20
"""A BPE is trained on at most this much of the training text, from its start."""

CHUNK = 2**20
"""Characters of text tokenized at a time; cut at the end of a line or document where it has one."""


def read_vocab_size(tokenizer: str) -> int:
    """Vocabulary of a tokenizer by its name, `bytes` or `bpe:SIZE`.

    Raises:
        InputError: no such tokenizer, or a size that no BPE can have.
    """
    if tokenizer == BYTES:
        return 256
    size = tokenizer.removeprefix(BPE)
    if size == tokenizer or not (size.isascii() and size.isdigit()):
        raise InputError(f"tokenizer {tokenizer}: no such tokenizer; write bytes or bpe:SIZE")
    if not SMALLEST_BPE <= int(size) <= LARGEST_BPE:
        raise InputError(
            f"tokenizer {tokenizer}: {size} is not a size; "
            f"write one of {SMALLEST_BPE} to {LARGEST_BPE}"
        )
    return int(size)


def token_type(vocab_size: int) -> str:
    """The smallest type that holds every token, as numpy writes it, little end first."""
    return "|u1" if vocab_size <= 2**8 else "<u2" if vocab_size <= 2**16 else "<u4"


def train_bpe(text: Path, vocab_size: int, target: Path) -> Any:
    """A byte-level BPE of a text file, also written to `target`; the same for the same text.

    Raises:
        InputError: `tokenizers` is not installed, or the text has too few pairs to merge.
    """
    name = f"tokenizer {BPE}{vocab_size}"
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise InputError(
            f"{name}: needs the package tokenizers; pip install tokenizers, or use bytes"
        ) from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["\0"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    chunks = read_chunks(text, most=LEARN_CHARACTERS)
    tokenizer.train_from_iterator((chunk.split("\0") for chunk in chunks), trainer=trainer)
    found = tokenizer.get_vocab_size()
    if found < vocab_size:
        raise InputError(f"{name}: the text has only {found} distinct pieces; ask for no more")
    tokenizer.save(str(target))
    return tokenizer


def write_tokens(tokenizer: Any, text: Path, target: Path) -> None:
    """The tokens of a text file, as a file of `token_type`."""
    kind = token_type(tokenizer.get_vocab_size())
    with target.open("wb") as file:
        for chunk in read_chunks(text):
            # Several documents at once, so that all cores work.
            for encoding in tokenizer.encode_batch_fast(split_documents(chunk)):
                file.write(np.array(encoding.ids, dtype=kind).tobytes())


def split_documents(text: str) -> list[str]:
    r"""The documents of a text, each with the null character that ends it.

    Example:
        >>> split_documents("one\0two\0thr")
        ['one\x00', 'two\x00', 'thr']
    """
    *whole, rest = text.split("\0")
    return [f"{document}\0" for document in whole] + [rest] * bool(rest)


def read_chunks(path: Path, *, most: float = float("inf")) -> Iterator[str]:
    """A text file in pieces of about `CHUNK`, together about its first `most` characters."""
    taken, rest = 0, ""
    with path.open(encoding="utf-8", newline="") as file:
        while taken < most and (block := file.read(CHUNK)):
            taken += len(block)
            text = rest + block
            cut = max(text.rfind("\n"), text.rfind("\0")) + 1 or len(text)
            yield text[:cut]
            rest = text[cut:]
    if rest:
        yield rest
