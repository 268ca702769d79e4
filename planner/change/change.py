"""What a change is: its new numbers with source and interval, the lr of each step left, a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.facts.changes import Case
from planner.plan.document import Plan
from planner.plan.file import plan_to_dict, to_plain
from proxies.run.schedule import Schedule, lr_fraction

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One number of a run before and after the change."""

    name: str
    """With its unit."""
    before: float | None
    """None where the run had none."""
    after: float | None
    """None where it is not known."""
    low: float | None = None
    """Lower end of what is known of `after`; None where nothing is."""
    high: float | None = None
    exact: bool = False
    """Whether it follows from the others by arithmetic and needs no interval."""
    source: str
    """Law, arXiv identifier or rule it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """The lr of every step that is left, in the run's own count of steps."""

    schedule: Schedule
    """The schedule that is followed."""
    peak_lr: float
    start: int = 0
    """Step of the schedule from which it is followed."""
    rate: float = 1.0
    """Steps of the schedule that one step of the run goes: above 1 with a larger batch."""
    steps: int
    """Steps that are left."""
    offset: int = 0
    """Steps of the run before the first of them."""

    def rows(self) -> Iterator[tuple[int, float]]:
        """Step of the run and lr, for every step left."""
        for step in range(1, self.steps + 1):
            progress = min(self.start + step * self.rate, self.schedule.steps)
            yield self.offset + step, self.peak_lr * lr_fraction(self.schedule, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a run."""

    kind: str
    """Subcommand of `plan change`."""
    title: str
    """One line: what is changed."""
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]
    """What else to know or do, most important first."""
    nearest: tuple[Case, ...]
    plan: Plan | None
    """The run from the change on; None where a plan cannot say it."""
    track: Track | None
    """None where no schedule follows."""


def change_to_dict(change: Change) -> dict[str, Any]:
    """The new plan's JSON with the change under the key `change`; that key alone without a plan."""
    said = {
        "kind": change.kind,
        "title": change.title,
        "numbers": to_plain(change.numbers),
        "notes": list(change.notes),
        "nearest": to_plain(change.nearest),
    }
    plan = {} if change.plan is None else plan_to_dict(change.plan)
    return plan | {"change": said}
