"""`plan trainers`: what each trainer can express."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from planner.trainers.trainer import Trainer

EXAMPLES = """Examples:

plan trainers

plan trainers --json"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def trainers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the trainers and what each can express.

    Schedules with their decay shapes, optimizers, batch ramp, groups, muP, qk-norm, z-loss, tied.
    """
    from planner.trainers.export import find_trainer, trainer_names

    found = {name: find_trainer(name) for name in trainer_names()}
    if as_json:
        print(json.dumps({name: as_dict(trainer) for name, trainer in found.items()}, indent=1))
        return
    for name, trainer in found.items():
        print(f"{name}: {trainer.title}; {trainer.output}")
        for topic, words in describe(trainer).items():
            print(f"  {topic:<14}  {words}")
        print()


def as_dict(trainer: Trainer) -> dict[str, Any]:
    """Every field that is not a function."""
    values = {field.name: getattr(trainer, field.name) for field in fields(trainer)}
    return {name: value for name, value in values.items() if not callable(value)}


def describe(trainer: Trainer) -> dict[str, str]:
    """What a trainer can express, in words."""
    qk_norms = trainer.parts.get("qk_norm", ("none", "per-head", "full-width"))
    return {
        "schedules": ", ".join(
            f"{kind} ({', '.join(shapes)})" if kind in {"wsd", "wsd-s"} else kind
            for kind, shapes in trainer.schedules.items()
        ),
        "batch ramp": trainer.batch_ramp or "no",
        "optimizers": ", ".join(trainer.optimizers),
        "groups": trainer.per_group,
        "muP": describe_mup(trainer),
        "qk-norm": ", ".join(norm for norm in qk_norms if norm != "none") or "no",
        "z-loss": "yes" if trainer.z_loss else "no",
        "tied": "yes" if True in trainer.parts.get("tied_embeddings", (True,)) else "no",
        "init": trainer.init or "one std, or one a group",
    }


def describe_mup(trainer: Trainer) -> str:
    """Which parametrizations are exact, and how its own switch differs."""
    exact = [name for name in trainer.parametrizations if name != "sp"]
    words = [f"{', '.join(exact)} as planned"] if exact else []
    return "; ".join([*words, *([trainer.mup] if trainer.mup else [])]) or "no"
