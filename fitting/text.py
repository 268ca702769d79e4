"""Text as blocks: what is said, as plain data, made once; how it looks is decided at the edge.

A command or a report makes blocks. `plain_text` writes them in 80 columns; a terminal's colours
(rich, in `planner.cli`) and a page's HTML (`planner.report.page`) are other writers of the same
blocks, so that no table is laid out twice.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 80
"""Columns of plain text."""

GAP = 2
"""Columns between two cells."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Prose; each line is wrapped for itself, and what is left over stands two columns in."""

    lines: tuple[str, ...]
    """Leading spaces indent a line; an empty one says nothing and is left out."""
    strong: str = ""
    """What the first line begins with, stronger where that can be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of each row names the row."""

    rows: tuple[tuple[str, ...], ...]
    head: tuple[str, ...] = ()
    """Names of the columns; none are shown where it is empty."""
    caption: str = ""
    numeric: frozenset[int] = frozenset()
    """Columns of numbers, counted from 0."""
    strong: frozenset[int] = frozenset()
    """Columns that hold the answer, stronger where that can be shown."""
    whole: bool = False
    """Whether no column but the last is broken over lines."""
    folded: str = ""
    """What opens a table that is folded away; empty where it is shown."""
    indent: int = 0
    """Columns that plain text leaves free before it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks that stand together, without an empty line between them."""

    blocks: tuple[Lines | Table, ...]


Block = Lines | Table | Group
"""What plain text and a terminal show; a page shows `Section`s of tables and figures."""


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


def plain_text(blocks: Iterable[Block]) -> str:
    """The blocks in `WIDTH` columns, an empty line between two; blocks that say nothing go."""
    said = (_block_lines(block) for block in blocks)
    return "\n\n".join("\n".join(lines) for lines in said if lines)


def wrap_line(line: str) -> str:
    """A line within `WIDTH` columns, its indent kept.

    Example:
        >>> print(wrap_line("  " + 17 * "word "))
          word word word word word word word word word word word word word word word
            word word
    """
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.strip(),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _block_lines(block: Block) -> list[str]:
    """A block as lines of text."""
    if isinstance(block, Group):
        return [line for part in block.blocks for line in _block_lines(part)]
    if isinstance(block, Table):
        return _table_lines(block)
    first, *rest = block.lines or ("",)
    strong = f"{block.strong} {first}" if block.strong else first
    return [wrap_line(line) for line in (strong, *rest) if line.strip()]


def _table_lines(table: Table) -> list[str]:
    """A table with every column as wide as its widest cell, the last one wrapped if need be."""
    rows = [table.head, *table.rows] if table.head else list(table.rows)
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    taken = table.indent + sum(widths[:-1]) + GAP * (len(widths) - 1)
    widths[-1] = min(widths[-1], max(WIDTH - taken, GAP))
    lines = [wrap_line(table.caption)] if table.caption else []
    for row in rows:
        for cells in _broken_row(row, widths[-1]):
            padded = [
                cell.rjust(width) if column in table.numeric else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            lines.append((" " * table.indent + (" " * GAP).join(padded)).rstrip())
    return lines


def _broken_row(row: Sequence[str], width: int) -> list[tuple[str, ...]]:
    """A row as the rows that it takes when its last cell is wrapped."""
    *others, last = row
    first, *more = textwrap.wrap(last, max(width, 1), break_on_hyphens=False) or [""]
    return [(*others, first), *((*("" for _ in others), part) for part in more)]
