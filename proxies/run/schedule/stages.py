"""A schedule as a chain of stages, and its value at one step, at many, and at every update.

Each stage goes from one fraction of the peak lr to another by a shape, p its own progress in
[0, 1]. Most shapes travel a share q(p) of the way: value = start (1 - q) + end q.

Sources: decay shapes Hägele et al. 2024 (arXiv 2405.18392); the exponential decay to 0 is
Megatron-LM's; the inverse square root is that of Vaswani et al. 2017 (arXiv 1706.03762).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Role = Literal["warmup", "stable", "decay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stretch of a schedule."""

    role: Role
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
    """Its name: a key of `KINDS`, `csv`, `refined`, or two of them joined by `+`."""
    stages: tuple[Stage, ...]
    """In order; their lengths add up to `steps`."""
    decay_shape: str | None
    """A key of `SHAPES`; None where nothing decays, or not by one shape."""
    final_lr_fraction: float
    """lr(S) / peak, in [0, 1]."""
    ends: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Step where each stage ends, rising."""

    def __post_init__(self) -> None:
        """Add up the stages once, for every later look-up."""
        ends = tuple(accumulate(stage.steps for stage in self.stages))
        object.__setattr__(self, "ends", ends)

    @property
    def steps(self) -> int:
        """Optimizer steps S: warmup, stable and decay add up to it exactly."""
        return self.ends[-1]

    @property
    def warmup_steps(self) -> int:
        """Steps before the peak."""
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
        found, length = [], 0
        after = (*self.stages[1:], None)
        for stage, end, following in zip(self.stages, self.ends, after, strict=True):
            if stage.role != "decay":
                continue
            length += stage.steps
            if following is None or following.role != "decay" or following.start > stage.end:
                found.append(Checkpoint(end, length))
                length = 0
        return tuple(found)

    def _length(self, role: Role) -> int:
        return sum(stage.steps for stage in self.stages if stage.role == role)


def lr_fraction(schedule: Schedule, s: float) -> float:
    """lr(s) / peak at progress `s`, by plain floats.

    Continuous but where a stage begins elsewhere than the one before it ended, as WSD-S after
    each checkpoint: there the value *at* the step is the earlier stage's, and the later one's at
    any s above it.

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
    number = bisect_left(schedule.ends, s)
    stage = schedule.stages[number]
    return stage_fraction(stage, (s - (schedule.ends[number] - stage.steps)) / stage.steps)


def lr_fractions(schedule: Schedule, points: ArrayLike) -> NDArray[np.float64]:
    """lr(s) / peak at every s of an array, to the last bit what `lr_fraction` says.

    Args:
        schedule: the schedule.
        points: progress s in [0, S], of any shape.

    Returns:
        The fractions, in [0, 1], in the shape of the points.

    Raises:
        InputError: a point outside [0, S].
    """
    # Imported here because a plan reads schedules without arrays.
    import numpy as np

    s = np.asarray(points, dtype=float)
    outside = s[~((s >= 0) & (s <= schedule.steps))]
    if outside.size:
        raise InputError(
            f"schedule {schedule.kind}: step {outside.flat[0]:g} is outside 0..{schedule.steps}"
        )
    flat = s.ravel()
    lengths = np.array([stage.steps for stage in schedule.stages])
    begins = np.array(schedule.ends) - lengths
    stage_of = np.searchsorted(schedule.ends, flat, side="left")
    progress = (flat - begins[stage_of]) / lengths[stage_of]
    # One by one, for numpy's cosine and powers differ from math's in the last bit.
    fractions = [
        stage_fraction(schedule.stages[number], p)
        for number, p in zip(stage_of.tolist(), progress.tolist(), strict=True)
    ]
    return np.array(fractions, dtype=float).reshape(s.shape)


def update_fractions(schedule: Schedule) -> NDArray[np.float64]:
    """lr / peak of every update s = 1..S, as the proxies and the plan use it."""
    import numpy as np

    return lr_fractions(schedule, np.arange(1, schedule.steps + 1))


def stage_fraction(stage: Stage, progress: float) -> float:
    """The fraction of the peak at `progress` of a stage, 0..1; exact at both ends."""
    if progress == 1 or stage.start == stage.end:
        return stage.end
    return SHAPES[stage.shape](stage.start, stage.end, progress)


def share_of_peak(lr: float, peak: float, *, where: str) -> float:
    """An absolute lr as a fraction of the peak, as Step Law's fixed final lr of 1e-5 is given.

    Args:
        lr: the absolute lr, 0 or more.
        peak: the peak lr, above 0.
        where: what the lr was given as, for the message.

    Raises:
        InputError: the lr is not in [0, peak].

    Example:
        >>> share_of_peak(1e-5, 1e-3, where="--final-lr")
        0.01
    """
    if not 0 <= lr <= peak:
        raise InputError(f"{where} {lr:g}: must be from 0 to the peak lr of {peak:g}")
    return lr / peak


def travel(share: Callable[[float], float]) -> Callable[[float, float, float], float]:
    """The shape that has gone `share(p)` of the way from start to end, from 0 at 0 to 1 at 1."""

    def value(start: float, end: float, progress: float) -> float:
        done = share(progress)
        return start * (1 - done) + end * done

    return value


def exponential(start: float, end: float, progress: float) -> float:
    """By the same factor at every step: start^(1 - p) end^p; both above 0."""
    return float(start ** (1 - progress) * end**progress)


def inverse_sqrt(start: float, end: float, progress: float) -> float:
    """As 1 / sqrt of the steps: value^-2 is linear in p; both above 0."""
    # hypot, for the square of start / end may be more than a float holds.
    return start / math.hypot(math.sqrt(1 - progress), math.sqrt(progress) * (start / end))


def drop(start: float, end: float, progress: float) -> float:
    """At once, right after the first moment."""
    return start if progress == 0 else end


SHAPES: Mapping[str, Callable[[float, float, float], float]] = {
    "linear": travel(lambda p: p),
    "1-sqrt": travel(math.sqrt),
    "cosine": travel(lambda p: (1 - math.cos(math.pi * p)) / 2),
    "square": travel(lambda p: p * p),
    "2^(1-p)-1": travel(lambda p: 2 - 2 * 0.5**p),
    "exponential": exponential,
    "inverse-sqrt": inverse_sqrt,
    "drop": drop,
}
"""The value at progress p between two ends, shape(start, end, p), by the name of its decay."""

NEVER_TO_ZERO = ("exponential", "inverse-sqrt", "drop")
"""Shapes that must end above 0: two would need for ever, and a drop to 0 would not train."""
