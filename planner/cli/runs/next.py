"""`plan next`: the runs to make next for a target."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from fitting.units import format_count, format_small, parse_count
from planner.cli.console import make_console
from planner.cli.options import (
    PRIOR,
    PRIOR_FILES,
    Range,
    Size,
    argument,
    make_app,
    option,
    read_range,
    target,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitting.design import Knowledge, Proposal

EXAMPLES = """Examples:

plan next --target 1B:20B --budget 3e18 > todo.csv

plan next runs.csv --target 1B:20B --budget 3e18 -n 12 --candidates affordable.csv"""

app = make_app()

_GOAL = "Goal"
_RANGES = "Ranges of a run; with --candidates unused"


def _within(name: str, what: str, default: str) -> Any:
    """A range that runs may have."""
    return option(_RANGES, name, "LOW:HIGH", what, default=default, read=read_range)


PARAMS = _within("--params", "params", "1M:1T")
TOKENS = _within("--tokens", "tokens", "1M:100T")
LR = _within("--lr", "learning rates", "1e-5:0.1")
BATCH = _within("--batch", "batches in tokens", "4K:1G")


@app.command(epilog=EXAMPLES)
def next_runs(
    target: Size = target(_GOAL, "the run that is planned, as 1B:20B", default=...),
    budget: float = option(
        _GOAL, "--budget", "FLOPS", "left for proxy runs, as 3e18", default=..., read=parse_count
    ),
    runs: list[Path] | None = argument("[RUNS...]", "made so far; default: none", default=None),
    count: int = option(_GOAL, "-n", "K", "runs to propose, at most", default=8),
    candidates: Path | None = option(
        _RANGES,
        "--candidates",
        "FILE",
        "choose among these: a runs table, no loss needed; a run costs flops, else 6 params tokens",
    ),
    prior: str | None = PRIOR,
    laws: list[Path] | None = PRIOR_FILES,
    params: Range = PARAMS,
    tokens: Range = TOKENS,
    lr: Range = LR,
    batch: Range = BATCH,
    seq_len: int = option(
        _RANGES, "--seq-len", "TOKENS", "batches are multiples of it", default=1024
    ),
    seed: int = option(_GOAL, "--seed", "SEED", "of directions around each optimum", default=0),
) -> None:
    """Propose the next runs: the most told of a target per FLOP.

    Prints a runs table without loss as CSV, best first, with a reason each; what is
    known of the target so far goes to stderr.
    """
    from fitting.design import Ranges
    from fitting.design.files import to_csv
    from fitting.runs.table import read_runs
    from planner.calibrate.next_runs import Request, propose

    if count < 1 or seq_len < 1 or seed < 0:
        raise InputError("-n and --seq-len: must be at least 1, --seed at least 0")
    request = Request(
        target=target.pair,
        budget_flops=budget,
        count=count,
        prior=prior,
        law_files=tuple(laws or ()),
        candidates=candidates,
        ranges=Ranges(
            params=params,
            tokens=tokens,
            lr=lr,
            batch_tokens=batch,
            batch_step=float(seq_len),
        ),
        seed=seed,
    )
    answer = propose(read_runs(runs) if runs else None, request)
    print(to_csv(answer.table), end="")
    if sys.stderr.isatty():
        _print_table(answer.proposals)
    print(_say_known(answer.known, target.text), file=sys.stderr)
    for note in answer.notes:
        print("note:", note, file=sys.stderr)


def _say_known(known: Knowledge, target: str) -> str:
    """What the runs so far say of the target, with 80% intervals."""
    from fitting.intervals import ends_of

    lr = " to ".join(format_small(end) for end in ends_of(known.lr, known.lr_log_sd))
    ends = ends_of(known.batch_tokens, known.batch_log_sd)
    batch = " to ".join(format_count(end) for end in ends)
    source = f"{known.runs} runs" if known.runs else "the prior alone"
    return (
        f"so far: at {target} the best lr is {format_small(known.lr)} ({lr}) and the best batch "
        f"{format_count(known.batch_tokens)} tokens ({batch}), 80% intervals by {source}"
    )


def _print_table(proposals: Sequence[Proposal]) -> None:
    """The proposals as a table on stderr."""
    from rich.box import SIMPLE_HEAD
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
    make_console(stderr=True).print(table)
