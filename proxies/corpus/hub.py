"""A dataset of the Hugging Face hub, streamed: as much of it as was asked for.

`hf:NAME,config=...,split=train,revision=...,bytes=1e9`, e.g.
`hf:HuggingFaceFW/fineweb-edu,config=sample-10BT`. It is read once, into the cache; later the same
words open the cache, without the network. `revision` pins what the hub may change; the
fingerprint of the corpus shows whether it did.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from proxies.corpus.corpus import Document, TextSource, read_options

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMN = "text"
"""Column that holds the text."""

OPTIONS = {"config": "", "split": "train", "revision": "", "bytes": "1e9"}
"""Options of a dataset and their defaults; `bytes` is the UTF-8 text that is read at most."""


def read_hub(where: str) -> TextSource:
    """The first `bytes` of text of a dataset, whole documents in the hub's order.

    Args:
        where: NAME or NAME,option=value,...; what follows `hf:`.

    Raises:
        InputError: an option is wrong; or, when documents are read, the package `datasets`, the
            network, the dataset or its `text` column is missing.
    """
    source = f"corpus hf:{where}"
    name, _, rest = where.partition(",")
    if not name:
        raise InputError(f"{source}: no dataset is named; write hf:OWNER/NAME")
    options = read_options(rest, OPTIONS, where=source)
    try:
        limit = float(options["bytes"])
    except ValueError:
        limit = math.nan
    if not limit >= 1:
        raise InputError(f"{source}: bytes is {options['bytes']}; write a count such as 1e9")
    return TextSource(
        name=name.replace("/", "-"),
        description=f"first {limit:g} bytes of {name} {options['config']}".rstrip(),
        identity=f"{name} {options}",
        documents=lambda: _stream(name, options, limit),
    )


def _stream(name: str, options: dict[str, str], limit: float) -> Iterator[Document]:
    where = f"corpus hf:{name}"
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            f"{where}: needs the package datasets; pip install datasets, or name a file or folder"
        ) from error
    # The hub's client warns at each of its retries; the one line below says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    taken = 0
    try:
        rows = load_dataset(
            name,
            options["config"] or None,
            split=options["split"],
            revision=options["revision"] or None,
            streaming=True,
        )
        for row in rows:
            text = _text_of(row, where)
            taken += len(text.encode("utf-8", "replace"))
            if taken > limit:
                return
            yield Document(text, text)
    # datasets and its transports raise these for no network, no such name, config or split, a
    # dataset that needs a login, and files that cannot be read.
    except (OSError, ValueError, RuntimeError) as error:
        message = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{where}: cannot be streamed ({message})") from error


def _text_of(row: dict[str, Any], where: str) -> str:
    if COLUMN not in row:
        raise InputError(f"{where}: no column '{COLUMN}'; columns are {', '.join(row)}")
    text = row[COLUMN]
    if not isinstance(text, str):
        raise InputError(f"{where}: '{COLUMN}' is {str(text)[:40]!r}, not text")
    return text
