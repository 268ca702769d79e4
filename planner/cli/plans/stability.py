"""`plan stability`: what the probes of a sweep say of a larger run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import InputError

if TYPE_CHECKING:
    from planner.health.mitigations import Target

EXAMPLES = """Examples:

plan stability notebooks/stability.csv

plan stability notebooks/stability.csv --target 1B:20B --lr 1e-3 --json"""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES
)


@app.command(epilog=EXAMPLES)
def stability(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS...", help="CSV or Parquet with probe columns.")
    ],
    target: Annotated[
        str | None, typer.Option(metavar="PARAMS:TOKENS", help="Size to foretell, as 1B:20B.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", metavar="LR", help="Its peak lr; default: --plan's.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PLAN.json", help="Size, lr and eps, from plan ... --json."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="LOGIT",
            help="Largest attention logit borne; default 1e4, above which every run of "
            "arXiv 2309.14322 diverged.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw logits against lr: .png, .pdf, .svg.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Foretell instabilities of a run from the probes of smaller ones.

    Prints how each probe grows with lr and params, at which lr the largest attention logit passes
    the threshold, how much a wrong lr costs, and which mitigations the target calls for.
    """
    from fitting.errors import FitError
    from fitting.figures import check_suffix, save_figure
    from fitting.files import refuse_existing
    from fitting.runs.table import read_runs
    from planner.health.mitigations import THRESHOLD
    from planner.health.stability import LOGIT, assess, by_setup
    from planner.health.stability_text import report_dict, report_lines

    if plot is not None:
        refuse_existing(plot, force=force, beside=runs)
        check_suffix(plot)
    limit = THRESHOLD if threshold is None else threshold
    if not 0 < limit < float("inf"):
        raise InputError(f"--threshold {limit:g}: a number above 0")
    params, judged = read_target(target, lr, plan, limit)
    table = read_runs(runs)
    if "lr" not in table.table or not table.table["lr"].notna().any():
        raise InputError(f"{runs[0]}: no column lr, which stability is judged against")
    found = assess(table, target=judged, params=params, threshold=limit)
    if plot is not None:
        from fitting.probes.figure import stability_figure, stability_plot_data

        drawn = next((each for each in found if LOGIT in each.laws), found[0])
        part = dict(by_setup(table))[drawn.setup]
        law = drawn.laws.get(LOGIT)
        if law is None:
            raise FitError("--plot: no probe has a law; the report says why")
        data = stability_plot_data(part, law, threshold=limit, params=params)
        save_figure(stability_figure(data), plot)
    for caution in dict.fromkeys(caution for setup in found for caution in setup.cautions):
        print("warning:", caution, file=sys.stderr)
    if as_json:
        print(json.dumps(report_dict(found, threshold=limit, target=judged), indent=1))
        return
    print("\n".join(report_lines(found, threshold=limit, target=judged)))


def read_target(
    text: str | None, lr: float | None, plan: Path | None, threshold: float
) -> tuple[float | None, Target | None]:
    """The size asked for, and what is judged where its lr is known.

    Raises:
        InputError: an option cannot be read, or an lr without a size.
    """
    from planner.cli.runs.fit import read_target as read_size
    from planner.health.mitigations import EPS, Target
    from planner.plan.document import load_plan
    from planner.request.choices import LR_BOUNDS, check_range

    check_range("--lr", lr, LR_BOUNDS)
    params = None if text is None else read_size(text)[0]
    eps = EPS
    if plan is not None:
        document = load_plan(plan)
        params = document.target.params if params is None else params
        lr = document.lr.value if lr is None else lr
        eps = document.optimizer.eps or EPS
    if params is None and lr is not None:
        raise InputError(f"--lr {lr:g}: of what size; give --target PARAMS:TOKENS or --plan")
    if params is None or lr is None:
        return params, None
    return params, Target(params=params, lr=lr, threshold=threshold, eps=eps)
