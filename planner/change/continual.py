"""Going on with a finished model on more data: how high and how long to warm up again.

The peak is that of the first run and the warmup about a hundredth of the new one, whose length
hardly matters; then a cosine to a tenth of the peak. Sources: Gupta et al. 2023 (arXiv
2308.04014), Ibrahim et al. 2024 (arXiv 2403.08763, recalled).
"""

from __future__ import annotations

import math
from dataclasses import replace

from fitting.errors import InputError, nearest_name
from fitting.units import format_count, format_small
from planner.change.base import Underway, go_on, level, replan, timescale_tokens
from planner.change.change import Change, Number, Track
from planner.facts.changes import nearest_cases
from planner.request.choices import Pins, check_range
from proxies.run.defaults import LR_BOUNDS
from proxies.run.schedule import Schedule, ScheduleRequest, build_schedule

WARMUP_SHARE = 0.01
"""Of the new run's steps (arXiv 2403.08763, recalled)."""

TESTED_WARMUP = (0.0, 0.02)
"""Shares of the new run that ended alike (arXiv 2308.04014, recalled)."""

REPLAY = {"none": 0.0, "weak": 0.05, "strong": 0.25}
"""Share of old data in the new run by how far the data shift (arXiv 2403.08763, recalled)."""


def continue_run(
    under: Underway, *, tokens: float, peak: float | None = None, shift: str = "weak"
) -> Change:
    """A finished run taken up again on new tokens.

    Args:
        under: the finished run.
        tokens: of the new run alone.
        peak: lr to warm up to; None for the first run's.
        shift: a key of `REPLAY`.

    Raises:
        InputError: too few tokens, an unknown shift, or a peak under the lr the run ended at.
    """
    if shift not in REPLAY:
        raise InputError(
            f"--shift '{shift}': not known{nearest_name(shift, REPLAY)}; one of {', '.join(REPLAY)}"
        )
    check_range("--peak", peak, LR_BOUNDS)
    steps = math.ceil(tokens / under.run.batch_tokens)
    if steps < 2:
        raise InputError(
            f"change continual --tokens {format_count(tokens)}: {steps} step at a batch of "
            f"{format_count(under.run.batch_tokens)}; a schedule needs 2"
        )
    peak = peak or under.run.lr
    ended = under.run.lr * under.run.schedule.final_lr_fraction
    if peak < ended:
        raise InputError(
            f"--peak {peak:g}: under {ended:g}, the lr the run ended at; there is nothing to warm"
        )
    schedule = rewarm(steps, start=ended / peak)
    pins = Pins(
        lr=peak,
        batch_tokens=float(under.run.batch_tokens),
        weight_decay=under.run.weight_decay,
        warmup_steps=schedule.warmup_steps,
    )
    fixed = replan(under, pins=pins, tokens=tokens, schedule="cosine")
    loss = replace(fixed.numbers.loss, low=None, high=None, elsewhere=None)
    return Change(
        kind="continual",
        title=f"{format_count(under.plan.target.tokens)} tokens gone on from with "
        f"{format_count(tokens)} new ones",
        numbers=tuple(continual_numbers(under, schedule, tokens=tokens, peak=peak, shift=shift)),
        notes=tuple(continual_notes(under, ended)),
        nearest=nearest_cases("continual", params=under.plan.target.params, tokens=tokens),
        plan=go_on(fixed, under, rewarm(steps, start=0.0), loss=loss),
        track=Track(schedule=schedule, peak_lr=peak, steps=steps),
    )


def rewarm(steps: int, *, start: float) -> Schedule:
    """A warmup from a fraction of the peak over a hundredth of the steps, then cosine to 10%."""
    return build_schedule(
        ScheduleRequest(
            kind="cosine",
            steps=steps,
            warmup_steps=max(1, round(WARMUP_SHARE * steps)),
            start_lr_fraction=start,
        )
    )


def continual_numbers(
    under: Underway, schedule: Schedule, *, tokens: float, peak: float, shift: str
) -> list[Number]:
    """Peak, warmup, replay and timescale of the new run."""
    together = under.plan.target.tokens + tokens
    law = replan(
        under, pins=Pins(batch_tokens=float(under.run.batch_tokens)), tokens=together
    ).derivation.lr
    ratio = level(under)
    low, high = law.interval()
    scales = [
        timescale_tokens(
            batch_tokens=under.run.batch_tokens, lr=lr, weight_decay=under.run.weight_decay
        )
        for lr in (under.run.lr, peak)
    ]
    return [
        *schedule_numbers(under, schedule, peak=peak),
        Number(
            name="share of old data replayed",
            before=None,
            after=REPLAY[shift],
            source=f"{shift} shift; 2403.08763 (recalled)",
        ),
        Number(
            name="weight decay",
            before=under.run.weight_decay,
            after=under.run.weight_decay,
            source="kept, as the published runs",
        ),
        Number(
            name="AdamW timescale, tokens",
            before=scales[0],
            after=scales[1],
            exact=True,
            source="B / (lr wd); arXiv 2405.13698",
        ),
        Number(
            name="best lr of all tokens in one run",
            before=under.run.lr,
            after=law.value * ratio,
            low=None if low is None else low * ratio,
            high=None if high is None else high * ratio,
            source=law.name,
        ),
    ]


def schedule_numbers(under: Underway, schedule: Schedule, *, peak: float) -> list[Number]:
    """How the lr rises again and how far it falls."""
    return [
        Number(
            name="peak lr, re-warmed",
            before=under.run.lr,
            after=peak,
            source="the same peak again; arXiv 2308.04014"
            if peak == under.run.lr
            else "--peak; half and twice the old peak were tried in 2308.04014 (recalled)",
        ),
        Number(
            name="warmup steps",
            before=under.run.schedule.warmup_steps,
            after=schedule.warmup_steps,
            low=TESTED_WARMUP[0] * schedule.steps,
            high=TESTED_WARMUP[1] * schedule.steps,
            source="1%, all of 0 to 2% alike; 2308.04014 (recalled)",
        ),
        Number(
            name="steps",
            before=under.run.schedule.steps,
            after=schedule.steps,
            exact=True,
            source="tokens / batch",
        ),
        Number(
            name="last lr",
            before=under.run.lr * under.run.schedule.final_lr_fraction,
            after=peak * schedule.final_lr_fraction,
            source="cosine to 10%; 2403.08763 (recalled)",
        ),
    ]


def continual_notes(under: Underway, ended: float) -> list[str]:
    """What to expect and what is not known."""
    notes = [
        "the loss rises on both data sets while the lr does, and falls below later: judge after "
        "the decay, not after the warmup",
        "loss on the new data: not known; the plan's is that of a fresh run on as many tokens",
        "a higher peak learns the new data faster and forgets more of the old (recalled)",
    ]
    if ended > 0:
        notes.append(
            f"a plan's warmup starts at 0; --csv has it start at {format_small(ended)}, where the "
            "first run ended"
        )
    return notes
