"""The schedules by name: from what was asked to stages that add up to the steps exactly.

Sources: Hu et al. 2024 (arXiv 2404.06395, WSD); Wen et al. 2024 (arXiv 2410.05192, WSD-S);
Defazio et al. 2023 (arXiv 2310.07831) and Bergsma et al. 2025 (arXiv 2502.15938), linear to zero;
Luo et al. 2025 (arXiv 2503.12811), two-stage; Vaswani et al. 2017 (arXiv 1706.03762), inverse
square root.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.run.defaults import DECAY_SHAPE, FINAL_LR_FRACTION
from proxies.run.schedule.request import (
    ScheduleRequest,
    chain_stages,
    check_request,
    decay_all_the_way,
    rise,
    stay,
    warmup_of,
)
from proxies.run.schedule.stages import Checkpoint, Schedule, lr_fraction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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
    final lr. `build_schedule` takes the same as one request, and where the warmup begins too.

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
    return build_schedule(
        ScheduleRequest(
            kind=kind,
            steps=steps,
            warmup_steps=warmup_steps,
            decay_steps=decay_steps,
            decay_shape=decay_shape,
            final_lr_fraction=final_lr_fraction,
            checkpoints=tuple(checkpoints),
        )
    )


def build_schedule(request: ScheduleRequest) -> Schedule:
    """The schedule that was asked for; see `make_schedule`.

    Raises:
        InputError: as `make_schedule`.
    """
    kind = request.kind
    if kind not in KINDS:
        raise InputError(
            f"schedule '{kind}': no such schedule{nearest_name(kind, KINDS)}; "
            f"known: {', '.join(KINDS)}"
        )
    check_request(request)
    schedule = KINDS[kind](request)
    if lr_fraction(schedule, 1) == 0:
        raise InputError(
            f"schedule {kind}: update 1 of {schedule.steps} has lr 0; "
            "give a warmup of 1 step, a longer decay or a final lr above 0"
        )
    return schedule


def build_wsd(request: ScheduleRequest) -> Schedule:
    """Warmup, stable, decay: by default the last fifth, 1-sqrt to 0.

    Source:
        Hu et al. 2024 (arXiv 2404.06395); shape and ranking Hägele et al. 2024 (2405.18392).
    """
    budget = Checkpoint(request.steps, request.decay_steps)
    return chain_stages(request, [budget], shape=DECAY_SHAPE, final=0.0)


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
    schedule = chain_stages(request, found, shape=DECAY_SHAPE, final=0.0)
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
    return decay_all_the_way(request, shape="linear", final=0.0)


def build_cosine(request: ScheduleRequest) -> Schedule:
    """Warmup, then half a cosine: by default to 10% of the peak.

    Source:
        Loshchilov and Hutter 2017 (arXiv 1608.03983); 10% is GPT-3's (arXiv 2005.14165).
    """
    return decay_all_the_way(request, shape="cosine", final=FINAL_LR_FRACTION)


def build_constant(request: ScheduleRequest) -> Schedule:
    """Warmup, then the peak to the end."""
    warmup = warmup_of(request, request.steps)
    if warmup > request.steps:
        raise InputError(f"schedule constant: warmup {warmup} > steps {request.steps}")
    for name, value, own in (
        ("decay", request.decay_steps, 0),
        ("decay shape", request.decay_shape, None),
        ("final lr fraction", request.final_lr_fraction, 1.0),
    ):
        if value not in (None, own):
            raise InputError(f"schedule constant: {name} {value}, but it never decays; use wsd")
    stages = (*rise(request, warmup), *stay(request.steps - warmup))
    return Schedule(kind=request.kind, stages=stages, decay_shape=None, final_lr_fraction=1.0)


def build_inverse_sqrt(request: ScheduleRequest) -> Schedule:
    """Warmup over w steps, then peak / sqrt(1 + (s - w) / w); a final fraction sets it instead.

    Source:
        Vaswani et al. 2017 (arXiv 1706.03762): the timescale of the decay is the warmup.
    """
    warmup = warmup_of(request, request.steps)
    if warmup < 1 and request.final_lr_fraction is None:
        raise InputError(
            "schedule inverse-sqrt: warmup 0, but it is the timescale of the decay; "
            "give a warmup or a final lr"
        )
    own = (warmup / max(request.steps, warmup)) ** 0.5
    return decay_all_the_way(request, shape="inverse-sqrt", final=own)


def build_two_stage(request: ScheduleRequest) -> Schedule:
    """Warmup, the peak, then at once a lower lr that stays: `decay_steps` at the final fraction.

    Source:
        Luo et al. 2025 (arXiv 2503.12811), whose wsdcon curves are these.
    """
    if request.decay_steps is None or request.final_lr_fraction is None:
        raise InputError(
            "schedule two-stage: has no default drop; give decay steps (those at the lower lr) "
            "and the final lr"
        )
    if request.decay_shape not in (None, "drop"):
        raise InputError(
            f"schedule two-stage: decay shape '{request.decay_shape}' is not drop; use wsd"
        )
    budget = Checkpoint(request.steps, request.decay_steps)
    return chain_stages(request, [budget], shape="drop", final=request.final_lr_fraction)


KINDS: Mapping[str, Callable[[ScheduleRequest], Schedule]] = {
    "wsd": build_wsd,
    "linear": build_linear,
    "cosine": build_cosine,
    "wsd-s": build_wsd_s,
    "constant": build_constant,
    "inverse-sqrt": build_inverse_sqrt,
    "two-stage": build_two_stage,
}
"""A schedule by name: what it builds from a request."""

NOT_FOR_PLANS: Mapping[str, str] = {
    "two-stage": "where the lr drops and to what",
    "csv": "a file of steps and lrs",
    "refined": "gradient norms of a run",
}
"""Schedules that need what a plan does not have, and what that is."""
