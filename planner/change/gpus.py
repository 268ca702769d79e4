"""Other accelerators in mid-run: the batch stays by accumulation, so nothing else moves."""

from __future__ import annotations

from fitting.errors import InputError
from fitting.units import format_count
from planner.change.base import Underway, go_on, replan
from planner.change.change import Change, Number
from planner.compute.estimate import Compute
from planner.facts.changes import nearest_cases
from planner.request.choices import Pins


def change_gpus(under: Underway, *, gpus: str, at_token: float = 0.0) -> Change:
    """The same run on other accelerators from a token on.

    Args:
        under: the run.
        gpus: `16xH100`.
        at_token: tokens done; 0 for the whole run.

    Raises:
        InputError: accelerators that are not known, or a change outside the run.
    """
    plan = under.plan
    step = round(at_token / under.run.batch_tokens)
    if not 0 <= step < under.run.schedule.steps:
        raise InputError(
            f"--at-token {format_count(at_token)}: not inside the run of "
            f"{format_count(plan.target.tokens)} tokens"
        )
    pins = Pins(
        lr=under.run.lr,
        batch_tokens=float(under.run.batch_tokens),
        weight_decay=under.run.weight_decay,
    )
    kind = under.run.schedule.kind
    schedule = "wsd" if kind == "wsd-s" else kind
    fixed = replan(under, pins=pins, gpus=gpus, schedule=schedule)
    assert fixed.compute is not None
    left = 1 - step / under.run.schedule.steps
    moved = go_on(fixed, under, under.run.schedule, loss=plan.loss, warnings=fixed.compute.warnings)
    return Change(
        kind="gpus",
        title=f"{plan.compute.gpus if plan.compute else 'no accelerators'} to "
        f"{fixed.compute.gpus} after {format_count(step * under.run.batch_tokens)} tokens",
        numbers=tuple(gpu_numbers(under, fixed.compute, left=left)),
        notes=tuple(gpu_notes(under, fixed.compute)),
        nearest=nearest_cases("gpus", params=plan.target.params, tokens=plan.target.tokens),
        plan=moved,
        track=None,
    )


def gpu_numbers(under: Underway, compute: Compute, *, left: float) -> list[Number]:
    """The new layout and time; batch, lr and weight decay as they were."""
    old, timing = under.plan.compute, compute.timing
    layout = "micro-batch x accumulation x GPUs = batch"
    hours = None if old is None or old.hours is None else old.hours * left

    def number(name: str, field: str, after: float) -> Number:
        before = None if old is None else getattr(old, field)
        return Number(name=name, before=before, after=after, exact=True, source=layout)

    return [
        Number(
            name="batch, sequences",
            before=under.plan.batch_sequences,
            after=under.plan.batch_sequences,
            exact=True,
            source="kept, so that nothing else moves",
        ),
        Number(
            name="peak lr",
            before=under.run.lr,
            after=under.run.lr,
            exact=True,
            source="the batch is the same",
        ),
        Number(
            name="weight decay",
            before=under.run.weight_decay,
            after=under.run.weight_decay,
            exact=True,
            source="the batch is the same",
        ),
        number("GPUs in use", "data_parallel", compute.data_parallel),
        number("micro-batch, sequences", "micro_batch_sequences", compute.micro_batch_sequences),
        number("accumulation", "accumulation", compute.accumulation),
        Number(
            name="hours left",
            before=hours,
            after=None if timing is None else timing.hours * left,
            low=None if timing is None else timing.hours_low * left,
            high=None if timing is None else timing.hours_high * left,
            source="utilisation of published runs" if timing else "no accelerator named",
        ),
    ]


def gpu_notes(under: Underway, compute: Compute) -> list[str]:
    """What a batch that follows the GPUs would need instead."""
    notes = list(compute.warnings)
    old = under.plan.compute
    if old is not None and compute.gpu_count != old.data_parallel:
        batch = under.run.batch_tokens * compute.gpu_count / old.data_parallel
        notes.append(
            "without the new accumulation the batch would be "
            f"{format_count(batch)} tokens: plan change batch PLAN.json --batch "
            f"{batch:.0f} --at-token TOKENS says what moves then"
        )
    notes.append("the order of the data changes with the layout unless the loader is told its step")
    return notes
