"""What a corpus costs: tokens and time of building, opening and reading it.

    python -m tests.benchmarks.corpus [SOURCE...] [--tokenizer bpe:4096] [--seq-len 512]

Times are wall-clock seconds, the least of several; the first opening is in a cache of its own, so
that it builds. Opening is timed after the package is imported.
"""

from __future__ import annotations

import argparse
import tempfile
import timeit
from pathlib import Path

from proxies.corpus import Corpus, open_corpus, read_sequences

SEQUENCES = 64


def main() -> None:
    """Prints one line a corpus and tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="*", default=["python", "zipf:"])
    parser.add_argument("--tokenizer", default="bpe:4096")
    parser.add_argument("--seq-len", type=int, default=512)
    options = parser.parse_args()
    for source in options.sources:
        tokenizers = ["bytes"] if source.startswith("zipf") else ["bytes", options.tokenizer]
        for tokenizer in tokenizers:
            with tempfile.TemporaryDirectory() as cache:
                print(describe(source, tokenizer, options.seq_len, Path(cache)))


def describe(source: str, tokenizer: str, seq_len: int, cache: Path) -> str:
    """Sizes and times of one corpus in an empty cache."""

    def reopen() -> Corpus:
        return open_corpus(source, tokenizer=tokenizer, cache=cache)

    def read() -> None:
        read_sequences(corpus, seq_len=seq_len, order_seed=0, start=0, count=SEQUENCES)

    built = timeit.timeit(reopen, number=1)
    corpus = reopen()
    opened = min(timeit.repeat(reopen, number=1, repeat=9))
    once = min(timeit.repeat(read, number=3, repeat=9)) / 3
    size = "" if corpus.bytes_per_token is None else f", {corpus.bytes_per_token:.3f} bytes each"
    return (
        f"{corpus.label} {corpus.tokenizer}: {corpus.train.size:,} + {corpus.held_out.size:,} "
        f"tokens{size}, built in {built:.2f} s, opened in "
        f"{1e3 * opened:.1f} ms, read {SEQUENCES} x {seq_len} in {1e3 * once:.2f} ms "
        f"({SEQUENCES * seq_len / once / 1e6:.0f}M tokens/s)"
    )


if __name__ == "__main__":
    main()
