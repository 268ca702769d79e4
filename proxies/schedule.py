"""The learning rate against progress, as a fraction of its peak: a chain of stages.

A schedule is one continuous function lr(s) of progress s in [0, S], S the total steps: lr(0) = 0,
lr(w) = peak, flat until the decay, lr(S) = final. Update s = 1..S uses lr(s), so the first
update trains and the last is at the final lr. Trainers sample the same function elsewhere.

Each stage goes from one fraction to another by a shape q(p), p its own progress in [0, 1]:
value = start (1 - q) + end q. Lengths that cannot be had are refused, never adjusted.

Sources: Hu et al. 2024 (arXiv 2404.06395, WSD); Hägele et al. 2024 (arXiv 2405.18392, decay
shapes); Wen et al. 2024 (arXiv 2410.05192, WSD-S); Defazio et al. 2023 (arXiv 2310.07831) and
Bergsma et al. 2025 (arXiv 2502.15938), linear to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from fitting.errors import InputError, nearest_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_WARMUP_STEPS = 2_000
"""Cap of the default warmup: Step Law (arXiv 2503.04715) and most published recipes use 2,000."""

WSD_DECAY_SHARE = 5
"""Default decay of WSD: the last fifth, the long end of MiniCPM's 10% to 20%."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stretch of a schedule."""

    role: Literal["warmup", "stable", "decay"]
    steps: int
    """Length in optimizer steps, at least 1."""
    start: float
    """Fraction of the peak lr where the stage begins, in [0, 1]."""
    end: float
    """Fraction of the peak lr where it ends, in [0, 1]."""
    shape: str = "linear"
    """A key of `SHAPES`: how it gets from start to end."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One budget of WSD-S: the model is finished here and the next stable phase starts from it."""

    step: int
    """Steps trained when it is finished, at least 1."""
    decay_steps: int | None = None
    """Steps of the decay that ends here, at least 1; None for a fifth of the steps since the
    checkpoint before, rounded to the nearest step, at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate of a run against its steps, as a fraction of the peak."""

    kind: str
    """A key of `KINDS`."""
    stages: tuple[Stage, ...]
    """In order; their lengths add up to `steps`."""
    decay_shape: str | None
    """A key of `SHAPES`; None where nothing decays."""
    final_lr_fraction: float
    """lr(S) / peak, in [0, 1]."""

    @property
    def steps(self) -> int:
        """Optimizer steps S: warmup, stable and decay add up to it exactly."""
        return sum(stage.steps for stage in self.stages)

    @property
    def warmup_steps(self) -> int:
        """Steps of the linear warmup from 0."""
        return self._length("warmup")

    @property
    def stable_steps(self) -> int:
        """Steps at the peak, over all stable phases."""
        return self._length("stable")

    @property
    def decay_steps(self) -> int:
        """Steps of decay, over all decays."""
        return self._length("decay")

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Where each decay ends: one for a plain schedule, one a budget for WSD-S."""
        found, done = [], 0
        for stage in self.stages:
            done += stage.steps
            if stage.role == "decay":
                found.append(Checkpoint(done, stage.steps))
        return tuple(found)

    def _length(self, role: str) -> int:
        return sum(stage.steps for stage in self.stages if stage.role == role)


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


def make_schedule(
    kind: str,
    *,
    steps: int,
    warmup_steps: int | None = None,
    decay_steps: int | None = None,
    decay_shape: str | None = None,
    final_lr_fraction: float | None = None,
    checkpoints: Sequence[Checkpoint] = (),
) -> Schedule:
    """A schedule of one kind whose stages add up to `steps` exactly.

    A schedule's own kind, steps, lengths, shape, final fraction and (WSD-S) checkpoints give the
    same schedule again. The shortest default run has 2 steps: one that trains and one at the
    final lr.

    Args:
        kind: a key of `KINDS`.
        steps: optimizer steps S, at least 1.
        warmup_steps: steps of linear warmup, 0 or more; None for `default_warmup_steps` of the
            steps, or of the first checkpoint's.
        decay_steps: steps of decay, at least 1; None for the kind's default. Under WSD-S the sum
            over its checkpoints, and only a check of it.
        decay_shape: a key of `SHAPES`; None for the kind's default.
        final_lr_fraction: lr(S) / peak in [0, 1]; None for the kind's default.
        checkpoints: WSD-S only: rising steps, the last equal to `steps`.

    Raises:
        InputError: lengths that do not fit, with the arithmetic; an unknown name; an option that
            the kind does not have; or an update 1 with lr 0.

    Example:
        >>> wsd = make_schedule("wsd", steps=1000)
        >>> wsd.warmup_steps, wsd.stable_steps, wsd.decay_steps, wsd.decay_shape
        (100, 700, 200, '1-sqrt')
        >>> [round(lr_fraction(wsd, s), 4) for s in (0, 1, 100, 800, 850, 1000)]
        [0.0, 0.01, 1.0, 1.0, 0.5, 0.0]
    """
    if kind not in KINDS:
        raise InputError(
            f"schedule '{kind}': no such schedule{nearest_name(kind, KINDS)}; "
            f"known: {', '.join(KINDS)}"
        )
    request = ScheduleRequest(
        kind=kind,
        steps=steps,
        warmup_steps=warmup_steps,
        decay_steps=decay_steps,
        decay_shape=decay_shape,
        final_lr_fraction=final_lr_fraction,
        checkpoints=tuple(checkpoints),
    )
    _check_request(request)
    schedule = KINDS[kind](request)
    if lr_fraction(schedule, 1) == 0:
        raise InputError(
            f"schedule {kind}: update 1 of {schedule.steps} has lr 0; "
            "give a warmup of 1 step, a longer decay or a final lr above 0"
        )
    return schedule


def lr_fraction(schedule: Schedule, s: float) -> float:
    """lr(s) / peak at progress `s`, by plain floats.

    Continuous but for WSD-S, which returns to the peak at once after each checkpoint: there the
    value *at* the checkpoint's step is the final one, and the peak at any s above it.

    Args:
        schedule: the schedule.
        s: steps done, in [0, S]; not only whole ones, for trainers sample between them.

    Returns:
        The fraction, in [0, 1].

    Raises:
        InputError: `s` outside [0, S].
    """
    if not 0 <= s <= schedule.steps:
        raise InputError(f"schedule {schedule.kind}: step {s} is outside 0..{schedule.steps}")
    begin = 0
    for stage in schedule.stages:
        if s <= begin + stage.steps:
            break
        begin += stage.steps
    if stage.start == stage.end:
        return stage.end
    travelled = SHAPES[stage.shape]((s - begin) / stage.steps)
    return stage.start * (1 - travelled) + stage.end * travelled


def default_warmup_steps(steps: int) -> int:
    """Warmup of a run of `steps`: a tenth, at most 2,000 steps, but at least a hundredth.

    max(ceil(steps / 100), min(2000, floor(steps / 10))): at least 1 step, and above a tenth only
    in runs shorter than 10 steps. A warmup of 1 step puts update 1 at the peak.

    Example:
        >>> [default_warmup_steps(steps) for steps in (1, 9, 29, 1000, 50_000, 300_000)]
        [1, 1, 2, 100, 2000, 3000]
    """
    return max(-(-steps // 100), min(MAX_WARMUP_STEPS, steps // 10))


def build_wsd(request: ScheduleRequest) -> Schedule:
    """Warmup, stable, decay: by default the last fifth, 1-sqrt to 0.

    Source:
        Hu et al. 2024 (arXiv 2404.06395); shape and ranking Hägele et al. 2024 (2405.18392).
    """
    budget = Checkpoint(request.steps, request.decay_steps)
    return _chain(request, [budget], shape="1-sqrt", final=0.0)


def build_wsd_s(request: ScheduleRequest) -> Schedule:
    """WSD over several budgets: after each decayed checkpoint the lr is the peak again.

    By default each decay is a fifth of the steps since the checkpoint before and goes 1-sqrt to
    0, as in `build_wsd`; with one checkpoint the two are the same schedule. The warmup is
    by default that of the first checkpoint, whose model has no other.

    Source:
        Wen et al. 2024 (arXiv 2410.05192): each decayed checkpoint starts the next stable phase.
        A decay as a share of its own period: OLMo-ladder's WSD-S and Marin 8B, which use a tenth.
    """
    found = request.checkpoints
    if not found:
        raise InputError("schedule wsd-s: no checkpoints; name two budgets or more, or use wsd")
    for earlier, later in pairwise((Checkpoint(0), *found)):
        if later.step <= earlier.step:
            raise InputError(
                f"schedule wsd-s: checkpoint at step {later.step} is not after {earlier.step}"
            )
    if found[-1].step != request.steps:
        raise InputError(
            f"schedule wsd-s: last checkpoint at step {found[-1].step}, but steps {request.steps};"
            " the last budget is the whole run"
        )
    schedule = _chain(request, found, shape="1-sqrt", final=0.0)
    if request.decay_steps not in (None, schedule.decay_steps):
        sum_of_decays = " + ".join(str(point.decay_steps) for point in schedule.checkpoints)
        raise InputError(
            f"schedule wsd-s: decay {request.decay_steps} != {sum_of_decays} of its checkpoints; "
            "give each checkpoint its own decay"
        )
    return schedule


def build_linear(request: ScheduleRequest) -> Schedule:
    """Warmup, then linear all the way: by default to 0.

    Source:
        Defazio et al. 2023 (arXiv 2310.07831); Bergsma et al. 2025 (arXiv 2502.15938).
    """
    return _decay_all_the_way(request, shape="linear", final=0.0)


def build_cosine(request: ScheduleRequest) -> Schedule:
    """Warmup, then half a cosine: by default to 10% of the peak.

    Source:
        Loshchilov and Hutter 2017 (arXiv 1608.03983); 10% is GPT-3's (arXiv 2005.14165).
    """
    return _decay_all_the_way(request, shape="cosine", final=0.1)


def build_constant(request: ScheduleRequest) -> Schedule:
    """Warmup, then the peak to the end."""
    warmup = _warmup_steps(request, request.steps)
    if warmup > request.steps:
        raise InputError(f"schedule constant: warmup {warmup} > steps {request.steps}")
    for name, value, own in (
        ("decay", request.decay_steps, 0),
        ("decay shape", request.decay_shape, None),
        ("final lr fraction", request.final_lr_fraction, 1.0),
    ):
        if value not in (None, own):
            raise InputError(f"schedule constant: {name} {value}, but it never decays; use wsd")
    stages = (*_to_peak("warmup", warmup), *_to_peak("stable", request.steps - warmup))
    return Schedule(kind=request.kind, stages=stages, decay_shape=None, final_lr_fraction=1.0)


def _check_request(request: ScheduleRequest) -> None:
    """Refuse what no kind could be built from."""
    where = f"schedule {request.kind}"
    if request.steps < 1:
        raise InputError(f"{where}: steps {request.steps}; a run has at least 1")
    if request.warmup_steps is not None and request.warmup_steps < 0:
        raise InputError(f"{where}: warmup {request.warmup_steps}; 0 steps or more")
    final = request.final_lr_fraction
    if final is not None and not 0 <= final <= 1:
        raise InputError(f"{where}: final lr fraction {final}; a fraction of the peak in 0..1")
    shape = request.decay_shape
    if shape is not None and shape not in SHAPES:
        raise InputError(
            f"{where}: decay shape '{shape}' is not known{nearest_name(shape, SHAPES)}; "
            f"known: {', '.join(SHAPES)}"
        )
    if request.checkpoints and request.kind != "wsd-s":
        raise InputError(f"{where}: checkpoints belong to schedule wsd-s")


def _decay_all_the_way(request: ScheduleRequest, *, shape: str, final: float) -> Schedule:
    """Warmup and one decay over all that is left."""
    where = f"schedule {request.kind}"
    warmup = _warmup_steps(request, request.steps)
    rest = max(1, request.steps - warmup)
    if request.decay_shape not in (None, shape):
        raise InputError(f"{where}: decay shape '{request.decay_shape}' is not {shape}; use wsd")
    decay = rest if request.decay_steps is None else request.decay_steps
    if 1 <= decay < rest:
        raise InputError(
            f"{where}: warmup {warmup} + decay {decay} < steps {request.steps}; "
            f"it has no stable phase: use wsd with decay shape {shape}"
        )
    return _chain(request, [Checkpoint(request.steps, decay)], shape=shape, final=final)


def _chain(
    request: ScheduleRequest, budgets: Sequence[Checkpoint], *, shape: str, final: float
) -> Schedule:
    """Warmup, then a stable phase and a decay for each budget; `shape`, `final` are defaults."""
    shape = request.decay_shape or shape
    final = final if request.final_lr_fraction is None else request.final_lr_fraction
    warmup = _warmup_steps(request, budgets[0].step)
    stages = [*_to_peak("warmup", warmup)]
    done = 0
    for budget in budgets:
        period = budget.step - done
        decay = budget.decay_steps
        if decay is None:
            decay = max(1, round(period / WSD_DECAY_SHARE))
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
        stages += _to_peak("stable", stable)
        stages.append(Stage(role="decay", steps=decay, start=1.0, end=final, shape=shape))
        done = budget.step
    return Schedule(
        kind=request.kind, stages=tuple(stages), decay_shape=shape, final_lr_fraction=final
    )


def _warmup_steps(request: ScheduleRequest, steps: int) -> int:
    """The warmup asked for, or the default of a run of `steps`."""
    if request.warmup_steps is not None:
        return request.warmup_steps
    return default_warmup_steps(steps)


def _to_peak(role: Literal["warmup", "stable"], steps: int) -> tuple[Stage, ...]:
    """A rise from 0 to the peak or a stay at it, or nothing where it has no steps."""
    start = 0.0 if role == "warmup" else 1.0
    return (Stage(role=role, steps=steps, start=start, end=1.0),) if steps else ()


SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda p: p,
    "1-sqrt": math.sqrt,
    "cosine": lambda p: (1 - math.cos(math.pi * p)) / 2,
}
"""How far a stage has travelled, q(p) with q(0) = 0 and q(1) = 1, by the name of its decay."""

KINDS: Mapping[str, Callable[[ScheduleRequest], Schedule]] = {
    "wsd": build_wsd,
    "linear": build_linear,
    "cosine": build_cosine,
    "wsd-s": build_wsd_s,
    "constant": build_constant,
}
"""A schedule by name: what it builds from a request."""
