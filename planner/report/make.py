"""The whole page of what is at hand, with what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.units import format_count
from planner.report.page import archive_of, render_page
from planner.report.sections import make_sections

if TYPE_CHECKING:
    from planner.report.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page and what is not on it."""

    html: str
    absent: tuple[str, ...]
    """What is not there, and which command makes it."""


def whole_page(found: Evidence, *, command: str) -> Page:
    """The page of everything at hand.

    Args:
        found: what `planner.report.evidence.gather` gives.
        command: the command line that makes the page.
    """
    sections = make_sections(found, command=command)
    kind, title, subtitle = titles(found)
    return Page(
        html=render_page(
            sections, kind=kind, title=title, subtitle=subtitle, archive=archive_of(found)
        ),
        absent=tuple(line for section in sections for line in section.absent),
    )


def titles(found: Evidence) -> tuple[str, str, str]:
    """What the page is a report of, its title and the line under it."""
    if found.plan is not None:
        target, shape = found.plan.target, found.plan.shape
        return (
            "Pretraining plan",
            f"{format_count(target.params)} params on {format_count(target.tokens)} tokens",
            f"{shape.n_layers} layers of {shape.d_model:,}, {found.plan.optimizer.name}, "
            f"{found.plan.schedule.kind}, {found.plan.steps:,} steps",
        )
    if found.law is not None:
        return "Scaling laws", found.law.name, found.law.source.title or "laws of one's own runs"
    count = 0 if found.runs is None else len(found.runs.table)
    return "Runs", found.given.resolve().name, f"{count:,} runs"
