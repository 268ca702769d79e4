"""What a page is made of: sections with notes, tables and figures, all as plain data.

Nothing here is HTML: `planner.report.page` escapes and writes it, and `page.js` draws the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of each row names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    """Columns of numbers, counted from 0."""
    folded: str = ""
    """What opens a table that is folded away; empty where it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What `page.js` draws, and what it says in words."""

    name: str
    """Unique on the page; also the key of its data."""
    kind: str
    """Which function of `page.js` draws it."""
    title: str
    """The finding."""
    alt: str
    """What there is to see, for those who do not see it."""
    data: dict[str, Any]
    """Numbers, lists and words."""
    wide: bool = False
    """Whether it takes the whole width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One of the plan's main numbers."""

    name: str
    value: str
    interval: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One topic of the page."""

    name: str
    """Its address on the page."""
    title: str
    lead: str = ""
    """One paragraph before everything else."""
    headlines: tuple[Headline, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    code: tuple[tuple[str, str], ...] = ()
    """Title and text of each block that is shown as it is."""
    widget: str = ""
    """`sliders` or `runs` where `page.js` makes more of the section; else empty."""
    data: dict[str, Any] | None = None
    """What the widget reads."""
    absent: tuple[str, ...] = ()
    """What is not there, and which command makes it."""
