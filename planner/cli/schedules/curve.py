"""`plan curve`: loss against step: fitted, foretold, designed by, extended."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fitting.errors import InputError, nearest_name
from fitting.files import check_output
from fitting.units import format_small
from planner.cli.console import warn
from planner.cli.options import OUTPUT, REPLACE, argument, make_app, option
from planner.request.choices import check_range
from proxies.run.defaults import LR_BOUNDS

if TYPE_CHECKING:
    from fitting.curves.extend import RunInProgress
    from fitting.curves.fit import CurveFit
    from fitting.curves.law import CurveForecast, CurveLaw
    from fitting.laws.law import Law
    from fitting.logs.series import Curve

app = make_app(help="Fit loss against step and choose a schedule by its forecast.")

_RUN = "The run"
CURVES = argument("CURVES...", "CSV or Parquet: step, lr, loss")
LAW = argument("CURVE.toml", "from plan curve fit --out")
STEPS = option(_RUN, "--steps", "STEPS", "of the whole run, not on top", default=...)
WARMUP = option(
    _RUN,
    "--warmup-steps",
    "STEPS",
    "the lr rose linearly from 0 over these to the first row's",
    default=0.0,
)
SCHEDULE_OUT = option(OUTPUT, "--out", "FILE", "write the schedule here, as step,lr", short="-o")

PREDICT_EXAMPLES = """Examples:

plan curve predict curve.toml schedule.csv --warmup-steps 2160

plan curve predict curve.toml plan.json > expected.csv"""

BEST_EXAMPLES = """Examples:

plan curve best curve.toml --steps 24000 -o best.csv

plan curve best curve.toml --steps 24000 --lr 3e-4 --warmup-steps 2160"""

EXTEND_EXAMPLES = """Examples:

plan curve extend curve.toml log.csv --steps 48000

plan curve extend curve.toml log.csv --steps 48000 --warmup-steps 2160 -o rest.csv"""

FIT_EXAMPLES = """Examples:

plan curve fit cosine.csv constant.csv --warmup-steps 2160 --out curve.toml

