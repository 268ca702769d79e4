"""What a trainer can express, and the nearest run that it can.

Every export goes through `nearest_run`: it walks one list of questions, replaces what the
trainer has no words for by the nearest that it has, and records each replacement. A writer so
never sees what it cannot write, and nothing is dropped without a record.

A *loss* is a replacement of what was planned: an export refuses it unless told otherwise. A
*note* is a house default, which no law and no user asked for, that the trainer decides itself
(the init under SP, whether norm gains decay): it is always said and never refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from planner.trainers.files import Files, Given, read_whole
from proxies.run.batching import describe_stages
from proxies.run.parametrization import OPTIMIZERS, convert_sp_law
from proxies.run.schedule import Checkpoint, Schedule, make_schedule
from proxies.run.spec import RunSpec, plain_rule, with_rule_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxies.run.groups import ParamGroup


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing that a trainer's file cannot say."""

    what: str
    """The planned quantity, in the plan's word."""
    planned: str
    written: str
    """What the file says in its place."""

    def __str__(self) -> str:
        """`schedule: wsd, decay 1-sqrt; written: wsd, decay linear`."""
        return f"{self.what}: {self.planned}; written: {self.written}"


Nearest = tuple[RunSpec, tuple[Loss, ...]]
"""The nearest run that can be said, and what was lost on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """One trainer: what it can express, and how its files are written and read."""

    title: str
    """Name and version that this was checked against."""
    output: str
    """What is written: `a YAML file`, `a folder with ...`."""
    schedules: Mapping[str, tuple[str, ...]]
    """Kinds of schedule, each with its decay shapes, nearest replacement first; () for none."""
    optimizers: tuple[str, ...]
    parametrizations: tuple[str, ...]
    """With its multipliers, per-group lr, weight decay and init; `sp` has none of them."""
    parts: Mapping[str, tuple[Any, ...]]
    """Fields of the shape that it restricts, each with the values it has, replacement first."""
    per_group: str
    """What groups of parameters may have of their own, in words."""
    mup: str
    """Its own muP switch and how that differs from ours, in words; empty for none."""
    batch_ramp: str
    """How it raises the batch during a run, in words; empty for none."""
    write: Callable[[RunSpec, list[str]], Files]
    """The files of a run that it can express, with lines for the head."""
    read: Callable[[Files], RunSpec]
    """The run of its files: the other way. What `faults` names is cut to the run."""
    sample_point: Callable[[RunSpec, int], float]
    """Progress s at which its own scheduler samples optimizer step k = 0..S-1."""
    adjust: Callable[[RunSpec], Nearest] = lambda run: (run, ())
    """What no field here can say: replacements after all others."""
    cannot_grow: Callable[[RunSpec], str] = lambda run: "it has no batch ramp"
    """Why it cannot raise the batch as this run does; empty where it can."""
    growth_advice: str = ""
    """Options of `plan` with which it could; empty where there are none."""
    free_head_dim: bool = True
    """Whether heads may be other than d_model / n_heads wide."""
    z_loss: bool = False
    init: str = ""
    """How it draws weights where that cannot be set; empty where one std can be."""
    complete: Callable[[Path, Given], tuple[Files, tuple[str, ...]]] = read_whole
    """The files at a path with what the user adds to them, and what stands in for the rest."""
    faults: Callable[[Files], tuple[str, ...]] = lambda files: ()
    """What the schedule of its files says that no run can do, in words."""
    decays_vectors: bool = False
    """Whether weight decay reaches norm gains, which the plan spares."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is written to a file, and what it cannot say."""

    run: RunSpec
    losses: tuple[Loss, ...]
    """Refused unless the user allows them."""
    notes: tuple[Loss, ...]
    """House defaults that the trainer decides itself."""


def nearest_run(run: RunSpec, trainer: Trainer) -> Said:
    """The nearest run that `trainer` can express, with every replacement."""
    losses: tuple[Loss, ...] = ()
    for question in QUESTIONS:
        run, lost = question(run, trainer)
        losses += lost
    run, lost = trainer.adjust(run)
    return Said(run, losses + lost, list_notes(run, trainer))


def check_parametrization(run: RunSpec, trainer: Trainer) -> Nearest:
    """SP with the hidden matrices' own values where the trainer has no groups or multipliers.

    A plan under SP whose groups were edited loses what distinguishes them in the same way.
    """
    rule = run.parametrization
    if trainer.parametrizations != ("sp",):
        return run, ()
    if rule.name == "sp":
        lr, weight_decay = run.lr, run.weight_decay
    else:
        matrices = run.group_named("matrices")
        lr, weight_decay = matrices.lr, matrices.weight_decay
    written = with_rule_groups(
        run, lr=lr, weight_decay=weight_decay, parametrization=plain_rule(run.shape)
    )
    return written, (*list_multipliers(run), *list_groups(run, written))


