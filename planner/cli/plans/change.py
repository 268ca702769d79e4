"""`plan change`: a run gone on from, grown, made longer, moved to another batch or hardware."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import InputError
from fitting.units import format_count, format_small, parse_count

if TYPE_CHECKING:
    from planner.change.base import Underway
    from planner.change.change import Change, Number

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Change a run: more data, more layers, more tokens, another batch or GPUs.",
)

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN.json", help="From plan ... --json.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the new plan, which plan export takes, as JSON.")
]
Csv = Annotated[bool, typer.Option("--csv", help="Print step,lr of every step left.")]
AtToken = Annotated[
    str, typer.Option("--at-token", metavar="TOKENS", help="Tokens done when it changes.")
]

CONTINUAL_EXAMPLES = """Examples:

plan change continual plan.json --tokens 50B

plan change continual plan.json --tokens 50B --shift strong --peak 5e-4 --json > next.json"""

GROW_EXAMPLES = """Examples:

plan change grow small.json --layers 48 --tokens 300B

plan change grow small.json --layers 48 --tokens 300B --json > grown.json"""

EXTEND_EXAMPLES = """Examples:

plan change extend plan.json --tokens 40B

plan change extend plan.json --tokens 40B --csv > rest.csv"""

BATCH_EXAMPLES = """Examples:

plan change batch plan.json --batch 2M --at-token 10B

plan change batch plan.json --batch 2M --at-token 10B --csv > rest.csv"""

GPUS_EXAMPLES = """Examples:

plan change gpus plan.json --gpus 16xH100

plan change gpus plan.json --gpus 16xH100 --at-token 10B --json > moved.json"""

WIDTH_IN_A_PIPE = 100


@app.command("continual", epilog=CONTINUAL_EXAMPLES)
def continual(
    context: typer.Context,
    plan: PlanFile,
    tokens: Annotated[str, typer.Option("--tokens", metavar="TOKENS", help="New ones alone.")],
    shift: Annotated[
        str, typer.Option("--shift", metavar="HOW", help="of the data: none, weak, strong")
    ] = "weak",
    peak: Annotated[
        float | None, typer.Option("--peak", metavar="LR", help="default: the first run's")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Warm a finished run up again for new data.

    Prints peak, warmup and replay with source and interval, and the nearest published cases.
    """
    from planner.change.continual import continue_run

    count = parse_count(tokens, where="--tokens")
    show(
        continue_run(read_run(context, plan), tokens=count, peak=peak, shift=shift),
        as_json=as_json,
        as_csv=as_csv,
    )


