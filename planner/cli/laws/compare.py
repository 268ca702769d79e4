"""`plan laws compare`: laws against published optima and recipes, in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.table import Table

from fitting.units import format_small
from planner.cli.console import make_console
from planner.review.practice import Factor, typical_by_setup

SHORT = {"lr": "lr", "batch_tokens": "batch"}
"""Quantities in the order of the columns."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""Laws in the head of a table by lab, which has no room for their names."""


def print_comparison(factors: Sequence[Factor], *, anchored: bool) -> None:
    """The tables, by law and by lab."""
    console = make_console()
    console.print(
        "Median factor, either way, between what was published and what a law says at the\n"
        "same params, tokens and batch; each lab counts as one. Tuned values are optima,\n"
        "recipes are choices." + (ANCHORED if anchored else "")
    )
    console.print()
    console.print(_law_table(factors, anchored=anchored))
    for is_tuned, quantity in ((True, "lr"), (True, "batch_tokens"), (False, "lr")):
        kind = "tuned" if is_tuned else "recipes'"
        part = [f for f in factors if f.is_tuned == is_tuned and f.quantity == quantity]
        console.print(
            f"\n{kind} {SHORT[quantity]} over the law's, median of a lab" + _after(anchored)
        )
        console.print(_lab_table(part, _letters_of(factors), anchored=anchored))


ANCHORED = (
    "\nBefore > after: over the other sizes of each lab, without an anchor and with the\n"
    "lab's smallest model as one."
)


def _after(anchored: bool) -> str:
    """What the cells of a table by lab then are."""
    return ", anchored" if anchored else ""


def _law_table(factors: Sequence[Factor], *, anchored: bool) -> Table:
    """A row a law: tuned lr and batch, recipes' lr and batch."""
    table = _plain("   law", "tuned lr", "tuned batch", "recipes lr", "recipes batch")
    for law in dict.fromkeys(one.law for one in factors):
        cells = []
        for is_tuned in (True, False):
            for quantity in SHORT:
                part = [
                    one
                    for one in factors
                    if (one.law, one.is_tuned, one.quantity) == (law, is_tuned, quantity)
                ]
                cells.append(_before_after(part) if anchored else _text(typical_by_setup(part)))
        table.add_row(f"{_letters_of(factors)[law]}  {law}", *cells)
    return table


def _letters_of(factors: Sequence[Factor]) -> dict[str, str]:
    """The letter of each law, in the order of the laws; further ones have their names."""
    laws = dict.fromkeys(one.law for one in factors)
    return dict(zip(laws, [*LETTERS, *laws], strict=False))


def _before_after(part: Sequence[Factor]) -> str:
    """Median factors over the other sizes, without and with the anchor."""
    kept = [one for one in part if one.anchored is not None]
    if not kept:
        return "-"
    return f"{_text(typical_by_setup(kept))} > {_text(typical_by_setup(kept, anchored=True))}"


def _lab_table(factors: Sequence[Factor], letters: Mapping[str, str], *, anchored: bool) -> Table:
    """A row a lab's setup, a column a law: the median of published over said."""
    laws = list(dict.fromkeys(one.law for one in factors))
    table = _plain("", *(letters[law] for law in laws))
    for setup in dict.fromkeys(one.setup for one in factors):
        cells = []
        for law in laws:
            ratios = [
                one.used / said
                for one in factors
                if (one.setup, one.law) == (setup, law)
                and (said := one.anchored if anchored else one.said) is not None
            ]
            cells.append(_text(math.exp(median(map(math.log, ratios))) if ratios else None))
        if any(cell != "-" for cell in cells):
            table.add_row(setup, *cells)
    return table


def _plain(*columns: str) -> Table:
    """A table without boxes, numbers to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    return table


def _text(factor: float | None) -> str:
    """A factor in two digits."""
    return "-" if factor is None else format_small(factor, 2)


def comparison_dict(factors: Sequence[Factor]) -> dict[str, Any]:
    """Every factor, and the medians by law."""
    summary = [
        {
            "law": law,
            "published": "tuned" if is_tuned else "recipes",
            "quantity": quantity,
            "setups": len({one.setup for one in part}),
            "factor": typical_by_setup(part),
            "factor_of_other_sizes": typical_by_setup(others),
            "factor_of_other_sizes_anchored": typical_by_setup(others, anchored=True),
        }
        for law in dict.fromkeys(one.law for one in factors)
        for is_tuned in (True, False)
        for quantity in SHORT
        if (
            part := [
                one
                for one in factors
                if (one.law, one.is_tuned, one.quantity) == (law, is_tuned, quantity)
            ]
        )
        for others in [[one for one in part if one.anchored is not None]]
    ]
    runs = [asdict(one) | {"factor": one.factor} for one in factors]
    return {"laws": summary, "runs": runs}
