"""Text and tokens for proxies: opened by name, split, cached, read in sequences; torch-free.

Rooms: `corpus` (what a document, its source and an open corpus are); readers, one a file,
`python_text`, `files`, `hub` and the synthetic `zipf`; `open` (by name), `tokenizing`, `cache`,
`sequences` (what a run reads), `shuffle`.
"""

from proxies.corpus.corpus import Corpus
from proxies.corpus.open import open_corpus
from proxies.corpus.sequences import (
    available_tokens,
    read_held_out,
    read_sequences,
    require_tokens,
    unique_tokens,
)

__all__ = [
    "Corpus",
    "available_tokens",
    "open_corpus",
    "read_held_out",
    "read_sequences",
    "require_tokens",
    "unique_tokens",
]
