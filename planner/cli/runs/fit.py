"""`plan fit`: laws from a table of runs, with their audit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.files import check_output
from planner.cli.console import emit, working
from planner.cli.options import (
    AS_JSON,
    OUTPUT,
    PRIOR,
    PRIOR_FILES,
    REPLACE,
    RUN_TABLES,
    Size,
    make_app,
    option,
    target,
)

if TYPE_CHECKING:
    pass

EXAMPLES = """Examples:

plan fit runs.csv --out mine.toml

plan fit small.csv large.parquet --prior none --target 1B:20B --plot fit.png

plan fit runs.csv --metric accuracy --better higher --target 1B:20B"""

app = make_app()

_FIT = "Fit"
_METRIC = "Another metric than loss"


@app.command(epilog=EXAMPLES)
def fit(
    runs: list[Path] = RUN_TABLES,
    out: Path | None = option(
        OUTPUT, "--out", "LAWS.toml", "write the laws for plan --laws; default: do not"
    ),
    prior: str | None = PRIOR,
    laws: list[Path] | None = PRIOR_FILES,
    target: Size | None = target(
        _FIT, "size that the fit is for: near cells count for more; default: none"
    ),
    plot: Path | None = option(
        OUTPUT, "--plot", "PNG", "draw cells, laws and residuals; default: do not"
    ),
    metric: str | None = option(
        _METRIC, "--metric", "COLUMN", "does this column move one way with compute?"
    ),
    better: str | None = option(
        _METRIC, "--better", "higher|lower", "which of it is good; default unsaid"
    ),
    force: bool = REPLACE,
    as_json: bool = AS_JSON,
) -> None:
    """Fit laws of lr, batch, weight decay and loss to your runs.

    Prints each law with its uncertainty and an audit: what it would have cost
    at the largest params, tokens and compute, had they been left out.
    """
    from fitting.files import replace_file
    from fitting.fit.laws import fit_laws
    from fitting.runs.table import read_runs
    from planner.facts.laws import choose_prior

    size = None if target is None else target.pair
    if metric is not None or better is not None:
        laws_asked = any((out, plot, prior, laws))
        return _fit_metric(runs, metric, better, target=size, laws=laws_asked, as_json=as_json)
    read = [*runs, *(laws or [])]
    check_output(out, read=[*read, *([plot] if plot else [])], force=force)
    check_output(plot, read=read, force=force)
    if plot is not None:
        from fitting.figures import check_suffix

        check_suffix(plot)
    with working() as say:
        say("reading")
        table = read_runs(runs)
        law, only_if_needed = choose_prior(prior, laws or [])
        found = fit_laws(table, prior=law, only_if_needed=only_if_needed, target=size, progress=say)
        if plot is not None:
            from fitting.figures import save_figure
            from fitting.fit.figure import fit_figure
            from fitting.fit.figure_data import fit_data

            say("drawing")
            save_figure(fit_figure(fit_data(table, found)), plot)
    if out is not None:
        command = _say_command(runs, prior=found.prior_name, laws=laws or [], target=target)
        replace_file(out, found.to_law(out.stem, f"{command} --out {out}").content)
    written = [f"written: {path}" for path in (out, plot) if path is not None]
    emit(found.to_dict(), "\n".join([found.summary(), *written]), as_json=as_json)


def _fit_metric(
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


def _say_command(
    runs: list[Path], *, prior: str | None, laws: list[Path], target: Size | None
) -> str:
    """The command that makes this fit again, the prior spelt out."""
    words = ["plan", "fit", *map(str, runs), "--prior", prior or "none"]
    for path in laws:
        words += ["--laws", str(path)]
    return shlex.join(words if target is None else [*words, "--target", target.text])
