"""Schedules that do not end with the run: which a trainer takes in silence, and readers refuse.

The lengths are cut to the run here so that the rest can be read, and what was cut is said: a decay
made for more steps than are run never brings the lr down, a warmup longer than the run never
brings it up.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from planner.trainers.supported import transformers
from planner.trainers.values import as_int

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.trainers.trainer import Files

TENTH = 10
"""Share of the run that a warmup without end is read as: that of a plan's own in a short run."""

Cut = tuple["Files", tuple[str, ...]]
"""Files whose schedule ends with the run, and what was wrong with it."""


def cut_megatron(files: Files) -> Cut:
    """Megatron's `--lr-decay-iters` and `--lr-warmup-iters`, fitted to `--train-iters`."""
    text = files.get("", "")
    steps = whole_after(text, r"--train-iters[ =]+")
    if steps is None:
        return files, ()
    faults = []
    warmup = whole_after(text, r"--lr-warmup-iters[ =]+") or 0
    if warmup >= steps:
        faults.append(warmup_words(warmup, steps, "--lr-warmup-iters"))
        text = re.sub(r"(--lr-warmup-iters[ =]+)\d+", rf"\g<1>{steps // TENTH}", text)
    end = whole_after(text, r"--lr-decay-iters[ =]+")
    if end is not None and end != steps:
        faults.append(decay_words(end, steps, "--lr-decay-iters"))
        text = re.sub(r"(--lr-decay-iters[ =]+)\d+", rf"\g<1>{steps}", text)
    return {**files, "": text}, tuple(faults)


def cut_nanotron(files: Files) -> Cut:
    """nanotron's warmup, and the start and length of its decay, fitted to `train_steps`."""
    text = files.get("", "")
    steps = whole_after(text, r"\btrain_steps: *")
    warmup = whole_after(text, r"\blr_warmup_steps: *") or 0
    if steps is None:
        return files, ()
    faults = []
    if warmup >= steps:
        faults.append(warmup_words(warmup, steps, "lr_warmup_steps"))
        warmup = steps // TENTH
        text = re.sub(r"(\blr_warmup_steps: *)\d+", rf"\g<1>{warmup}", text)
    start = whole_after(text, r"\blr_decay_starting_step: *")
    decay = whole_after(text, r"\blr_decay_steps: *")
    start = warmup if start is None else start
    if decay is not None and start < steps and start + decay != steps:
        faults.append(decay_words(start + decay, steps, "lr_decay_steps"))
        text = re.sub(r"(\blr_decay_steps: *)\d+", rf"\g<1>{steps - start}", text)
    return {**files, "": text}, tuple(faults)


def cut_transformers(files: Files) -> Cut:
    """transformers' `warmup_steps`, fitted to `max_steps`; its decays end with the run anyway."""
    arguments = transformers.json_of(files, transformers.ARGUMENTS)
    steps, warmup = as_int(arguments, "max_steps"), as_int(arguments, "warmup_steps", 0)
    if warmup < steps:
        return files, ()
    text = json.dumps({**arguments, "warmup_steps": steps // TENTH})
    faults = (warmup_words(warmup, steps, "warmup_steps"),)
    return {**files, transformers.ARGUMENTS: text}, faults


def no_cut(files: Files) -> Cut:
    """A schedule whose lengths are the run's own."""
    return files, ()


def whole_after(text: str, key: str) -> int | None:
    """The first whole number after a key; None where there is none."""
    found = re.search(rf"{key}(\d+)(?![\d.e])", text)
    return int(found[1]) if found else None


def warmup_words(warmup: int, steps: int, option: str) -> str:
    """A warmup that the run does not outlive."""
    return (
        f"{option} {warmup:,} is no less than the {steps:,} steps of the run: the lr never comes "
        f"to its peak; read as {steps // TENTH:,}"
    )


def decay_words(end: int, steps: int, option: str) -> str:
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


CUTTERS: dict[str, Callable[[Files], Cut]] = {
    "megatron": cut_megatron,
    "nanotron": cut_nanotron,
    "transformers": cut_transformers,
}
"""Trainers in whose files a schedule has lengths of its own."""
