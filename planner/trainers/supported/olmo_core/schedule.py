"""OLMo-core's schedulers and its batch ramp as Python: written from a schedule, and read.

Where the batch grows, every length is in tokens: a planned step is a planned batch of them.
`BatchSizeSchedulerCallback` multiplies the optimizer's lr by sqrt(new / old batch) at each stage,
from the first stage's lr on, and waits with a larger batch until as many smaller ones as it is
made of were seen.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.trainers.python_source import read_calls
from planner.trainers.values import as_float, as_int
from proxies.run.batching import GrowthStage
from proxies.run.schedule import Checkpoint, Schedule, make_schedule

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

    from proxies.run.spec import RunSpec

GROWTH_IMPORTS = """
from olmo_core.optim.scheduler import SchedulerUnits
from olmo_core.train.callbacks import BatchSizeSchedulerCallback"""

CALLBACKS = """
BATCH_SEQUENCES = {sequences}
BATCH_FROM_TOKEN = {tokens}

# Add them to your trainer's callbacks.
callbacks = {{
    "batch_size_scheduler": BatchSizeSchedulerCallback(
        batch_sizes=[count * SEQ_LEN for count in BATCH_SEQUENCES],
        schedule=[Duration.tokens(count) for count in BATCH_FROM_TOKEN],
    )
}}
"""


def step_length(run: RunSpec) -> int:
    """What a planned step is in the scheduler's unit: tokens where the batch grows, else 1."""
    return run.batch_sequences * run.seq_len if run.growth else 1


def scheduler_source(run: RunSpec) -> tuple[str, str]:
    """The scheduler as Python, and the names that it needs."""
    schedule, each = run.schedule, step_length(run)
    warmup, final = schedule.warmup_steps * each, schedule.final_lr_fraction
    tokens = "units=SchedulerUnits.tokens, " if run.growth else ""
    if schedule.kind == "constant":
        return f"ConstantWithWarmup({tokens}warmup={warmup})", "ConstantWithWarmup"
    if schedule.kind == "inverse-sqrt":
        return f"InvSqrtWithWarmup({tokens}warmup={warmup}, alpha_f=0.0)", "InvSqrtWithWarmup"
    if schedule.kind in {"linear", "cosine"}:
        name = {"linear": "LinearWithWarmup", "cosine": "CosWithWarmup"}[schedule.kind]
        return f"{name}({tokens}warmup={warmup}, alpha_f={final})", name
    floor, units = run.lr * final, tokens and f"        {tokens.strip()}\n"
    if schedule.kind == "wsd-s":
        periods = [each * (after - before) for before, after in pairwise([0, *ends_of(schedule)])]
        decay, fraction = common_decay(schedule)
        return (
            f"WSDS(\n{units}        period_lengths={periods},\n        warmup={warmup},\n"
            f"        decay={None if decay is None else decay * each},\n"
            f"        decay_fraction={fraction},\n        decay_min_lr={floor},\n    )"
        ), "WSDS"
    if schedule.decay_shape == "linear":
        return (
            f"WSD(\n{units}        warmup={warmup},\n"
            f"        decay={schedule.decay_steps * each},\n"
            f"        decay_fraction=None,\n        decay_min_lr={floor},\n    )"
        ), "WSD"
    stages = "".join(
        "            ComposableSchedulerStage(\n"
        f"                duration={stage.steps * each},\n"
        f'                shape=ComposableSchedulerStageType("{stage.shape}"),\n'
        f"                start_lr_fraction={stage.start},\n"
        f"                end_lr_fraction={stage.end},\n            ),\n"
        for stage in schedule.stages
    )
    return f"ComposableScheduler(\n{units}        stages=[\n{stages}        ]\n    )", (
        "(\n    ComposableScheduler,\n    ComposableSchedulerStage,\n"
        "    ComposableSchedulerStageType,\n)"
    )


def ends_of(schedule: Schedule) -> list[int]:
    """Steps at which each budget ends."""
    return [point.step for point in schedule.checkpoints]


def common_decay(schedule: Schedule) -> tuple[int | None, float | None]:
    """The one decay of all periods, in steps or as a rounded fraction; (None, None) for none."""
    decays = [point.decay_steps or 0 for point in schedule.checkpoints]
    if len(set(decays)) == 1:
        return decays[0], None
    periods = [after - before for before, after in pairwise([0, *ends_of(schedule)])]
    for decay, period in zip(decays, periods, strict=True):
        share = decay / period
        if [round(share * length) for length in periods] == decays:
            return None, share
    return None, None


