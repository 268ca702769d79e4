"""`plan fit`: laws from a table of runs, with their audit."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import InputError
from fitting.units import parse_count

if TYPE_CHECKING:
    from fitting.laws.law import Law

EXAMPLES = """Examples:

plan fit runs.csv --out mine.toml

plan fit small.csv large.parquet --prior none --target 1B:20B --plot fit.png

plan fit runs.csv --metric accuracy --better higher --target 1B:20B"""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EXAMPLES,
)


@app.command(epilog=EXAMPLES)
def fit(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="CSV or Parquet tables.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="LAWS.toml", help="Write the laws for plan --laws; default: do not."),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|none",
            help="Law of lr and batch to combine with the runs; default: step-law for fewer than "
            "100 runs or params within a decade, else none.",
        ),
    ] = None,
    laws: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Law file of your own, for --prior; may be repeated."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="PARAMS:TOKENS",
            help="Size that the fit is for, as 1B:20B: near cells count for more; default: none.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw cells, laws and residuals; default: do not."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Instead of loss: does this column move one way with compute?"
        ),
    ] = None,
    better: Annotated[
        str | None,
        typer.Option(metavar="higher|lower", help="With --metric: which is good; default unsaid."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit laws of lr, batch, weight decay and loss to your runs.

    Prints each law with its uncertainty and an audit: what it would have cost
    at the largest params, tokens and compute, had they been left out.
    """
    # Matrices are small: threads of the array library cost a third more time than they save. The
    # variables count only before its first import, and a user's own setting stands.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from fitting.files import refuse_existing, replace_file
    from fitting.fit.laws import fit_laws
    from fitting.runs.table import read_runs
    from planner.facts.priors import choose_prior

    size = None if target is None else read_target(target)
    if metric is not None or better is not None:
        laws_asked = any((out, plot, prior, laws))
        return fit_metric(runs, metric, better, target=size, laws=laws_asked, as_json=as_json)
    for path in (out, plot):
        others = [*runs, *(laws or []), *([plot] if path is out and plot else [])]
        refuse_existing(path, force=force, beside=others)
    if plot is not None:
        from fitting.figures import check_suffix

        check_suffix(plot)
    with progress() as say:
        say("reading")
        table = read_runs(runs)
        law = choose_prior(table, prior, laws or [])
        found = fit_laws(table, prior=law, target=size, progress=say)
        if plot is not None:
            from fitting.figures import save_figure
            from fitting.fit.figure import fit_figure
            from fitting.fit.figure_data import fit_data

            say("drawing")
            save_figure(fit_figure(fit_data(table, found)), plot)
    if out is not None:
        command = say_command(runs, prior=law, laws=laws or [], target=target)
        replace_file(out, found.to_law(out.stem, f"{command} --out {out}").content)
    if as_json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print(found.summary())
        for path in (out, plot):
            if path is not None:
                print(f"written: {path}")


def fit_metric(
    runs: list[Path],
    metric: str | None,
    better: str | None,
    *,
    target: tuple[float, float] | None,
    laws: bool,
    as_json: bool,
) -> None:
    """Print whether a metric other than loss moves one way.

    Raises:
        InputError: options of laws beside it, or a good side without a metric.
    """
    from planner.cli.runs.metric import show_metric

    if metric is None:
        raise InputError("--better: belongs to --metric; add that or leave it out")
    if laws:
        raise InputError("--metric: fits no law of a plan; leave --out, --plot, --prior out")
    show_metric(runs, metric, better=better, target=target, as_json=as_json)


def say_command(
    runs: list[Path], *, prior: Law | None, laws: list[Path], target: str | None
) -> str:
    """The command that makes this fit again, the prior spelt out."""
    words = ["plan", "fit", *map(str, runs), "--prior", "none" if prior is None else prior.name]
    for path in laws:
        words += ["--laws", str(path)]
    return shlex.join(words if target is None else [*words, "--target", target])


def read_target(text: str) -> tuple[float, float]:
    """Params and tokens from 1B:20B.

    Raises:
        InputError: not two counts.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise InputError(f"--target '{text}': is not PARAMS:TOKENS; write 1B:20B")
    return parse_count(parts[0], where="--target"), parse_count(parts[1], where="--target")


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows on stderr what is being done; silent where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda message: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update
