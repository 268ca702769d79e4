"""Schedules that do not end with the run: which a trainer takes in silence, and no run can follow.

A reader gives the lengths that its file says and reads the run by those that fit; what was cut is
said by the trainer's `faults`: a decay made for more steps than are run never brings the lr down,
a warmup longer than the run never brings it up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

TENTH = 10
"""Share of the run that a warmup without end is read as: that of a plan's own in a short run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Lengths of a schedule in steps, as a file says them."""

    steps: int
    """Of the run."""
    warmup: int
    warmup_option: str
    """What the trainer calls it."""
    decay_start: int | None = None
    """Step from which `decay_steps` count; None for the end of the warmup."""
    decay_steps: int | None = None
    """None where the file does not say them."""
    decay_option: str = ""

    @property
    def start(self) -> int:
        """Step from which the decay counts."""
        return self.warmup if self.decay_start is None else self.decay_start


def fit_lengths(found: Lengths) -> tuple[Lengths, tuple[str, ...]]:
    """The lengths cut to the run, and what was wrong with them, in words."""
    faults = []
    steps = found.steps
    if steps < 1:
        return found, ()
    if found.warmup >= steps:
        faults.append(_warmup_words(found))
        found = replace(found, warmup=steps // TENTH)
    end = None if found.decay_steps is None else found.start + found.decay_steps
    if end is not None and found.start < steps and end != steps:
        faults.append(_decay_words(end, steps, found.decay_option))
        found = replace(found, decay_steps=steps - found.start)
    return found, tuple(faults)


def _warmup_words(found: Lengths) -> str:
    """A warmup that the run does not outlive."""
    return (
        f"{found.warmup_option} {found.warmup:,} is no less than the {found.steps:,} steps of the "
        f"run: the lr never comes to its peak; read as {found.steps // TENTH:,}"
    )


def _decay_words(end: int, steps: int, option: str) -> str:
    """A decay that ends after the run, or long before it."""
    if end > steps:
        return (
            f"{option}: the decay is made to end at step {end:,} and the run ends at {steps:,}: "
            "the lr stops on its way down; let it end with the run"
        )
    return (
        f"{option}: the decay ends at step {end:,} and the run at {steps:,}: the "
        f"last {steps - end:,} steps are at the lowest lr; let it end with the run"
    )