@app.command("grow", epilog=GROW_EXAMPLES)
def grow(
    context: typer.Context,
    plan: PlanFile,
    layers: Annotated[int, typer.Option("--layers", metavar="COUNT", help="Of the grown model.")],
    tokens: Annotated[str, typer.Option("--tokens", metavar="TOKENS", help="Of the grown model.")],
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Grow a model by stacking its layers: when, and what it saves.

    Prints when to stack, the cost and the grown model's numbers, by G_stack.
    """
    from planner.change.grow import grow_run

    count = parse_count(tokens, where="--tokens")
    show(
        grow_run(read_run(context, plan), layers=layers, tokens=count),
        as_json=as_json,
        as_csv=as_csv,
    )


@app.command("extend", epilog=EXTEND_EXAMPLES)
def extend(
    context: typer.Context,
    plan: PlanFile,
    tokens: Annotated[str, typer.Option("--tokens", metavar="TOKENS", help="Of the whole run.")],
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Extend a run to more tokens, from its stable phase.

    Prints the step to resume from, the new decay, the longer run's own optimum and the cost of
    staying where the run is.
    """
    from planner.change.extend import extend_run

    count = parse_count(tokens, where="--tokens")
    show(extend_run(read_run(context, plan), tokens=count), as_json=as_json, as_csv=as_csv)


@app.command("batch", epilog=BATCH_EXAMPLES)
def batch(
    context: typer.Context,
    plan: PlanFile,
    size: Annotated[str, typer.Option("--batch", metavar="TOKENS", help="The new batch.")],
    at_token: AtToken,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Change the batch in mid-run, and what must move with it.

    Prints lr, weight decay and betas that keep AdamW's timescale; the plan is the rest's.
    """
    from planner.change.batch import change_batch

    found = change_batch(
        read_run(context, plan),
        batch_tokens=parse_count(size, where="--batch"),
        at_token=parse_count(at_token, where="--at-token"),
    )
    show(found, as_json=as_json, as_csv=as_csv)


@app.command("gpus", epilog=GPUS_EXAMPLES)
def gpus(
    context: typer.Context,
    plan: PlanFile,
    accelerators: Annotated[
        str, typer.Option("--gpus", metavar="[Nx]NAME", help="The new ones, as 16xH100.")
    ],
    at_token: Annotated[
        str | None, typer.Option("--at-token", metavar="TOKENS", help="Tokens done; default none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the accelerators in mid-run, keeping the batch.

    Prints the new layout, its accumulation and the time left.
    """
    from planner.change.gpus import change_gpus

    done = 0.0 if at_token is None else parse_count(at_token, where="--at-token")
    found = change_gpus(read_run(context, plan), gpus=accelerators, at_token=done)
    show(found, as_json=as_json, as_csv=False)


def read_run(context: typer.Context, path: Path) -> Underway:
    """The plan of a file as a run that is changed.

    Raises:
        InputError: it is no plan, or one that cannot be planned again.
    """
    from planner.change.base import take_up
    from planner.plan.file import load_plan
    from planner.plan.reuse import book_of

    plan = load_plan(path)
    command = context.obj.text
    return take_up(plan, book_of(plan, path), command=command)


def show(change: Change, *, as_json: bool, as_csv: bool) -> None:
    """Print a change as tables, as JSON or as the lr of every step.

    Raises:
        InputError: both formats asked for.
    """
    from planner.change.change import change_to_dict

    if as_json and as_csv:
        raise InputError("--csv: --json is given too; leave one out")
    if as_json:
        print(json.dumps(change_to_dict(change), indent=2, allow_nan=False, ensure_ascii=False))
        return
    if as_csv:
        assert change.track is not None
        print("step,lr")
        for step, lr in change.track.rows():
            print(f"{step},{lr!r}")
        return
    print_change(change)


def print_change(change: Change) -> None:
    """The numbers before and after, the nearest cases, the notes."""
    from rich.console import Console

    from planner.cli.console import plain_table

    console = Console(highlight=False, markup=False)
    if not sys.stdout.isatty():
        console = Console(highlight=False, markup=False, width=WIDTH_IN_A_PIPE)
    console.print(change.title)
    console.print()
    table = plain_table("", "before", "after", "interval", "source", right=(1, 2))
    for number in change.numbers:
        table.add_row(
            number.name,
            in_words(number.before, "-"),
            in_words(number.after, "not known"),
            interval_in_words(number),
            number.source,
        )
    console.print(table)
    console.print()
    cases = plain_table("nearest published", "params", "what was done", "source")
    for case in change.nearest:
        cases.add_row(
            case.run, format_count(case.params), case.did, f"{case.source} ({case.evidence})"
        )
    console.print(cases)
    for note in change.notes:
        print("note:", note, file=sys.stderr)


def in_words(value: float | None, missing: str) -> str:
    """A number of any size in three digits, whole ones below a million in full."""
    if value is None:
        return missing
    if value == int(value) and abs(value) < 1e5:
        return f"{value:,.0f}"
    return format_count(value) if value >= 1e5 else format_small(value)


def interval_in_words(number: Number) -> str:
    """Low to high, nothing where the number is exact, `not known` where no width is."""
    if number.exact:
        return ""
    if number.low is None or number.high is None:
        return "not known"
    return f"{in_words(number.low, '')} to {in_words(number.high, '')}"
