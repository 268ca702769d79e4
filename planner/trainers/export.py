"""From a run to a trainer's files: find the trainer, say what it can, write or refuse.

The folder `planner/trainers/supported` is the registry: a trainer is its module's name, imported on
use.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module

from fitting.errors import ExportError, InputError, nearest_name
from planner.trainers import supported
from planner.trainers.files import Files
from planner.trainers.trainer import Said, Trainer, nearest_run
from proxies.run.experts import count_experts
from proxies.run.spec import RunSpec

SIMPLE_SCHEDULES = ("linear", "cosine")
"""Schedules of a plan; every trainer has one of them."""

SUFFIXES = {"a Python module": ".py", "a YAML file": ".yaml", "a shell file": ".sh"}
"""Ending of a file by what a trainer's `output` says; a folder has none."""


def trainer_names() -> list[str]:
    """Every trainer that there is a module for, in alphabetical order."""
    return sorted(found.name for found in pkgutil.iter_modules(supported.__path__))


def find_trainer(name: str) -> Trainer:
    """A trainer by name.

    Raises:
        InputError: no such trainer, with the nearest name and all of them.
    """
    names = trainer_names()
    if name not in names:
        raise InputError(
            f"trainer '{name}': not known{nearest_name(name, names)}; one of {', '.join(names)}"
        )
    trainer: Trainer = import_module(f"planner.trainers.supported.{name}").TRAINER
    return trainer


def export_run(
    run: RunSpec, name: str, *, lossy: bool = False, origin: Sequence[str] = ()
) -> tuple[Files, Said]:
    """A run in the words of a trainer.

    Args:
        run: the run.
        name: a module of `planner/trainers/supported`.
        lossy: write the nearest that the trainer can express where it cannot express the run.
        origin: lines for the head of every file, after the trainer's title.

    Returns:
        The files, and what they cannot say.

    Raises:
        InputError: no such trainer.
        ExportError: something of the run would be lost and `lossy` is not set.
    """
    trainer = find_trainer(name)
    if run.experts is not None:
        part = count_experts(run.shape, run.experts)
        raise ExportError(
            f"export {name}: no export writes a router and {part.n_experts} experts of width "
            f"{part.d_ff_expert}, {part.active_experts} a token; take the numbers from the plan's "
            f"JSON into {trainer.title} by hand"
        )
    said = nearest_run(run, trainer)
    if said.losses and not lossy:
        lost = "; ".join(str(loss) for loss in said.losses)
        raise ExportError(
            f"export {name}: {trainer.title} cannot express the plan ({lost}); "
            f"{way_out(ways_out(said, trainer))}use --lossy or another trainer (plan trainers)"
        )
    return trainer.write(said.run, head_lines(trainer, origin, said)), said


def way_out(options: list[str]) -> str:
    """What to plan with instead, where any option of `plan` helps."""
    return f"plan again with {' '.join(options)}, or " if options else ""


def ways_out(said: Said, trainer: Trainer) -> list[str]:
    """Options of `plan` that make a plan which the trainer can express."""
    lost = {loss.what for loss in said.losses}
    found = []
    if "schedule" in lost:
        whole = "1-sqrt" in trainer.schedules.get("wsd", ())
        kind = next(kind for kind in SIMPLE_SCHEDULES if kind in trainer.schedules)
        kind = "wsd" if whole else kind
        found.append(f"--schedule {kind}")
    if "batch growth" in lost and trainer.growth_advice:
        found.append(trainer.growth_advice)
    if "optimizer" in lost:
        found.append("--optimizer adamw")
    if any(what.startswith(("mup ", "completep ")) for what in lost):
        found.append("--parametrization sp")
    return found


def head_lines(trainer: Trainer, origin: Sequence[str], said: Said) -> list[str]:
    """What stands at the head of every file: where it is from and what it does not say."""
    lines = [", ".join([trainer.title, *origin[:1]]), *origin[1:]]
    if said.losses:
        lines.append("LOSSY: this file does not say what the plan says:")
        lines += [f"  lost: {loss}" for loss in said.losses]
    if said.notes:
        lines.append("Not in the plan, or the trainer's own:")
        lines += [f"  note: {note}" for note in said.notes]
    return [" ".join(line.splitlines()) for line in lines]