def list_multipliers(run: RunSpec) -> list[Loss]:
    """The forward multipliers of a parametrization that SP does not have."""
    rule, head_dim = run.parametrization, run.shape.head_dim
    return [
        Loss(f"{rule.name} {name}", f"{value:.6g}", f"{plain:.6g}")
        for name, value, plain in (
            ("embedding multiplier", rule.embedding_multiplier, 1.0),
            ("attention scale", rule.attention_scale, 1 / math.sqrt(head_dim)),
            ("residual multiplier", rule.residual_multiplier, 1.0),
            ("logits multiplier", rule.logits_multiplier, 1.0),
        )
        if not math.isclose(value, plain)
    ]


def list_groups(run: RunSpec, written: RunSpec) -> list[Loss]:
    """Per-group values that differ from those that are written."""
    found = []
    for group in run.groups:
        other = written.group_named(group.name)
        for field in ("lr", "weight_decay", "eps", "init_std", "betas"):
            own, plain = numbers_of(group, field), numbers_of(other, field)
            if len(own) == len(plain) and all(map(math.isclose, own, plain)):
                continue
            what = f"{run.parametrization.name} {group.name} {field.replace('_', ' ')}"
            found.append(Loss(what, words_of(own), words_of(plain)))
    return found


def numbers_of(group: ParamGroup, field: str) -> tuple[float, ...]:
    """A field of a group as a tuple: empty where it has none."""
    value = getattr(group, field)
    if value is None:
        return ()
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def words_of(numbers: tuple[float, ...]) -> str:
    """Numbers as they are printed."""
    return ", ".join(f"{number:.6g}" for number in numbers) or "none"


def check_optimizer(run: RunSpec, trainer: Trainer) -> Nearest:
    """AdamW at the same run's lr and weight decay where the trainer lacks the optimizer."""
    part = run.optimizer
    if part.name in trainer.optimizers:
        return run, ()
    adamw, factor = OPTIMIZERS["adamw"], part.adamw_factor
    matrices = run.group_named("matrices")
    lr, weight_decay = convert_sp_law(
        lr=matrices.lr * factor,
        weight_decay=matrices.weight_decay / factor,
        parametrization=run.parametrization,
        optimizer=adamw,
    )
    plain = with_rule_groups(
        run,
        lr=lr,
        weight_decay=weight_decay,
        optimizer=replace(adamw, grad_clip=part.grad_clip),
    )
    loss = Loss(
        "optimizer",
        f"{part.name}, lr {run.lr:.6g}, weight decay {run.weight_decay:.6g}",
        f"adamw, lr {lr:.6g}, weight decay {weight_decay:.6g}",
    )
    return plain, (loss,)