plan curve fit run.csv --out curve.toml --form multi-power --plot curve.png"""


@app.command("fit", epilog=FIT_EXAMPLES)
def fit_curve_law(
    context: typer.Context,
    curves: list[Path] = CURVES,
    out: Path = option(OUTPUT, "--out", "CURVE.toml", "where the law goes", default=...),
    warmup_steps: float = WARMUP,
    form: str = option(
        _RUN, "--form", "FORM", "extended, multi-power, annealing, power", default="extended"
    ),
    plot: Path | None = option(OUTPUT, "--plot", "FILE", "figure: .png, .pdf or .svg"),
    force: bool = REPLACE,
) -> None:
    """Fit a law of loss against step to curves of one model.

    Prints its numbers with one standard deviation; the law goes to --out, a figure to --plot.
    """
    from fitting.curves.figure import curve_figure, curve_plot_data
    from fitting.curves.fit import fit_curves
    from fitting.curves.forms import CURVE_FORMS
    from fitting.curves.law import law_of_fit
    from fitting.figures import check_suffix, save_figure
    from fitting.files import replace_file
    from fitting.logs.series import read_curve

    if form not in CURVE_FORMS:
        raise InputError(
            f"--form '{form}': no such form{nearest_name(form, CURVE_FORMS)}; one of "
            f"{', '.join(CURVE_FORMS)}"
        )
    check_output(out, read=curves, force=force)
    check_output(plot, read=[*curves, out], force=force)
    if plot is not None:
        check_suffix(plot)
    read = [read_curve(path) for path in curves]
    found = fit_curves(read, form=CURVE_FORMS[form], warmup_steps=warmup_steps)
    law = law_of_fit(
        found,
        read,
        name=out.stem,
        command=context.obj.text,
        warmup_steps=warmup_steps,
    )
    replace_file(out, law.content)
    if plot is not None:
        caption = f"{form} fitted to {len(read)} curves; law {out.name}"
        save_figure(curve_figure(curve_plot_data(found, read, caption=caption)), plot)
    if len(read) == 1:
        warn(["one curve says little of other schedules, nor how far off it is; add another"])
    print(_describe_fit(found, law))


@app.command("predict", epilog=PREDICT_EXAMPLES)
def predict_curve(
    law: Path = LAW,
    schedule: Path = argument("SCHEDULE.csv|PLAN.json", "columns step, lr; or a plan"),
    warmup_steps: float = WARMUP,
) -> None:
    """Foretell the loss at every row of a schedule.

    Prints CSV: step,lr,loss,low,high; low to high is an 80% interval for the loss averaged over
    an eighth of a run. A plan is foretold at every step from the end of its warmup on.
    """
    from fitting.curves.law import forecast
    from fitting.logs.series import read_schedule
    from planner.plan.file import load_plan
    from planner.recommendation.schedule import (
        lr_caution,
        planned_curve,
        read_curve_law,
        steps_caution,
    )

    known = read_curve_law(law)
    if schedule.suffix == ".json":
        if warmup_steps:
            raise InputError(f"--warmup-steps {warmup_steps:g}: {schedule} has its own warmup")
        plan = load_plan(schedule)
        rows, warmup_steps = planned_curve(plan.run), plan.warmup_steps
    else:
        rows = read_schedule(schedule)
    lr = lr_caution(known, float(rows.lr.max()))
    _warn_of(lr and f"{lr}: the loss there is a guess", steps_caution(known, float(rows.step[-1])))
    print_forecast(forecast(known, rows, warmup_steps=warmup_steps))


@app.command("best", epilog=BEST_EXAMPLES)
def design_curve(
    law: Path = LAW,
    steps: int = STEPS,
    lr: float | None = option(_RUN, "--lr", "LR", "peak lr; default: the law's"),
    warmup_steps: int | None = option(_RUN, "--warmup-steps", "STEPS", "default: min(2,000, 10%)"),
    out: Path | None = SCHEDULE_OUT,
    force: bool = REPLACE,
) -> None:
    """Design the schedule that never rises with the lowest final loss.

    Prints CSV: step,lr, linear between rows, or writes it to -o; what it saves over WSD, linear
    and cosine, each with its defaults, goes to stderr.
    """
    from fitting.curves.schedule_design import design, warmed_up
    from planner.recommendation.schedule import (
        gain_over,
        judged_lr,
        lr_caution,
        read_curve_law,
        sample_schedule,
        steps_caution,
        usual_schedules,
    )

    check_range("--lr", lr, LR_BOUNDS)
    check_output(out, read=[law], force=force)
    known = read_curve_law(law)
    peak = lr or peak_of(known, law)
    usual = usual_schedules(steps, warmup_steps)
    judged = judged_lr(known, peak)
    found = design(known, warmed_up(judged, usual["wsd"].warmup_steps), steps=steps)
    write_schedule(replace(found, lr=found.lr * (peak / judged)), out)
    of_lr = lr_caution(known, peak)
    _warn_of(of_lr and f"{of_lr}: designed as if it were that", steps_caution(known, steps))
    for other in usual.values():
        gain = gain_over(known, found, sample_schedule(other, judged))
        print(f"saves {gain}", file=sys.stderr)


@app.command("extend", epilog=EXTEND_EXAMPLES)
def extend_curve(
    law: Path = LAW,
    log: Path = argument("LOG.csv", "the run: step, lr, loss"),
    steps: int = STEPS,
    warmup_steps: float = WARMUP,
    out: Path | None = SCHEDULE_OUT,
    force: bool = REPLACE,
) -> None:
    """Foretell what more steps would give for a run in progress.

    Prints the loss now and at the end of some ways to go on, each with an 80% interval, and the
    lr to go on with by the law and by the convex last-iterate bound; -o takes the designed lr.
    """
    from fitting.curves.extend import extend as extend_run
    from fitting.logs.series import read_curve
    from planner.recommendation.schedule import bound_lr, lr_caution, read_curve_law, steps_caution

    check_output(out, read=[law, log], force=force)
    known, run = read_curve_law(law), read_curve(log)
    found = extend_run(known, run, steps=steps, warmup_steps=warmup_steps)
    bound = bound_lr(run, steps=steps, warmup_steps=warmup_steps)
    if out is not None:
        write_schedule(found.ways[-1].schedule, out)
    of_lr = lr_caution(known, float(run.lr.max()))
    _warn_of(of_lr and f"{of_lr}: the forecast is a guess", steps_caution(known, steps))
    print(describe_extension(found, bound))


def _describe_fit(found: CurveFit, law: Law) -> str:
    """The numbers of a fit with one standard deviation each."""
    import numpy as np

    quantity = law.quantities["curve"]
    matrix = quantity.covariance
    typical = 100 * float(np.abs(found.log_residual).mean())
    lines = [
        f"{quantity.form}: {quantity.n} rows, curves: {len(found.data.paths.paths)}; "
        f"{typical:.3f}% off on average, R2 {found.r2:.4f}"
    ]
    for name, value in quantity.coefficients.items():
        at = matrix.names.index(name) if matrix is not None and name in matrix.names else None
        error = "held" if at is None or matrix is None else f"± {matrix.matrix[at][at] ** 0.5:.2g}"
        lines.append(f"  {name:<6}{value:>10.4g} {error}")
    lines.append(f"errors are scaled by {found.inflation:.2f} to cover what was held out")
    return "\n".join(lines)


def print_forecast(found: CurveForecast) -> None:
    """CSV of a forecast, one line a row."""
    print("step,lr,loss,low,high")
    for row in zip(found.step, found.lr, found.loss, found.low, found.high, strict=True):
        # Empty where the law does not say: no interval, or nothing trained yet.
        losses = ("" if math.isnan(value) else f"{value:.6f}" for value in row[2:])
        print(f"{row[0]:.10g},{row[1]:.10g},{','.join(losses)}")


def write_schedule(found: Curve, out: Path | None) -> None:
    """CSV of step,lr on stdout, or in a file."""
    from fitting.files import replace_file

    rows = (f"{step:.10g},{lr:.6g}\n" for step, lr in zip(found.step, found.lr, strict=True))
    text = "step,lr\n" + "".join(rows)
    if out is None:
        sys.stdout.write(text)
        return
    replace_file(out, text.encode())


def _warn_of(*cautions: str | None) -> None:
    """Say what lies outside what the law was fitted to; None is nothing."""
    warn(filter(None, cautions))


def peak_of(law: CurveLaw, path: Path) -> float:
    """The peak lr of the law's curves.

    Raises:
        InputError: the file does not say.
    """
    if law.peaks is None:
        raise InputError(f"{path}: does not say at which lr its curves ran; give --lr")
    return law.peaks[1]


def describe_extension(found: RunInProgress, bound: float) -> str:
    """The ways to go on and the lr by the law and by the bound."""
    lines = [
        f"now        step {found.step:.0f}, lr {format_small(found.lr)}, loss {found.loss:.4f} "
        f"({100 * found.offset:+.2f}% from the law)"
    ]
    for way in found.ways:
        end = way.schedule.step[-1]
        lines.append(
            f"{way.name + ',':<14} to step {end:.0f}: loss {way.loss:.4f} "
            f"({way.low:.4f} to {way.high:.4f}), {way.loss - found.loss:+.4f} from now"
        )
    lines.append(
        f"lr at the start of the rest: law {format_small(found.kept_lr)}, "
        f"last-iterate bound {format_small(bound)}"
    )
    return "\n".join(lines)
