"""`plan curve`: loss against step: fitted, foretold, designed by, extended."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import InputError, nearest_name

if TYPE_CHECKING:
    from fitting.curves.fit import CurveFit
    from fitting.curves.law import Forecast
    from fitting.laws import Law

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Fit loss against step and choose a schedule by its forecast.",
)

CurveFiles = Annotated[
    list[Path], typer.Argument(metavar="CURVES...", help="CSV or Parquet: step, lr, loss.")
]
LawFile = Annotated[Path, typer.Argument(metavar="CURVE.toml", help="From plan curve fit --out.")]
Warmup = Annotated[
    float,
    typer.Option(
        "--warmup-steps",
        metavar="STEPS",
        help="the lr rose linearly from 0 over these to the first row's; default 0",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="overwrite files that exist")]

HELD_OUT = "so far off lie curves that are held out"

FIT_EXAMPLES = """Examples:

plan curve fit cosine.csv constant.csv --warmup-steps 2160 --out curve.toml

plan curve fit run.csv --out curve.toml --form multi-power --plot curve.png"""


@app.command("fit", epilog=FIT_EXAMPLES)
def fit(
    curves: CurveFiles,
    out: Annotated[Path, typer.Option("--out", metavar="CURVE.toml", help="where the law goes")],
    warmup_steps: Warmup = 0.0,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            metavar="FORM",
            help="extended (default), multi-power, annealing, power",
            show_default=False,
        ),
    ] = "extended",
    force: Force = False,
) -> None:
    """Fit a law of loss against step to curves of one model.

    Prints its numbers with one standard deviation; the law goes to --out.
    """
    from fitting.curves.files import read_curve
    from fitting.curves.fit import FORMS, fit_curves
    from fitting.curves.law import law_of_fit
    from fitting.laws import law_to_toml
    from fitting.table_files import replace_file

    if form not in FORMS:
        raise InputError(
            f"--form '{form}': no such form{nearest_name(form, FORMS)}; one of {', '.join(FORMS)}"
        )
    refuse_existing(out, force=force)
    read = [read_curve(path) for path in curves]
    found = fit_curves(read, form=FORMS[form], warmup_steps=warmup_steps)
    law = law_of_fit(
        found,
        read,
        name=out.stem,
        command=shlex.join(["plan", *sys.argv[1:]]),
        warmup_steps=warmup_steps,
    )
    replace_file(out, law_to_toml(law).encode())
    print(describe(found, law))


@app.command("predict")
def predict(
    law: LawFile,
    schedule: Annotated[
        Path, typer.Argument(metavar="SCHEDULE.csv|PLAN.json", help="Columns step, lr; or a plan.")
    ],
    warmup_steps: Warmup = 0.0,
) -> None:
    """Foretell the loss at every row of a schedule.

    Prints CSV: step,lr,loss,low,high; low to high is an 80% interval for the loss averaged over
    an eighth of a run.
    """
    from fitting.curves.files import read_schedule
    from fitting.curves.law import curve_law, forecast
    from fitting.laws import read_law

    known = curve_law(read_law(law), where=str(law))
    print_forecast(forecast(known, read_schedule(schedule), warmup_steps=warmup_steps))


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse to write over a file.

    Raises:
        InputError: it exists and `force` is not given.
    """
    if path.exists() and not force:
        raise InputError(f"{path}: exists already; name another file or pass --force")


def describe(found: CurveFit, law: Law) -> str:
    """The numbers of a fit with one standard deviation each."""
    import numpy as np

    quantity = law.quantities["curve"]
    matrix = quantity.covariance
    typical = 100 * float(np.abs(found.log_residual).mean())
    lines = [
        f"{quantity.form}: {quantity.n} rows of {found.run.max() + 1} curves, "
        f"{typical:.3f}% off on average, R2 {found.r2:.4f}"
    ]
    for name, value in quantity.coefficients.items():
        at = matrix.names.index(name) if matrix is not None and name in matrix.names else None
        error = "held" if at is None or matrix is None else f"± {matrix.matrix[at][at] ** 0.5:.2g}"
        lines.append(f"  {name:<6}{value:>10.4g} {error}")
    lines.append(f"errors are {found.inflation:.2f} times those of resampled blocks: {HELD_OUT}")
    return "\n".join(lines)


def print_forecast(found: Forecast) -> None:
    """CSV of a forecast, one line a row."""
    print("step,lr,loss,low,high")
    for row in zip(found.step, found.lr, found.loss, found.low, found.high, strict=True):
        print("{:.10g},{:.10g},{:.6f},{:.6f},{:.6f}".format(*row))
