"""`plan next`: the runs to make next for a target."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import InputError
from fitting.intervals import ends_of
from fitting.units import format_count, format_small, parse_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.design import Knowledge, Proposal

EXAMPLES = """Examples:

plan next --target 1B:20B --budget 3e18 > todo.csv

plan next runs.csv --target 1B:20B --budget 3e18 -n 12 --candidates affordable.csv"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def next_runs(
    target: Annotated[
        str, typer.Option(metavar="PARAMS:TOKENS", help="The run that is planned, as 1B:20B.")
    ],
    budget: Annotated[
        str, typer.Option(metavar="FLOPS", help="What is left for proxy runs, as 3e18.")
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS...]", help="Runs made so far; default: none."),
    ] = None,
    count: Annotated[int, typer.Option("-n", metavar="K", help="Runs to propose, at most.")] = 8,
    candidates: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Choose among these: a runs table, no loss needed; a run costs its flops, else "
            "6 params tokens. Default: any run within the ranges below.",
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|none",
            help="Law of lr and batch to start from; default: step-law where runs say too little.",
        ),
    ] = None,
    laws: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Law file of your own, for --prior; may be repeated."),
    ] = None,
    params: Annotated[
        str, typer.Option(metavar="LOW:HIGH", help="Params that a run may have.")
    ] = "1M:1T",
    tokens: Annotated[
        str, typer.Option(metavar="LOW:HIGH", help="Tokens that a run may have.")
    ] = "1M:100T",
    lr: Annotated[
        str, typer.Option(metavar="LOW:HIGH", help="Learning rates that it may have.")
    ] = "1e-5:0.1",
    batch: Annotated[
        str, typer.Option(metavar="LOW:HIGH", help="Batches that it may have, in tokens.")
    ] = "4K:1G",
    seq_len: Annotated[
        int, typer.Option(metavar="TOKENS", help="Batches are multiples of this.")
    ] = 1024,
    seed: Annotated[int, typer.Option(help="Of the directions around each optimum.")] = 0,
) -> None:
    """Propose the next runs: the most told of a target per FLOP.

    Prints a runs table without loss as CSV, best first, with a reason each; what is
    known of the target so far goes to stderr.
    """
    # As in `plan fit`: threads cost these small matrices more than they save.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from fitting.design import Ranges
    from fitting.design.files import to_csv
    from fitting.runs.table import read_runs
    from planner.calibrate.next_runs import Request, propose

    if count < 1 or seq_len < 1 or seed < 0:
        raise InputError("-n and --seq-len: must be at least 1, --seed at least 0")
    request = Request(
        target=read_pair(target, where="--target", what="PARAMS:TOKENS", example="1B:20B"),
        budget_flops=parse_count(budget, where="--budget"),
        count=count,
        prior=prior,
        law_files=tuple(laws or ()),
        candidates=candidates,
        ranges=Ranges(
            params=read_range(params, where="--params"),
            tokens=read_range(tokens, where="--tokens"),
            lr=read_range(lr, where="--lr"),
            batch_tokens=read_range(batch, where="--batch"),
            batch_step=float(seq_len),
        ),
        seed=seed,
    )
    answer = propose(read_runs(runs) if runs else None, request)
    print(to_csv(answer.table), end="")
    if sys.stderr.isatty():
        print_table(answer.proposals)
    print(say_known(answer.known, target), file=sys.stderr)
    for note in answer.notes:
        print("note:", note, file=sys.stderr)


def read_pair(text: str, *, where: str, what: str, example: str) -> tuple[float, float]:
    """Two counts parted by a colon.

    Raises:
        InputError: not two counts.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise InputError(f"{where} '{text}': is not {what}; write {example}")
    return parse_count(parts[0], where=where), parse_count(parts[1], where=where)


def read_range(text: str, *, where: str) -> tuple[float, float]:
    """A range, LOW:HIGH.

    Raises:
        InputError: not two numbers, or the first is above the second.
    """
    low, high = read_pair(text, where=where, what="LOW:HIGH", example="two numbers, as 10M:1B")
    if low > high:
        raise InputError(f"{where} '{text}': the first is above the second; write LOW:HIGH")
    return low, high


def say_known(known: Knowledge, target: str) -> str:
    """What the runs so far say of the target, with 80% intervals."""
    lr = " to ".join(format_small(end) for end in ends_of(known.lr, known.lr_log_sd))
    ends = ends_of(known.batch_tokens, known.batch_log_sd)
    batch = " to ".join(format_count(end) for end in ends)
    source = f"{known.runs} runs" if known.runs else "the prior alone"
    return (
        f"so far: at {target} the best lr is {format_small(known.lr)} ({lr}) and the best batch "
        f"{format_count(known.batch_tokens)} tokens ({batch}), 80% intervals by {source}"
    )


def print_table(proposals: Sequence[Proposal]) -> None:
    """The proposals as a table on stderr."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("params", "tokens", "lr", "batch", "FLOPs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why")
    for run in proposals:
        table.add_row(
            format_count(run.params),
            format_count(run.tokens),
            format_small(run.lr),
            format_count(run.batch_tokens),
            format_small(run.flops),
            run.reason,
        )
    Console(stderr=True, highlight=False, markup=False).print(table)
