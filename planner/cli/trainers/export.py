"""`plan export`: a plan in the words of a trainer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import InputError

if TYPE_CHECKING:
    from planner.plan.document import Plan

EXAMPLES = """Examples:

plan export torchtitan plan.json -o config.py

plan export transformers plan.json -o run --force"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def export(
    trainer: Annotated[
        str, typer.Argument(metavar="TRAINER", help="One that plan trainers lists.")
    ],
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="From plan ... --json.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="File, or folder for transformers."),
    ] = None,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Write the nearest, and say what is lost.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a plan as the config of a trainer.

    What the trainer cannot express is refused, or with --lossy listed on stderr and at the head
    of the file; plan trainers says what each can. transformers takes a folder of three files.
    """
    from planner.plan.file import load_plan

    write_export(load_plan(plan), trainer, out, lossy=lossy, force=force)


def write_export(plan: Plan, trainer: str, out: Path | None, *, lossy: bool, force: bool) -> None:
    """Write the export of a plan and say on stderr what it is and what it does not say."""
    from planner.plan.export import export_plan
    from planner.trainers.export import find_trainer
    from planner.trainers.files import write_files

    output = find_trainer(trainer).output
    if out is None:
        raise InputError(f"export {trainer}: no -o; it writes {output}")
    files, said = export_plan(plan, trainer, lossy=lossy)
    write_files(files, out, force=force)
    for loss in said.losses:
        print("lost:", loss, file=sys.stderr)
    for note in said.notes:
        print("note:", note, file=sys.stderr)
    print(f"wrote {out} ({output})", file=sys.stderr)
