"""From the name of a corpus to its tokens: read, split, tokenized, cached."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitting.errors import InputError, nearest_name
from proxies.corpus.cache import Record, default_cache, find_or_build
from proxies.corpus.corpus import Corpus, Document, StoredTokens, TextSource
from proxies.corpus.files import read_files
from proxies.corpus.hub import read_hub
from proxies.corpus.python_text import read_python
from proxies.corpus.tokenizing import BYTES, read_vocab_size, token_type, train_bpe, write_tokens
from proxies.corpus.zipf import open_zipf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT = 1
"""Version of the cache; a change of cleaning, splitting or tokenizing raises it."""

HELD_OUT = 0.05
"""Share of the documents that is held out unless another is asked for. *Assumed.*"""

PARTS = ("train", "held_out")
"""What a corpus is split into, by the names of their files."""


def open_corpus(
    source: str,
    *,
    tokenizer: str = BYTES,
    cache: Path | None = None,
    held_out_share: float = HELD_OUT,
    progress: Callable[[str], None] = lambda message: None,
) -> Corpus:
    """The tokens of a corpus, from the cache or made now.

    Args:
        source: `python`; a file or folder; `hf:NAME`; `zipf:OPTIONS`. A folder that is called
            python is `./python`.
        tokenizer: `bytes`, or `bpe:SIZE` for a BPE trained on the training text. A synthetic
            corpus has its own tokens.
        cache: folder of the cache; None for the user's own.
        held_out_share: chance of a document to be held out, in (0, 1).
        progress: called with what is being done, where the tokens must be made.

    Raises:
        InputError: there is no such text, it cannot be read, or too little of it.
    """
    vocab_size = read_vocab_size(tokenizer)
    if not 0 < held_out_share < 1:
        raise InputError(f"held-out share: {held_out_share:g} is not between 0 and 1")
    kind, _, rest = source.partition(":")
    if kind == "zipf":
        if tokenizer != BYTES:
            raise InputError(f"corpus {source}: has its own tokens; leave out {tokenizer}")
        return open_zipf(rest)
    text = READERS[kind](rest) if kind in READERS else _read_path(source)
    inputs = [FORMAT, text.name, text.identity, tokenizer, held_out_share]
    key = hashlib.sha256(json.dumps(inputs).encode("utf-8", "surrogatepass")).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9._-]", "_", f"{text.name}-{tokenizer}")[:80]
    folder, record = find_or_build(
        cache or default_cache(),
        f"{slug}-{key[:16]}",
        key,
        lambda empty: _build(text, tokenizer, held_out_share, empty, progress),
    )
    train, held_out = (_map_tokens(folder / f"{part}.bin", vocab_size) for part in PARTS)
    return Corpus(
        name=text.name,
        description=record["description"],
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        train=train,
        held_out=held_out,
        bytes_per_token=record["held_out_bytes"] / held_out.size,
        fingerprint=record["fingerprint"],
    )


def _read_path(source: str) -> TextSource:
    try:
        return read_files(source)
    except InputError as error:
        hint = "" if Path(source).exists() else nearest_name(source, [*READERS, "zipf"])
        raise InputError(f"{error}{hint}") from error


def _build(
    text: TextSource,
    tokenizer: str,
    share: float,
    folder: Path,
    progress: Callable[[str], None],
) -> Record:
    """Fills a folder of the cache: split text, then tokens in its place."""
    progress(f"reading corpus {text.name}")
    counts = _write_text(text, share, folder)
    for part, count in counts.items():
        if not count:
            raise InputError(
                f"corpus {text.name}: none of {sum(counts.values())} documents fell to "
                f"{part.replace('_', '-')}; give more text or another held-out share"
            )
    held_out_bytes = (folder / "held_out.text").stat().st_size
    digest = hashlib.sha256(tokenizer.encode())
    if tokenizer == BYTES:
        for part in PARTS:
            (folder / f"{part}.text").rename(folder / f"{part}.bin")
    else:
        model = folder / "tokenizer.json"
        progress(f"training tokenizer {tokenizer}")
        bpe = train_bpe(folder / "train.text", read_vocab_size(tokenizer), model)
        digest.update(model.read_bytes())
        progress(f"tokenizing corpus {text.name}")
        for part in PARTS:
            write_tokens(bpe, folder / f"{part}.text", folder / f"{part}.bin")
            (folder / f"{part}.text").unlink()
    for part in PARTS:
        with (folder / f"{part}.bin").open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {
        "description": text.description,
        "held_out_bytes": held_out_bytes,
        "fingerprint": digest.hexdigest(),
    }


def _write_text(text: TextSource, share: float, folder: Path) -> dict[str, int]:
    """Writes the split text as UTF-8, and counts the documents of each part."""
    counts = dict.fromkeys(PARTS, 0)
    number = 0
    with (folder / "train.text").open("wb") as train, (folder / "held_out.text").open("wb") as held:
        for number, document in enumerate(text.documents(), start=1):
            part, file = ("held_out", held) if _is_held_out(document, share) else ("train", train)
            try:
                file.write(document.text.encode("utf-8"))
            except UnicodeEncodeError as error:
                raise InputError(
                    f"corpus {text.name}: document {number} has half a character "
                    "(a lone surrogate), which is no text"
                ) from error
            file.write(b"\0" * document.ends)
            counts[part] += document.ends
    if not number:
        raise InputError(f"corpus {text.name}: there is no text in it")
    return counts


def _is_held_out(document: Document, share: float) -> bool:
    """Whether a document is kept from training: a fixed draw of its key with chance `share`.

    Documents of one key fall on one side, so a copy of a held-out text is never trained on.
    """
    digest = hashlib.sha256(document.key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _map_tokens(path: Path, vocab_size: int) -> StoredTokens:
    """The tokens of a file, mapped so that only what is read takes memory."""
    return np.memmap(path, dtype=token_type(vocab_size), mode="r").view(np.ndarray)


READERS: Mapping[str, Callable[[str], TextSource]] = {"python": read_python, "hf": read_hub}
"""Reader of each kind of text; anything else is a path."""
