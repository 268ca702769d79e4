"""Schedules that follow a finished run: to train it for longer, or to warm it up again.

Sources: Ibrahim et al. 2024 (arXiv 2403.08763), re-warming for continual pretraining; Hägele et
al. 2024 (arXiv 2405.18392) and Wen et al. 2024 (arXiv 2410.05192), going on from a stable phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from proxies.run.schedule.kinds import make_schedule
from proxies.run.schedule.stages import Checkpoint, Schedule, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class ExtendedSchedule:
    """A finished run made longer."""

    schedule: Schedule
    """The whole run, from its first step to its new last one."""
    resume_step: int
    """Last step whose checkpoint both runs share: the longer run goes on from it."""


def extend_schedule(finished: Schedule, steps: int) -> ExtendedSchedule:
    """The schedule of a longer run that shares as many steps as it can with a finished one.

    WSD and two-stage go on from the end of the stable phase, their decay keeping its share of the
    run; WSD-S from its last decayed checkpoint; constant and inverse-sqrt from the last step.

    Args:
        finished: the schedule of the run that has been made.
        steps: optimizer steps of the longer run, more than the finished one's.

    Raises:
        InputError: no more steps than before, or a kind that depends on its length from its first
            decay on, which can only be warmed up again.

    Example:
        >>> longer = extend_schedule(make_schedule("wsd", steps=1000), 2000)
        >>> longer.resume_step, longer.schedule.stable_steps, longer.schedule.decay_steps
        (800, 1500, 400)
    """
    if steps <= finished.steps:
        raise InputError(
            f"extension to {steps} steps: the finished run has {finished.steps}; give more"
        )
    if finished.kind not in EXTENSIONS:
        raise InputError(
            f"schedule {finished.kind}: its lr depends on its {finished.steps} steps from its "
            "first decay on, so it has no extension; warm it up again with --start-lr"
        )
    return EXTENSIONS[finished.kind](finished, steps)


def extend_stable(finished: Schedule, steps: int) -> ExtendedSchedule:
    """Longer at the peak; the decay keeps its share of the run."""
    decay = max(1, round(finished.decay_steps / finished.steps * steps))
    return ExtendedSchedule(
        with_lengths(finished, steps, decay_steps=decay), finished.steps - finished.decay_steps
    )


def extend_budgets(finished: Schedule, steps: int) -> ExtendedSchedule:
    """One more budget, from the last decayed checkpoint."""
    budgets = (*finished.checkpoints, Checkpoint(steps))
    schedule = make_schedule(
        finished.kind,
        steps=steps,
        warmup_steps=finished.warmup_steps,
        decay_shape=finished.decay_shape,
        final_lr_fraction=finished.final_lr_fraction,
        checkpoints=budgets,
    )
    return ExtendedSchedule(keep_start(finished, schedule), finished.steps)


def extend_constant(finished: Schedule, steps: int) -> ExtendedSchedule:
    """Longer at the peak."""
    return ExtendedSchedule(with_lengths(finished, steps, decay_steps=0), finished.steps)


def extend_inverse_sqrt(finished: Schedule, steps: int) -> ExtendedSchedule:
    """Further down the same curve: peak / sqrt(1 + t / tau), t the steps since the warmup."""
    decay, final = finished.decay_steps, finished.final_lr_fraction
    longer = steps - finished.warmup_steps
    further = (1 + longer / decay * (final**-2 - 1)) ** -0.5
    schedule = with_lengths(finished, steps, decay_steps=longer, final_lr_fraction=further)
    return ExtendedSchedule(schedule, finished.steps)


def with_lengths(
    finished: Schedule, steps: int, *, decay_steps: int, final_lr_fraction: float | None = None
) -> Schedule:
    """The same schedule with other steps and another decay."""
    if final_lr_fraction is None:
        final_lr_fraction = finished.final_lr_fraction
    schedule = make_schedule(
        finished.kind,
        steps=steps,
        warmup_steps=finished.warmup_steps,
        decay_steps=decay_steps,
        decay_shape=finished.decay_shape,
        final_lr_fraction=final_lr_fraction,
    )
    return keep_start(finished, schedule)


def keep_start(finished: Schedule, schedule: Schedule) -> Schedule:
    """The schedule with the finished one's warmup, wherever that began."""
    if not finished.warmup_steps:
        return schedule
    return replace(schedule, stages=(finished.stages[0], *schedule.stages[1:]))


def join_schedules(first: Schedule, then: Schedule, *, peak_ratio: float = 1.0) -> Schedule:
    """One run after another as one schedule, as a fraction of the higher of their peaks.

    A continuation that starts where the first ended (`ScheduleRequest.start_lr_fraction`, the
    first's final lr over the second's peak) joins without a jump.

    Args:
        first: the finished run.
        then: the run that goes on from its last step.
        peak_ratio: peak lr of `then` over that of `first`, above 0.

    Raises:
        InputError: a ratio that is not above 0.

    Example:
        >>> first = make_schedule("cosine", steps=100)
        >>> whole = join_schedules(first, make_schedule("wsd", steps=50))
        >>> whole.kind, whole.steps, whole.final_lr_fraction
        ('cosine+wsd', 150, 0.0)
    """
    if not 0 < peak_ratio < float("inf"):
        raise InputError(f"peak ratio {peak_ratio}: must be above 0")
    higher = max(1.0, peak_ratio)
    stages = (
        *(scaled(stage, 1 / higher) for stage in first.stages),
        *(scaled(stage, peak_ratio / higher) for stage in then.stages),
    )
    return Schedule(
        kind=f"{first.kind}+{then.kind}",
        stages=stages,
        decay_shape=then.decay_shape,
        final_lr_fraction=stages[-1].end,
    )


def scaled(stage: Stage, factor: float) -> Stage:
    """The same stage at another peak; every shape keeps its form."""
    return replace(stage, start=stage.start * factor, end=stage.end * factor)


EXTENSIONS: Mapping[str, Callable[[Schedule, int], ExtendedSchedule]] = {
    "wsd": extend_stable,
    "two-stage": extend_stable,
    "wsd-s": extend_budgets,
    "constant": extend_constant,
    "inverse-sqrt": extend_inverse_sqrt,
}
"""How each kind goes on; a kind that is not here depends on its length from its first decay on."""
