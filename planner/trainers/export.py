"""From a plan to a trainer's files: find the trainer, say what it can, write or refuse.

The folder `planner/trainers/supported` is the registry: a trainer is its module's name, imported on
use.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import ExportError, InputError, nearest_name
from fitting.files import write_together
from planner.plan.settings import settings_of
from planner.trainers import supported
from planner.trainers.trainer import Files, Said, Trainer, nearest_settings

if TYPE_CHECKING:
    from planner.plan.document import Plan

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


def export_plan(plan: Plan, name: str, *, lossy: bool = False) -> tuple[Files, Said]:
    """A plan in the words of a trainer.

    Args:
        plan: the plan.
        name: a module of `planner/trainers/supported`.
        lossy: write the nearest that the trainer can express where it cannot express the plan.

    Returns:
        The files, and what they cannot say.

    Raises:
        InputError: no such trainer, or a plan that contradicts itself.
        ExportError: something of the plan would be lost and `lossy` is not set.
    """
    trainer = find_trainer(name)
    if plan.experts is not None:
        part = plan.experts
        raise ExportError(
            f"export {name}: no export writes a router and {part.n_experts} experts of width "
            f"{part.d_ff_expert}, {part.active_experts} a token; take the numbers from the plan's "
            f"JSON into {trainer.title} by hand"
        )
    said = nearest_settings(settings_of(plan), trainer)
    if said.losses and not lossy:
        lost = "; ".join(str(loss) for loss in said.losses)
        raise ExportError(
            f"export {name}: {trainer.title} cannot express the plan ({lost}); "
            f"{way_out(ways_out(said, trainer))}use --lossy or another trainer (plan trainers)"
        )
    return trainer.write(said.settings, head_lines(plan, name, trainer, said)), said


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


def head_lines(plan: Plan, name: str, trainer: Trainer, said: Said) -> list[str]:
    """What stands at the head of every file: where it is from and what it does not say."""
    lines = [
        f"{trainer.title}, written by windtunnel {plan.provenance.version}: plan export {name}",
        f"Plan: {plan.provenance.command}",
    ]
    if said.losses:
        lines.append("LOSSY: this file does not say what the plan says:")
        lines += [f"  lost: {loss}" for loss in said.losses]
    if said.notes:
        lines.append("Not in the plan, or the trainer's own:")
        lines += [f"  note: {note}" for note in said.notes]
    return [" ".join(line.splitlines()) for line in lines]


def write_files(files: Files, path: Path, *, force: bool = False) -> None:
    """Put an export at `path`: one file, or the files of a folder; all of them or none.

    Args:
        files: text by file name, as `export_plan` gives it; the name of a single file is empty.
        path: of the file, or of the folder.
        force: overwrite what is there.

    Raises:
        InputError: a file is there and `force` is not set, or the place cannot be written to.
    """
    targets = {path / name if name else path: text for name, text in files.items()}
    check_targets(files, path, force=force)
    made = "" not in files and not path.exists()
    try:
        if made:
            path.mkdir()
        write_together({target: text.encode() for target, text in targets.items()})
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        if made and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def check_targets(files: Files, path: Path, *, force: bool) -> None:
    """Refuse a folder where a file goes, a file where a folder goes, and what is there."""
    if "" not in files and path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; this trainer takes a folder ({', '.join(files)})")
    for target in (path / name if name else path for name in files):
        if target.is_dir():
            raise InputError(f"{target}: cannot be written (it is a folder); name a file")
        if target.exists() and not target.is_file():
            # Replacing it, as --force would, would put a file where a device or a pipe was.
            raise InputError(f"{target}: cannot be written (it is no regular file); name a file")
        if target.exists() and not force:
            raise InputError(f"{target}: exists; --force overwrites it")


def read_files(path: Path) -> Files:
    """The text of a trainer's file, or of every file of its folder.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if path.is_dir():
            return {
                found.name: found.read_text(encoding="utf-8")
                for found in sorted(path.iterdir())
                if found.suffix in {".json", ".yaml", ".yml", ".py", ".sh", ".txt"}
            }
        return {"": path.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
