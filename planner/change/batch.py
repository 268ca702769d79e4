"""Another batch in mid-run: lr, weight decay, betas and schedule that keep AdamW's timescale.

With k = new / old batch: lr times sqrt(k) up to the best batch and by the measured factor above
it; weight decay so that B / (lr wd) tokens stay; beta2 to the power k, which keeps its half-life
in tokens; the schedule goes on by tokens. Sources: Malladi et al. 2022 (arXiv 2205.10287), Wang
and Aitchison 2024 (2405.13698), Marek et al. 2025 (2507.07101).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.laws.evaluate import evaluate_law
from fitting.units import format_count
from planner.change.base import Underway, go_on, replan, timescale_tokens
from planner.change.change import Change, Number, Track
from planner.facts.changes import nearest_cases
from planner.facts.laws import CRITICAL_LAW
from planner.recommendation.anchored import move_between
from planner.request.choices import Pins
from proxies.run.schedule import Schedule, lr_fraction, make_schedule

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.plan.document import Plan

ADAMS = ("adamw", "muon")
"""Optimizers with a second moment, whose half-life a batch moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The run's numbers after the change."""

    step: int
    """Last step of the old batch."""
    sequences: int
    ratio: float
    """New over old batch."""
    factor: float
    """New over old lr."""
    sqrt_factor: float
    measured_factor: float
    best_batch: float
    """Best batch of the whole run in tokens, by the law."""
    lr: float
    weight_decay: float
    beta2: float | None
    """None where the optimizer has no second moment."""


def change_batch(under: Underway, *, batch_tokens: float, at_token: float) -> Change:
    """Another batch from a token on.

    Args:
        under: the run, on its way.
        batch_tokens: the new batch.
        at_token: tokens done when it changes.

    Raises:
        InputError: a change outside the run, or a batch that leaves no step.
    """
    plan = under.plan
    step = round(at_token / under.run.batch_tokens)
    if not 0 < step < under.run.schedule.steps:
        raise InputError(
            f"--at-token {format_count(at_token)}: not inside the run of "
            f"{format_count(plan.target.tokens)} tokens"
        )
    sequences = max(1, round(batch_tokens / plan.target.seq_len))
    if sequences == plan.batch_sequences:
        raise InputError(
            f"--batch {format_count(batch_tokens)}: is the run's batch already ({sequences} "
            f"sequences of {plan.target.seq_len})"
        )
    batch = sequences * plan.target.seq_len
    left = under.run.schedule.steps * under.run.batch_tokens - step * under.run.batch_tokens
    steps = math.ceil(left / batch)
    if steps < 2:
        raise InputError(
            f"--batch {format_count(batch_tokens)}: leaves {steps} step for the "
            f"{format_count(left)} tokens after --at-token; take a smaller one"
        )
    moved = move_numbers(under, step=step, sequences=sequences)
    rest = rest_of(under.run.schedule, step=step, ratio=moved.ratio, steps=steps)
    return Change(
        kind="batch",
        title=f"batch {format_count(under.run.batch_tokens)} to {format_count(batch)} tokens after "
        f"step {step} ({format_count(step * under.run.batch_tokens)} tokens)",
        numbers=tuple(batch_numbers(under, moved, steps=steps)),
        notes=tuple(batch_notes(under, moved, rest)),
        nearest=nearest_cases(
            "batch", params=plan.target.params, tokens=step * under.run.batch_tokens
        ),
        plan=None if rest is None else rest_plan(under, moved, rest, tokens=float(left)),
        track=Track(
            schedule=under.run.schedule,
            peak_lr=moved.lr,
            start=step,
            rate=moved.ratio,
            steps=steps,
            offset=step,
        ),
    )


