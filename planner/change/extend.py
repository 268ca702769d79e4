"""A run made longer: from which step, with what decay, and what the longer run wanted instead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import format_count
from planner.change.base import Underway, go_on, level, replan
from planner.change.change import Change, Number, Track
from planner.facts.changes import nearest_cases
from planner.request.choices import Pins
from proxies.run.schedule.extend import EXTENSIONS, ExtendedSchedule, extend_schedule

if TYPE_CHECKING:
    from planner.plan.draft import Draft


def extend_run(under: Underway, *, tokens: float) -> Change:
    """The same run to more tokens.

    Args:
        under: the run, finished or in its stable phase.
        tokens: of the whole longer run, more than before.

    Raises:
        InputError: not more tokens, or a schedule that cannot be made longer.
    """
    plan, batch = under.plan, under.run.batch_tokens
    steps = math.ceil(tokens / batch)
    if under.run.schedule.kind not in EXTENSIONS:
        raise InputError(
            f"change extend: schedule {under.run.schedule.kind} depends on its "
            f"{under.run.schedule.steps} steps from its first decay on, so no step of it belongs "
            "to a longer run; use plan change continual, which warms up again"
        )
    if steps <= under.run.schedule.steps:
        raise InputError(
            f"change extend --tokens {format_count(tokens)}: the run has "
            f"{format_count(plan.target.tokens)} already ({under.run.schedule.steps} steps); give "
            "more"
        )
    found = extend_schedule(under.run.schedule, steps)
    ratio = level(under)
    kept = Pins(batch_tokens=float(batch))
    best = replan(under, pins=kept, tokens=tokens)
    free = replan(under, pins=Pins(), tokens=tokens)
    # The pinned lr lies as far from the laws' as the run's own level lets it.
    stay = replan(
        under,
        pins=Pins(
            lr=under.run.lr / ratio, batch_tokens=float(batch), weight_decay=under.run.weight_decay
        ),
        tokens=tokens,
    )
    fixed = replan(
        under,
        pins=Pins(
            lr=under.run.lr,
            batch_tokens=float(batch),
            weight_decay=under.run.weight_decay,
            warmup_steps=under.run.schedule.warmup_steps,
        ),
        tokens=tokens,
    )
    return Change(
        kind="extend",
        title=f"{format_count(plan.target.tokens)} tokens made {format_count(tokens)}",
        numbers=tuple(extend_numbers(under, found, best=best, free=free, stay=stay)),
        notes=tuple(extend_notes(under, found, stay)),
        nearest=nearest_cases("extend", params=plan.target.params, tokens=tokens),
        plan=go_on(fixed, under, found.schedule, loss=stay.numbers.loss),
        track=Track(
            schedule=found.schedule,
            peak_lr=under.run.lr,
            start=found.resume_step,
            steps=steps - found.resume_step,
            offset=found.resume_step,
        ),
    )


def extend_numbers(
    under: Underway, found: ExtendedSchedule, *, best: Draft, free: Draft, stay: Draft
) -> list[Number]:
    """Where to go on from, and the longer run's own optimum beside what it keeps."""
    from proxies.run.schedule.convex_bound import transferred_lr

    ratio = level(under)
    low, high = best.derivation.lr.interval()
    cost = stay.derivation.pin_cost
    before = own_weight_decay(under, under.plan.target.tokens)
    after = own_weight_decay(under, stay.target.tokens)
    return [
        *step_numbers(under, found),
        Number(
            name="peak lr, kept",
            before=under.run.lr,
            after=under.run.lr,
            exact=True,
            source="shared steps have it",
        ),
        Number(
            name="best lr at this batch",
            before=under.run.lr,
            after=best.derivation.lr.value * ratio,
            low=None if low is None else low * ratio,
            high=None if high is None else high * ratio,
            source=moved_by(best),
        ),
        Number(
            name="best lr, convex bound",
            before=under.run.lr,
            after=transferred_lr(under.run.lr, under.run.schedule, found.schedule),
            source="arXiv 2501.18965, batch and norms kept",
        ),
        Number(
            name="best batch, tokens",
            before=under.run.batch_tokens,
            after=free.numbers.batch_tokens.value,
            low=free.numbers.batch_tokens.low,
            high=free.numbers.batch_tokens.high,
            source=free.numbers.batch_tokens.law,
        ),
        Number(
            name="best weight decay at this lr",
            before=under.run.weight_decay,
            after=under.run.weight_decay * after / before,
            source=f"{best.derivation.laws['weight_decay'].name}, ratio",
        ),
        Number(
            name="cost of staying, % of loss",
            before=None,
            after=None if cost is None else 100 * cost,
            source="measured surface, lr and batch" if cost is not None else "surface ends before",
        ),
    ]


def step_numbers(under: Underway, found: ExtendedSchedule) -> list[Number]:
    """Where the two runs part, and how long the second is."""
    return [
        Number(
            name="resume after step",
            before=None,
            after=found.resume_step,
            exact=True,
            source="end of what both runs share",
        ),
        Number(
            name="steps",
            before=under.run.schedule.steps,
            after=found.schedule.steps,
            exact=True,
            source="tokens / batch",
        ),
        Number(
            name="decay steps",
            before=under.run.schedule.decay_steps,
            after=found.schedule.decay_steps,
            exact=True,
            source="the same share of the run; arXiv 2405.18392",
        ),
    ]


def own_weight_decay(under: Underway, tokens: float) -> float:
    """The law's weight decay at the run's own lr and batch, for a number of tokens."""
    pins = Pins(lr=under.run.lr, batch_tokens=float(under.run.batch_tokens))
    return replan(under, pins=pins, tokens=tokens).derivation.weight_decay.value


def moved_by(draft: Draft) -> str:
    """The laws behind an lr, in a few words."""
    move = draft.derivation.lr_move
    law = draft.derivation.law_lr.name
    return law if move is None else f"{law}, batch by {move.rule}"


def extend_notes(under: Underway, found: ExtendedSchedule, stay: Draft) -> list[str]:
    """What is thrown away, and what is not known."""
    notes = []
    lost = under.run.schedule.steps - found.resume_step
    if lost > 0:
        notes.append(
            f"the {lost} steps of the old decay ({format_count(lost * under.run.batch_tokens)} "
            "tokens) are not part of the longer run: it needs the checkpoint of step "
            f"{found.resume_step}"
        )
    if stay.derivation.pin_cost is None:
        notes.append(
            "cost of the kept lr and batch: not known, the measured surface does not reach here"
        )
    notes.append("cost of the kept weight decay: not known, no surface has it as an axis")
    return notes
