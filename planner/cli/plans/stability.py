"""`plan stability`: what the probes of a sweep say of a larger run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.files import check_output
from planner.cli.console import emit, warn
from planner.cli.options import (
    AS_JSON,
    OUTPUT,
    REPLACE,
    Size,
    argument,
    make_app,
    option,
    target,
)

if TYPE_CHECKING:
    from planner.health.mitigations import StabilityTarget

EXAMPLES = """Examples:

plan stability notebooks/stability.csv

plan stability notebooks/stability.csv --target 1B:20B --lr 1e-3 --json"""

app = make_app()

_TARGET = "Target"


@app.command(epilog=EXAMPLES)
def stability(
    runs: list[Path] = argument("RUNS...", "CSV or Parquet with probe columns"),
    target: Size | None = target(_TARGET, "size to foretell, as 1B:20B"),
    lr: float | None = option(_TARGET, "--lr", "LR", "its peak lr; default: --plan's"),
    plan: Path | None = option(
        _TARGET, "--plan", "PLAN.json", "size, lr and eps, from plan ... --json"
    ),
    threshold: float | None = option(
        _TARGET,
        "--threshold",
        "LOGIT",
        "largest attention logit borne; default 1e4, above which every run of arXiv 2309.14322 "
        "diverged",
    ),
    plot: Path | None = option(
        OUTPUT, "--plot", "FILE", "draw logits against lr: .png, .pdf, .svg"
    ),
    force: bool = REPLACE,
    as_json: bool = AS_JSON,
) -> None:
    """Foretell instabilities of a run from the probes of smaller ones.

    Prints how each probe grows with lr and params, at which lr the largest attention logit passes
    the threshold, how much a wrong lr costs, and which mitigations the target calls for.
    """
    from fitting.figures import check_suffix
    from fitting.runs.table import read_runs
    from planner.health.mitigations import THRESHOLD
    from planner.health.stability import LOGIT, assess, by_setup, report_dict, report_lines

    if plot is not None:
        check_output(plot, read=runs, force=force)
        check_suffix(plot)
    limit = THRESHOLD if threshold is None else threshold
    if not 0 < limit < float("inf"):
        raise InputError(f"--threshold {limit:g}: a number above 0")
    params, judged = _judged(target, lr, plan, limit)
    table = read_runs(runs)
    if "lr" not in table.table or not table.table["lr"].notna().any():
        raise InputError(f"{runs[0]}: no column lr, which stability is judged against")
    found = assess(table, target=judged, params=params, threshold=limit)
    if plot is not None:
        from fitting.errors import FitError
        from fitting.figures import save_figure
        from fitting.probes.figure import stability_figure, stability_plot_data

        drawn = next((each for each in found if LOGIT in each.laws), found[0])
        part = dict(by_setup(table))[drawn.setup]
        law = drawn.laws.get(LOGIT)
        if law is None:
            raise FitError("--plot: no probe has a law; the report says why")
        data = stability_plot_data(part, law, threshold=limit, params=params)
        save_figure(stability_figure(data), plot)
    warn(dict.fromkeys(caution for setup in found for caution in setup.cautions))
    text = "\n".join(report_lines(found, threshold=limit, target=judged))
    emit(report_dict(found, threshold=limit, target=judged), text, as_json=as_json)


def _judged(
    target: Size | None, lr: float | None, plan: Path | None, threshold: float
) -> tuple[float | None, StabilityTarget | None]:
    """The size asked for, and what is judged where its lr is known.

    Raises:
        InputError: an option cannot be read, or an lr without a size.
    """
    from planner.health.mitigations import EPS, StabilityTarget
    from planner.plan.file import load_plan
    from planner.request.choices import check_range
    from proxies.run.defaults import LR_BOUNDS

    check_range("--lr", lr, LR_BOUNDS)
    params = None if target is None else target.params
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
    return params, StabilityTarget(params=params, lr=lr, threshold=threshold, eps=eps)
