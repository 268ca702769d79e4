"""Small plans and runs that the tests of trainers share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from planner.plan.document import Plan, to_plain
from planner.plan.make import recommend
from planner.plan.settings import run_of
from planner.request.choices import Choices, Pins
from planner.request.target import Target
from planner.trainers.trainer import Trainer, nearest_run
from proxies.run.batching import Batching
from proxies.run.parametrization import OPTIMIZERS
from proxies.run.schedule import Checkpoint, Schedule, make_schedule
from proxies.run.shape import Shape, count_params
from proxies.run.spec import RunSpec, make_run

SMALL = Shape(
    d_model=128,
    n_layers=3,
    n_heads=4,
    n_kv_heads=2,
    head_dim=32,
    d_ff=320,
    vocab_size=512,
    norm_eps=1e-6,
)
"""Grouped heads and a d_ff that no trainer's rule gives."""

STEPS = 100

SCHEDULES: dict[str, Schedule] = {
    **{
        f"wsd {shape} to {final}": make_schedule(
            "wsd",
            steps=STEPS,
            warmup_steps=10,
            decay_steps=23,
            decay_shape=shape,
            final_lr_fraction=final,
        )
        for shape in ("linear", "1-sqrt", "cosine")
        for final in (0.0, 0.1)
    },
    "wsd without warmup": make_schedule("wsd", steps=STEPS, warmup_steps=0, decay_steps=31),
    "wsd without stable": make_schedule("wsd", steps=STEPS, warmup_steps=9, decay_steps=91),
    "linear": make_schedule("linear", steps=STEPS, warmup_steps=7),
    "linear to 0.1": make_schedule("linear", steps=STEPS, final_lr_fraction=0.1),
    "cosine": make_schedule("cosine", steps=STEPS, warmup_steps=11),
    "cosine to 0": make_schedule("cosine", steps=STEPS, final_lr_fraction=0.0),
    "cosine without warmup": make_schedule("cosine", steps=STEPS, warmup_steps=0),
    **{
        f"wsd {shape}": make_schedule(
            "wsd",
            steps=STEPS,
            warmup_steps=10,
            decay_steps=23,
            decay_shape=shape,
            final_lr_fraction=final,
        )
        for shape, final in (("2^(1-p)-1", 0.0), ("exponential", 0.1), ("square", 0.0))
    },
    "inverse-sqrt": make_schedule("inverse-sqrt", steps=STEPS, warmup_steps=12),
    "inverse-sqrt to 0.5": make_schedule(
        "inverse-sqrt", steps=STEPS, warmup_steps=12, final_lr_fraction=0.5
    ),
    "two-stage": make_schedule(
        "two-stage", steps=STEPS, warmup_steps=12, decay_steps=30, final_lr_fraction=0.25
    ),
    "constant": make_schedule("constant", steps=STEPS, warmup_steps=10),
    "wsd-s": make_schedule(
        "wsd-s",
        steps=STEPS,
        warmup_steps=5,
        checkpoints=[Checkpoint(40, 8), Checkpoint(STEPS, 12)],
    ),
    "wsd-s linear": make_schedule(
        "wsd-s",
        steps=STEPS,
        warmup_steps=5,
        decay_shape="linear",
        checkpoints=[Checkpoint(40, 8), Checkpoint(STEPS, 12)],
    ),
}
"""Every kind, shape and edge that an export has to get right."""


@cache
def make_plan(
    *, shape: Shape = SMALL, tokens: float = 3e7, pins: Pins | None = None, **chosen: Any
) -> Plan:
    """The plan of a small run; `chosen` are fields of `Choices`."""
    target = Target(
        params=count_params(shape).params,
        tokens=tokens,
        seq_len=64,
        vocab_size=shape.vocab_size,
    )
    pinned = pins or Pins(batch_tokens=24 * 64)
    return recommend(target, shape=shape, choices=Choices(pins=pinned, **chosen))


def small_run(*, schedule: Schedule | None = None, shape: Shape = SMALL, **chosen: Any) -> RunSpec:
    """What a trainer is told of a small run on 4 GPUs, with a schedule of its own."""
    run = run_of(make_plan(shape=shape, gpus="4", **chosen))
    if schedule is None:
        return run
    return replace(run, schedule=schedule, tokens=schedule.steps * run.batch_tokens)


def sized_run(shape: Shape, *, tokens: float, batch_sequences: int, seq_len: int) -> RunSpec:
    """A run of which only its size matters, as to memory and hours."""
    steps = max(2, round(tokens / (batch_sequences * seq_len)))
    run = make_run(
        shape=shape,
        seq_len=seq_len,
        batch_sequences=batch_sequences,
        schedule=make_schedule("constant", steps=steps),
        optimizer=OPTIMIZERS["adamw"],
        lr=1e-3,
        weight_decay=0.1,
    )
    return replace(run, tokens=int(tokens))


def at_batch(run: RunSpec, sequences: int) -> RunSpec:
    """The run with another batch, its steps left as they are."""
    return replace(run, batching=Batching(sequences=sequences))


def expressible(run: RunSpec, trainer: Trainer) -> RunSpec:
    """The run, or a skip where the trainer says that it cannot express it."""
    said = nearest_run(run, trainer)
    if said.losses:
        pytest.skip(f"{trainer.title} refuses: {said.losses[0]}")
    return said.run


def plain(run: RunSpec) -> Any:
    """A run for a comparison: approximate where a file holds a product of two numbers."""
    return soften(to_plain(run))


def soften(value: Any) -> Any:
    """Floats as approximate ones, at any depth."""
    if isinstance(value, dict):
        return {key: soften(item) for key, item in value.items()}
    if isinstance(value, list):
        return [soften(item) for item in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