def check_shape_parts(run: RunSpec, trainer: Trainer) -> Nearest:
    """Every part of the model that the trainer's own model does not have."""
    shape, lost = run.shape, []
    for name, allowed in trainer.parts.items():
        value = getattr(shape, name)
        unused = name == "rope_theta" and shape.positions != "rope"
        if value in allowed or unused:
            continue
        lost.append(Loss(name, str(value), str(allowed[0])))
        shape = replace(shape, **{name: allowed[0]})
        if name == "positions":
            shape = replace(shape, n_positions=None)
    if not trainer.free_head_dim and shape.head_dim * shape.n_heads != shape.d_model:
        width = max(1, shape.d_model // shape.n_heads)
        lost.append(Loss("head_dim", str(shape.head_dim), str(width)))
        shape = replace(shape, head_dim=width)
    if not lost:
        return run, ()
    # The groups of SP do not depend on the shape; its attention scale does.
    plain = run.parametrization.name == "sp"
    rule = plain_rule(shape) if plain else run.parametrization
    return replace(run, shape=shape, parametrization=rule), tuple(lost)


def check_z_loss(run: RunSpec, trainer: Trainer) -> Nearest:
    """A weight on the log partition function that the trainer's loss does not have."""
    if trainer.z_loss or run.z_loss == 0:
        return run, ()
    return replace(run, z_loss=0.0), (Loss("z_loss", f"{run.z_loss:g}", "0"),)


def check_schedule(run: RunSpec, trainer: Trainer) -> Nearest:
    """Another decay shape of the same kind, or else the nearest kind with the same warmup."""
    schedule = run.schedule
    shapes = trainer.schedules.get(schedule.kind)
    if shapes is not None and schedule.decay_shape in (*shapes, None):
        return run, ()
    if shapes is not None:
        found = respell(schedule, schedule.kind, shapes[0])
    else:
        kind = next(name for name in NEAREST_KINDS[schedule.kind] if name in trainer.schedules)
        shapes = trainer.schedules[kind]
        kept = schedule.decay_shape if schedule.decay_shape in shapes else None
        found = respell(schedule, kind, kept or (shapes[0] if shapes else None))
    loss = Loss("schedule", describe_schedule(schedule), describe_schedule(found))
    return replace(run, schedule=found), (loss,)


def respell(schedule: Schedule, kind: str, shape: str | None) -> Schedule:
    """The same warmup, steps and final lr in another kind or shape."""
    if kind == "constant":
        return make_schedule(kind, steps=schedule.steps, warmup_steps=schedule.warmup_steps)
    checkpoints = schedule.checkpoints
    last_decay = checkpoints[-1].decay_steps if checkpoints else None
    return make_schedule(
        kind,
        steps=schedule.steps,
        warmup_steps=schedule.warmup_steps,
        decay_steps=last_decay if kind == "wsd" else None,
        decay_shape=shape,
        final_lr_fraction=schedule.final_lr_fraction,
        checkpoints=[Checkpoint(found.step, found.decay_steps) for found in checkpoints]
        if kind == "wsd-s"
        else (),
    )


def describe_schedule(schedule: Schedule) -> str:
    """A schedule in one line."""
    words = (
        f"{schedule.kind}, {schedule.warmup_steps} warmup + {schedule.stable_steps} stable + "
        f"{schedule.decay_steps} decay"
    )
    if schedule.decay_shape is None:
        return words
    end = f"{words} {schedule.decay_shape} to {schedule.final_lr_fraction:g} of the peak"
    if schedule.kind != "wsd-s":
        return end
    return f"{end} at steps {', '.join(str(found.step) for found in schedule.checkpoints)}"


def check_batch_growth(run: RunSpec, trainer: Trainer) -> Nearest:
    """The planned batch throughout where the trainer cannot raise it as planned."""
    reason = trainer.cannot_grow(run) if run.growth else ""
    if not reason:
        return run, ()
    loss = Loss(
        "batch growth",
        describe_stages(run.growth),
        f"{run.batch_sequences} sequences throughout: {reason}",
    )
    return replace(run, growth=()), (loss,)


def check_inverse_sqrt(run: RunSpec) -> Nearest:
    """For trainers whose inverse square root is peak sqrt(w / s): it ends at sqrt(w / S)."""
    schedule = run.schedule
    if schedule.kind != "inverse-sqrt" or not schedule.warmup_steps:
        return run, ()
    found = make_schedule(schedule.kind, steps=schedule.steps, warmup_steps=schedule.warmup_steps)
    if math.isclose(found.final_lr_fraction, schedule.final_lr_fraction):
        return run, ()
    loss = Loss("schedule", describe_schedule(schedule), describe_schedule(found))
    return replace(run, schedule=found), (loss,)


def list_notes(run: RunSpec, trainer: Trainer) -> tuple[Loss, ...]:
    """House defaults that the trainer decides itself."""
    notes = []
    std = run.group_named("matrices").init_std
    if trainer.init:
        notes.append(Loss("init", f"normal, std {std:g}", trainer.init))
    if trainer.decays_vectors and run.weight_decay:
        notes.append(
            Loss(
                "weight decay of norm gains and biases",
                "0",
                f"{run.weight_decay:g}, as of all parameters",
            )
        )
    if (run.layout.micro_batch_sequences, run.layout.data) == (1, 1):
        notes.append(
            Loss(
                "devices",
                "not planned (plan --gpus)",
                f"1 device, micro-batch 1, accumulation {run.batch_sequences}",
            )
        )
    return tuple(notes)


NEAREST_KINDS: Mapping[str, tuple[str, ...]] = {
    "wsd-s": ("wsd", "cosine"),
    "wsd": ("cosine",),
    "linear": ("wsd", "cosine"),
    "cosine": ("wsd",),
    "constant": ("wsd", "cosine"),
    "two-stage": ("wsd", "cosine"),
    "inverse-sqrt": ("cosine",),
}
"""For each kind of schedule those that come nearest, in order; every trainer has one of them."""

QUESTIONS = (
    check_parametrization,
    check_optimizer,
    check_shape_parts,
    check_z_loss,
    check_schedule,
    check_batch_growth,
)
"""What is asked of every trainer, in order."""