def read_schedule(tree: ast.AST, lr: float, steps: int, *, unit: int = 1) -> Schedule:
    """The schedule of the module's one scheduler, whose lengths count `unit` a step."""
    for name, kind in (("LinearWithWarmup", "linear"), ("CosWithWarmup", "cosine")):
        for found in read_calls(tree, name):
            return make_schedule(
                kind,
                steps=steps,
                warmup_steps=as_int(found, "warmup") // unit,
                final_lr_fraction=as_float(found, "alpha_f", 0.1),
            )
    for name, kind in (
        ("ConstantWithWarmup", "constant"),
        ("InvSqrtWithWarmup", "inverse-sqrt"),
    ):
        for found in read_calls(tree, name):
            return make_schedule(kind, steps=steps, warmup_steps=as_int(found, "warmup") // unit)
    for found in read_calls(tree, "WSDS"):
        return read_wsds(found, lr, steps, unit=unit)
    for found in read_calls(tree, "WSD"):
        share = found.get("decay_fraction", 0.1) or 0.0
        return make_schedule(
            "wsd",
            steps=steps,
            warmup_steps=as_int(found, "warmup") // unit,
            decay_steps=as_int(found, "decay", round(share * steps) * unit) // unit,
            decay_shape="linear",
            final_lr_fraction=as_float(found, "decay_min_lr", 0.0) / lr,
        )
    stages = read_calls(tree, "ComposableSchedulerStage")
    if not stages:
        raise InputError("olmo_core: no scheduler that windtunnel reads in the module")
    last, rising = stages[-1], stages[0].get("start_lr_fraction") == 0.0
    return make_schedule(
        "wsd",
        steps=steps,
        warmup_steps=as_int(stages[0], "duration") // unit if rising else 0,
        decay_steps=as_int(last, "duration") // unit,
        decay_shape="cosine",
        final_lr_fraction=as_float(last, "end_lr_fraction"),
    )


def read_wsds(found: dict[str, Any], lr: float, steps: int, *, unit: int) -> Schedule:
    """The schedule of a WSDS call: periods, and one decay for all."""
    points, done = [], 0
    for period in found["period_lengths"]:
        done += period // unit
        decay = round(as_float(found, "decay_fraction", 0.0) * period)
        points.append(Checkpoint(done, round(as_int(found, "decay", decay) / unit)))
    return make_schedule(
        "wsd-s",
        steps=steps,
        warmup_steps=as_int(found, "warmup") // unit,
        decay_shape="linear",
        final_lr_fraction=as_float(found, "decay_min_lr", 0.0) / lr,
        checkpoints=points,
    )


def only_call(tree: ast.AST, name: str) -> dict[str, Any]:
    """The arguments of the one call of `name`.

    Raises:
        InputError: there is none.
    """
    calls = read_calls(tree, name)
    if not calls:
        raise InputError(f"olmo_core: no {name}(...) in the module")
    return calls[0]


def growth_source(run: RunSpec) -> str:
    """The callback that raises the batch; nothing for a fixed one."""
    if not run.growth:
        return ""
    return CALLBACKS.format(
        sequences=[stage.batch_sequences for stage in run.growth],
        tokens=[stage.from_token for stage in run.growth],
    )


def cannot_grow(run: RunSpec) -> str:
    """Why `BatchSizeSchedulerCallback` cannot take these stages; empty where it can."""
    batch, schedule = run.batch_sequences, run.schedule
    if run.optimizer.name != "adamw":
        return "it moves the lr of Adam-like optimizers only"
    for stage in run.growth:
        if not math.isclose(stage.lr_factor, math.sqrt(stage.batch_sequences / batch)):
            return "its lr moves with the square root of the batch"
        if stage.beta2 != run.optimizer.beta2:
            return "its beta2 does not change"
    for before, after in pairwise(run.growth):
        if after.batch_sequences % before.batch_sequences or after == before:
            return "its batch grows by whole factors"
    if schedule.kind in {"wsd", "wsd-s"} and schedule.final_lr_fraction:
        return "its WSD ends at an lr that does not follow the batch"
    return ""


def read_growth(found: Mapping[str, Any], batch: int, *, beta2: float) -> tuple[GrowthStage, ...]:
    """The stages of an exported module; none where it has none."""
    rows = zip(found.get("BATCH_FROM_TOKEN", ()), found.get("BATCH_SEQUENCES", ()), strict=True)
    return tuple(
        GrowthStage(
            from_token=token,
            batch_sequences=sequences,
            lr_factor=math.sqrt(sequences / batch),
            beta2=beta2,
        )
        for token, sequences in rows
    )
