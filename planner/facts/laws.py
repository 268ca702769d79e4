"""The law book: the shipped law files and the user's own, by name.

Shipped files are read without a schema check, which the tests and `plan laws` make, so that a
plan does not wait for pydantic.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from fitting.laws.file import read_law
from fitting.laws.law import Law

if TYPE_CHECKING:
    pass

DEFAULT_LAWS = {
    "lr": "step-law",
    "batch_tokens": "step-law",
    "weight_decay": "power-lines",
    "loss": "epoch-replication",
}
"""The law of each quantity that a plan uses unless told otherwise; all verified."""

OPTIMIZER_LAWS = {
    "muon": {"lr": "muon-tuned", "weight_decay": "muon-tuned"},
    "lion": {"lr": "lion-tuned", "weight_decay": "lion-tuned"},
}
"""Laws of an optimizer's own, which come before the defaults; fitted to its published optima."""

DEFAULT_SURFACE = "step-law-surface"
"""Loss over lr and batch, fitted on the runs behind the default lr law."""

SATURATING_LAW = "step-law-saturating"
"""How the lr moves with the batch where no surface reaches."""

PRACTICE_LAW = "practice"
"""The fit over published recipes: the second witness outside a published law's range."""

SETUPS_LAW = "setups"
"""The spread between setups."""

CRITICAL_LAW = "power-lines"
"""The critical batch."""

REPEATS_LAW = "data-constrained"
"""Loss of limited data, which the default loss law takes for fresh."""

DECAY_LAW, ENSEMBLE_LAW = "infinite-compute", "infinite-ensemble"
"""Weight decay of repeated data, and what several models of one size gain on them."""

SPARSE_LAW = "ling-moe"
"""Lr and batch, measured on mixtures of experts."""

GROWTH_LAW = "growth"
"""When to stack the layers of a smaller model."""

DEFAULT_PRIOR = DEFAULT_LAWS["lr"]
"""Stands in where a user's own runs say too little; see `fitting.fit.enough.says_too_little`."""

ARXIV = re.compile(r"https://arxiv\.org/abs/(\d{4}\.\d{4,5})")
"""Address of a preprint; the group is its identifier."""

TEX_SPECIAL = re.compile(r"[&%#_$]")
"""Characters that TeX would act upon in a title."""


def read_lawbook(extra: Sequence[Path] = (), *, check_shipped: bool = False) -> dict[str, Law]:
    """All laws by name: the shipped ones in alphabetical order, then the user's as given.

    A user's file must not have the name of a shipped law: a plan could no longer say which of
    the two a number came from.

    Args:
        extra: the user's law files, checked in full.
        check_shipped: check the shipped files too (about 0.25 s, most of it imports).

    Raises:
        InputError: a file cannot be read or breaks the schema, or two of `extra` share a name.
    """
    # Not importlib.resources, whose import costs more than reading all files.
    folder = Path(import_module("planner.data").__path__[0]) / "laws"
    book = {
        path.stem: read_law(path, trusted=not check_shipped)
        for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)
    }
    shipped = set(book)
    given: dict[str, Path] = {}
    for path in extra:
        if path.stem in given:
            raise InputError(f"--laws {path}: has the name of {given[path.stem]}; rename one")
        given[path.stem] = path
        if path.stem in shipped:
            raise InputError(f"--laws {path}: has the name of a shipped law; rename the file")
        book[path.stem] = read_law(path)
    return book


def choose_prior(name: str | None, files: Sequence[Path]) -> tuple[Law | None, bool]:
    """The prior asked for, or the default, and whether it counts only where runs say too little.

    Args:
        name: of a law, "none" for no prior, or None for the default.
        files: law files of the user's own.

    Raises:
        InputError: no law of that name, or a law file that cannot be read.
    """
    if name == "none":
        return None, False
    return find_law(read_lawbook(files), name or DEFAULT_PRIOR, where="--prior"), name is None


def without_own_laws(book: Mapping[str, Law]) -> dict[str, Law]:
    """The law book without the optimizers' own laws.

    Those were fitted to published optima: whoever judges a plan by these optima takes AdamW's laws,
    converted, which never saw them.
    """
    own = {name for laws in OPTIMIZER_LAWS.values() for name in laws.values()}
    return {name: law for name, law in book.items() if name not in own}


def find_law(book: Mapping[str, Law], name: str, where: str = "--law") -> Law:
    """The law of this name.

    Raises:
        InputError: no such law; the message says the nearest name.
    """
    if name not in book:
        raise InputError(
            f"{where} '{name}': no such law{nearest_name(name, book)} (plan laws lists all)"
        )
    return book[name]


def bibtex(law: Law) -> str:
    """The law's source as a BibTeX entry, lines up to 80 columns where words allow."""
    source = law.source
    preprint = ARXIV.fullmatch(source.url)
    values = {
        "title": f"{{{tex(source.title)}}}",
        "author": tex(source.authors),
        "year": "" if source.year is None else str(source.year),
        "eprint": "" if preprint is None else preprint[1],
        "archiveprefix": "" if preprint is None else "arXiv",
        "url": source.url,
    }
    lines = [
        textwrap.fill(
            f"  {name} = {{{value}}},",
            width=80,
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, value in values.items()
        if value
    ]
    return "\n".join([f"@misc{{{source.key},", *lines, "}"])


def tex(text: str) -> str:
    """Plain text with TeX's special characters escaped."""
    return TEX_SPECIAL.sub(r"\\\g<0>", text)
