"""The text that every Python carries: sources of the standard library and pydoc's topics.

About 9 MB of code and English that need no download. Left out: tests; idlelib and lib2to3
(absent from some installations); files that describe one machine; and `encodings`, more than a
megabyte of character maps so alike that a held-out one would be known from training.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from proxies.corpus.corpus import Document, TextSource

if TYPE_CHECKING:
    from collections.abc import Iterator

LEFT_OUT = frozenset({"idlelib", "lib2to3", "encodings", "pydoc_data", "turtledemo"})
"""Packages whose sources are not read; the topics of pydoc_data are."""

TESTS = frozenset({"test", "tests", "idle_test", "__pycache__"})
"""Folders that are not read, at any depth."""


def read_python(where: str = "") -> TextSource:
    """The embedded default corpus, of this Python; `where` has nothing to say.

    Raises:
        InputError: this Python carries no sources, or something is asked of it.
    """
    if where:
        raise InputError(f"corpus python:{where}: has no options; write python")
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(_list_sources(root))
    if not files:
        raise InputError(f"corpus python: no sources in {root}; name a file or folder instead")
    version = platform.python_version()
    return TextSource(
        name="python",
        description=f"standard library and pydoc topics of Python {version}",
        identity=f"{version} {root} {files}",
        documents=lambda: _read_documents(root, [name for name, *_ in files]),
    )


def _list_sources(root: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of each source to read."""
    for folder, folders, names in os.walk(root):
        inside = os.path.relpath(folder, root)
        if inside == ".":
            wanted = sys.stdlib_module_names - LEFT_OUT
            folders[:] = [name for name in folders if name in wanted]
            names = [name for name in names if name.removesuffix(".py") in wanted]
        folders[:] = [name for name in folders if name not in TESTS]
        for name in names:
            if name.endswith(".py"):
                path = os.path.normpath(os.path.join(inside, name))
                found = os.stat(os.path.join(folder, name))
                yield path.replace(os.sep, "/"), found.st_size, found.st_mtime_ns


def _read_documents(root: Path, names: list[str]) -> Iterator[Document]:
    """Sources in order of their names, then topics in order of theirs."""
    from pydoc_data.topics import topics

    for name in names:
        # A source may say its own encoding; line ends become \n.
        with tokenize.open(root / name) as file:
            text = clean(file.read())
        if text:
            yield Document(text, text)
    for _, topic in sorted(topics.items()):
        text = clean(topic)
        yield Document(text, text)


def clean(text: str) -> str:
    r"""The text without spaces at line ends, form feeds, null characters and outer blank lines.

    Example:
        >>> clean("a = 1  \n\x0c\n")
        'a = 1\n'
    """
    plain = text.replace("\x0c", "").replace("\0", "")
    stripped = "\n".join(line.rstrip() for line in plain.split("\n")).strip("\n")
    return f"{stripped}\n" if stripped else ""
