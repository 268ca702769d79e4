"""What is asked of a schedule, and the stages that most kinds are made of.

Lengths that cannot be had are refused with the arithmetic, never adjusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.run.defaults import DECAY_SHARE, FINAL_LR_FRACTION, MAX_WARMUP_STEPS
from proxies.run.schedule.stages import NEVER_TO_ZERO, SHAPES, Checkpoint, Schedule, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """What was asked of a schedule; None means the kind's own default."""

    kind: str
    steps: int
    warmup_steps: int | None = None
    decay_steps: int | None = None
    decay_shape: str | None = None
    final_lr_fraction: float | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    start_lr_fraction: float = 0.0
    """Where the warmup begins, as a fraction of the peak in [0, 1]: above 0 to re-warm a finished
    run from its final lr."""


def default_warmup_steps(steps: int) -> int:
    """Warmup of a run of `steps`: a tenth, at most 2,000 steps, but at least a hundredth.

    max(ceil(steps / 100), min(2000, floor(steps / 10))): at least 1 step, and above a tenth only
    in runs shorter than 10 steps. A warmup of 1 step puts update 1 at the peak.

    Example:
        >>> [default_warmup_steps(steps) for steps in (1, 9, 29, 1000, 50_000, 300_000)]
        [1, 1, 2, 100, 2000, 3000]
    """
    return max(-(-steps // 100), min(MAX_WARMUP_STEPS, steps // 10))


def check_request(request: ScheduleRequest) -> None:
    """Refuse what no kind could be built from."""
    where = f"schedule {request.kind}"
    if request.steps < 1:
        raise InputError(f"{where}: steps {request.steps}; a run has at least 1")
    if request.warmup_steps is not None and request.warmup_steps < 0:
        raise InputError(f"{where}: warmup {request.warmup_steps}; 0 steps or more")
    final = request.final_lr_fraction
    if final is not None and not 0 <= final <= 1:
        raise InputError(f"{where}: final lr fraction {final}; a fraction of the peak in 0..1")
    start = request.start_lr_fraction
    if not 0 <= start <= 1:
        raise InputError(f"{where}: start lr fraction {start}; a fraction of the peak in 0..1")
    shape = request.decay_shape
    if shape is not None and shape not in SHAPES:
        raise InputError(
            f"{where}: decay shape '{shape}' is not known{nearest_name(shape, SHAPES)}; "
            f"known: {', '.join(SHAPES)}"
        )
    if request.checkpoints and request.kind != "wsd-s":
        raise InputError(f"{where}: checkpoints belong to schedule wsd-s")


def decay_all_the_way(request: ScheduleRequest, *, shape: str, final: float) -> Schedule:
    """Warmup and one decay over all that is left."""
    where = f"schedule {request.kind}"
    warmup = warmup_of(request, request.steps)
    rest = max(1, request.steps - warmup)
    if request.decay_shape not in (None, shape):
        raise InputError(f"{where}: decay shape '{request.decay_shape}' is not {shape}; use wsd")
    decay = rest if request.decay_steps is None else request.decay_steps
    if 1 <= decay < rest:
        raise InputError(
            f"{where}: warmup {warmup} + decay {decay} < steps {request.steps}; "
            f"it has no stable phase: use wsd with decay shape {shape}"
        )
    return chain_stages(request, [Checkpoint(request.steps, decay)], shape=shape, final=final)


def chain_stages(
    request: ScheduleRequest, budgets: Sequence[Checkpoint], *, shape: str, final: float
) -> Schedule:
    """Warmup, then a stable phase and a decay for each budget; `shape`, `final` are defaults."""
    shape = request.decay_shape or shape
    final = final_of(request, shape, final)
    warmup = warmup_of(request, budgets[0].step)
    stages = [*rise(request, warmup)]
    done = 0
    for budget in budgets:
        period = budget.step - done
        decay = budget.decay_steps
        if decay is None:
            decay = max(1, round(DECAY_SHARE * period))
        if decay < 1:
            raise InputError(
                f"schedule {request.kind}: decay {decay}; at least 1 step, or use constant"
            )
        lead_in = warmup if done == 0 else 0
        stable = period - lead_in - decay
        if stable < 0:
            taken = f"warmup {lead_in} + decay {decay}" if done == 0 else f"decay {decay}"
            room = f"steps {budget.step}" if done == 0 else f"steps {budget.step} - {done}"
            raise InputError(f"schedule {request.kind}: {taken} > {room}; {-stable} too many")
        stages += stay(stable)
        stages.append(Stage(role="decay", steps=decay, start=1.0, end=final, shape=shape))
        done = budget.step
    return Schedule(
        kind=request.kind, stages=tuple(stages), decay_shape=shape, final_lr_fraction=final
    )


def warmup_of(request: ScheduleRequest, steps: int) -> int:
    """The warmup asked for, or the default of a run of `steps`."""
    if request.warmup_steps is not None:
        return request.warmup_steps
    return default_warmup_steps(steps)


def final_of(request: ScheduleRequest, shape: str, default: float) -> float:
    """The final fraction asked for, or the default, raised where 0 cannot be had."""
    never_to_zero = shape in NEVER_TO_ZERO
    final = request.final_lr_fraction
    if final is None:
        return FINAL_LR_FRACTION if never_to_zero and default == 0 else default
    if never_to_zero and final == 0:
        raise InputError(
            f"schedule {request.kind}: decay shape {shape} never gets to 0; "
            "give a final lr above 0 or another shape"
        )
    return final


def rise(request: ScheduleRequest, steps: int) -> tuple[Stage, ...]:
    """A linear rise to the peak, or nothing where it has no steps."""
    start = request.start_lr_fraction
    if not steps:
        if start:
            raise InputError(
                f"schedule {request.kind}: starts at {start:g} of the peak, but warmup 0; "
                "give the steps of its rise"
            )
        return ()
    return (Stage(role="warmup", steps=steps, start=start, end=1.0),)


def stay(steps: int) -> tuple[Stage, ...]:
    """A stay at the peak, or nothing where it has no steps."""
    return (Stage(role="stable", steps=steps, start=1.0, end=1.0),) if steps else ()