def move_numbers(under: Underway, *, step: int, sequences: int) -> Moved:
    """lr, weight decay and beta2 at the new batch."""
    said = replan(under, pins=Pins()).derivation
    best = said.free_batch.value
    batch = float(sequences * under.plan.target.seq_len)
    ratio = batch / under.run.batch_tokens

    def measured(start: float, end: float) -> float:
        move = move_between(said.sources, said.ground, start=start, end=end)
        return 1.0 if move is None else move.factor

    below = math.sqrt(min(batch, best) / min(under.run.batch_tokens, best))
    factor = below * measured(max(under.run.batch_tokens, best), max(batch, best))
    adam = under.plan.optimizer.name in ADAMS
    return Moved(
        step=step,
        sequences=sequences,
        ratio=ratio,
        factor=factor,
        sqrt_factor=math.sqrt(ratio),
        measured_factor=measured(float(under.run.batch_tokens), batch),
        best_batch=best,
        lr=under.run.lr * factor,
        weight_decay=under.run.weight_decay * ratio / factor,
        beta2=under.plan.optimizer.beta2**ratio if adam else None,
    )


def rest_of(schedule: Schedule, *, step: int, ratio: float, steps: int) -> Schedule | None:
    """What is left of a schedule as one that a plan can say; None where none can.

    A stable phase and its decay, or a linear decay, whose rest is a linear decay from where it is.
    """
    if schedule.kind == "constant" and step >= schedule.warmup_steps:
        return make_schedule("constant", steps=steps, warmup_steps=0)
    if schedule.kind == "wsd" and (
        schedule.warmup_steps <= step <= schedule.steps - schedule.decay_steps
    ):
        return make_schedule(
            "wsd",
            steps=steps,
            warmup_steps=0,
            decay_steps=min(steps, max(1, round(schedule.decay_steps / ratio))),
            decay_shape=schedule.decay_shape,
            final_lr_fraction=schedule.final_lr_fraction,
        )
    if schedule.kind == "linear" and step >= schedule.warmup_steps:
        here = lr_fraction(schedule, step)
        return make_schedule(
            "linear",
            steps=steps,
            warmup_steps=0,
            final_lr_fraction=schedule.final_lr_fraction / here,
        )
    return None


def rest_plan(under: Underway, moved: Moved, rest: Schedule, *, tokens: float) -> Plan:
    """The plan of the tokens that are left; its loss is the whole run's."""
    peak = moved.lr
    if rest.kind == "linear":
        peak *= lr_fraction(under.run.schedule, moved.step)
    pins = Pins(
        lr=peak,
        batch_tokens=float(moved.sequences * under.plan.target.seq_len),
        weight_decay=moved.weight_decay,
        warmup_steps=0,
    )
    fixed = replan(under, pins=pins, tokens=tokens, schedule=rest.kind)
    plan = go_on(fixed, under, rest, loss=under.plan.loss, warnings=())
    if moved.beta2 is None:
        return plan
    run = replace(plan.run, optimizer=replace(plan.run.optimizer, beta2=moved.beta2))
    if run.own_groups is not None:
        groups = tuple(
            replace(group, betas=(group.betas[0], moved.beta2)) if len(group.betas) == 2 else group
            for group in run.own_groups
        )
        run = replace(run, own_groups=groups)
    return replace(plan, run=run)


def batch_numbers(under: Underway, moved: Moved, *, steps: int) -> list[Number]:
    """Everything that moves with the batch, and what stays."""
    plan = under.plan
    batch = moved.sequences * plan.target.seq_len
    spread = sorted(under.run.lr * factor for factor in (moved.sqrt_factor, moved.measured_factor))
    scales = [
        timescale_tokens(batch_tokens=size, lr=lr, weight_decay=decay)
        for size, lr, decay in (
            (under.run.batch_tokens, under.run.lr, under.run.weight_decay),
            (batch, moved.lr, moved.weight_decay),
        )
    ]
    numbers = [
        Number(
            name="batch, tokens",
            before=under.run.batch_tokens,
            after=batch,
            exact=True,
            source="as asked",
        ),
        Number(
            name="steps left",
            before=under.run.schedule.steps - moved.step,
            after=steps,
            exact=True,
            source="tokens left / batch",
        ),
        Number(
            name="peak lr",
            before=under.run.lr,
            after=moved.lr,
            low=spread[0],
            high=spread[1],
            source=lr_source(moved, float(under.run.batch_tokens), float(batch)),
        ),
        Number(
            name="lr of the next step",
            before=under.run.lr * lr_fraction(under.run.schedule, moved.step),
            after=moved.lr * lr_fraction(under.run.schedule, moved.step),
            exact=True,
            source="the schedule goes on by tokens",
        ),
        Number(
            name="weight decay",
            before=under.run.weight_decay,
            after=moved.weight_decay,
            source="keeps B / (lr wd); arXiv 2405.13698",
        ),
        Number(
            name="AdamW timescale, tokens",
            before=scales[0],
            after=scales[1],
            exact=True,
            source="B / (lr wd)",
        ),
    ]
    if moved.beta2 is None:
        return numbers
    return numbers + beta_numbers(plan, moved)


