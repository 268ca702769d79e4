"""`plan verify`: the short pilots that would show a plan wrong, and what they showed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fitting.laws.law import Law
    from planner.plan.document import Plan

EXAMPLES = """Examples:

plan verify plan.json

plan verify plan.json half.csv planned.csv double.csv"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


@app.command(epilog=EXAMPLES)
def verify(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="From plan ... --json.")],
    logs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="LOG.csv",
            help="A pilot's curve each (step,lr,loss), or a runs table of all.",
        ),
    ] = None,
    fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the plan's tokens, for a pilot.")
    ] = 0.015,
    noise: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the loss, from run to run: one sd.")
    ] = 0.002,
    laws: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Your own law file, for its surface; repeatable."),
    ] = None,
    export: Annotated[
        str | None, typer.Option(metavar="TRAINER", help="Write the pilots' configs to -o DIR.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Where --export writes.")
    ] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="With --export: the nearest.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --export: overwrite.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Test a plan by short pilots at the target before the money is spent.

    Without logs it prints three pilots (lr halved, as planned, doubled), what they cost, what they
    would show and the commands that make them. With their logs it says whether the plan stands, by
    what factor the lr should move (80% interval) and with what confidence. A log's peak lr says
    which pilot it is. Exit 0: the plan stands, or no logs; 1: it does not.
    """
    from planner.plan.file import load_plan
    from planner.plan.reuse import book_of
    from planner.review.pilots_text import pilots_lines, pilots_to_dict, verdict_lines
    from planner.review.verify import plan_pilots, verify_plan

    given = load_plan(plan)
    book = book_of(given, plan)
    if not logs:
        found = plan_pilots(given, fraction=fraction, law_files=tuple(laws or ()), book=book)
        lines = pilots_lines(found, str(plan))
        show(lines, pilots_to_dict(found), found.cautions, as_json=as_json)
        if export is not None:
            write_pilots(given, book, fraction, export, out, lossy=lossy, force=force)
        return
    if export is not None:
        raise InputError("--export: writes pilots that are yet to be run; leave out the logs")
    verdict = verify_plan(given, logs, noise=noise, law_files=tuple(laws or ()), book=book)
    show(verdict_lines(verdict), pilots_to_dict(verdict), verdict.cautions, as_json=as_json)
    raise typer.Exit(0 if verdict.stands else 1)


def show(
    lines: list[str], plain: dict[str, Any], cautions: tuple[str, ...], *, as_json: bool
) -> None:
    """Print the one or the other on stdout, cautions on stderr."""
    print(json.dumps(plain, indent=2, allow_nan=False) if as_json else "\n".join(lines))
    for caution in cautions:
        print("warning:", caution, file=sys.stderr)


def write_pilots(
    plan: Plan,
    book: Mapping[str, Law],
    fraction: float,
    trainer: str,
    out: Path | None,
    *,
    lossy: bool,
    force: bool,
) -> None:
    """Write each pilot's config into a folder."""
    from planner.cli.trainers.export import write_export
    from planner.review.pilots import FACTORS, pilot_plan
    from planner.trainers.export import SUFFIXES, find_trainer

    if out is None:
        raise InputError(f"--export {trainer}: no -o; name a folder for the pilots' configs")
    suffix = SUFFIXES.get(find_trainer(trainer).output, "")
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {out}: cannot be made ({error.strerror})") from error
    for name, factor in FACTORS.items():
        lr, tokens = plan.lr.value * factor, fraction * plan.target.tokens
        pilot = pilot_plan(plan, book, lr=lr, tokens=tokens)
        write_export(pilot, trainer, out / f"{name}{suffix}", lossy=lossy, force=force)