def beta_numbers(plan: Plan, moved: Moved) -> list[Number]:
    """Betas and eps, moved or kept."""
    part = plan.optimizer
    numbers = [
        Number(
            name="beta1",
            before=part.beta1,
            after=part.beta1,
            low=min(part.beta1, max(0.0, 1 - moved.ratio * (1 - part.beta1))),
            high=max(part.beta1, 1 - moved.ratio * (1 - part.beta1)),
            source="kept; 2205.10287's 1 - k (1 - beta1) at the other end (recalled)",
        ),
        Number(
            name="beta2",
            before=part.beta2,
            after=moved.beta2,
            source="beta2^k, its half-life in tokens; 2507.07101",
        ),
    ]
    if part.eps is not None:
        eps = part.eps / math.sqrt(moved.ratio)
        numbers.append(
            Number(
                name="eps",
                before=part.eps,
                after=part.eps,
                low=min(eps, part.eps),
                high=max(eps, part.eps),
                source="kept; 2205.10287's eps / sqrt(k) at the other end (recalled)",
            )
        )
    return numbers


def lr_source(moved: Moved, start: float, end: float) -> str:
    """Which rule moved the lr."""
    if max(start, end) <= moved.best_batch:
        return "sqrt(k), below the best batch; 2205.10287"
    if min(start, end) >= moved.best_batch:
        return "measured factor above the best batch; step-law-surface"
    return "sqrt(k) to the best batch, measured beyond; 2205.10287"


def batch_notes(under: Underway, moved: Moved, rest: Schedule | None) -> list[str]:
    """Where the new batch lies, and what is not known."""
    done = moved.step * under.run.batch_tokens
    batch = moved.sequences * under.plan.target.seq_len
    critical = critical_batch(under.book[CRITICAL_LAW], done)
    notes = [
        f"best batch of the whole run {format_count(moved.best_batch)} tokens; critical batch "
        f"after {format_count(done)} tokens {format_count(critical)} (power-lines): there twice "
        "the tokens are needed"
    ]
    if batch > critical:
        notes.append(
            f"the new batch is {batch / critical:.1f} times that: more than half of its tokens "
            "are wasted by now"
        )
    if under.plan.optimizer.name != "adamw":
        notes.append(
            f"the measured factor and the betas are AdamW's; for {under.plan.optimizer.name} they "
            "are assumed, and under Muon a ramp cost 0.0003 of loss (Qwen3.8, quoted)"
        )
    if rest is None:
        notes.append(
            f"no plan: what is left of schedule {under.run.schedule.kind} after step {moved.step} "
            "is no schedule of a plan; --csv prints its lr"
        )
    notes.append(
        "the published ramps below kept the weight decay; the gain from keeping the timescale "
        "instead is not known"
    )
    return notes


def critical_batch(law: Law, tokens: float) -> float:
    """Critical batch in tokens after so many tokens.

    Source:
        Bergsma et al. 2025 (arXiv 2505.13738): at it a target loss takes twice the tokens.
    """
    found = evaluate_law(law.quantities["critical_batch_tokens"], {"tokens": tokens})
    assert found is not None
    return found
