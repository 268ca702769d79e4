"""`plan fit RUNS --metric COLUMN`: whether a metric other than loss moves one way with compute."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from fitting.units import format_small
from planner.cli.console import emit

if TYPE_CHECKING:
    from pathlib import Path

    from fitting.probes.trend import Trend

BETTER = ("higher", "lower")


def show_metric(
    paths: list[Path],
    metric: str,
    *,
    better: str | None,
    target: tuple[float, float] | None,
    as_json: bool,
) -> None:
    """Print which way a metric moves with compute, and its value at a target if one way.

    Raises:
        InputError: no such column, a cell that is no number, or too few runs.
    """
    from fitting.probes.trend import find_trend

    if better is not None and better not in BETTER:
        raise InputError(f"--better '{better}': is not higher or lower")
    flops, values = read_metric(paths, metric)
    trend = find_trend(flops, values)
    foretold = None
    if target is not None and trend.law is not None:
        foretold = trend.law.at(6 * target[0] * target[1])
    lines = trend_lines(trend, metric, better)
    if foretold is not None:
        value, low, high = (format_small(number) for number in foretold)
        lines.append(f"at the target: {value} (80% {low} to {high})")
    elif target is not None:
        lines.append(f"at the target: not foretold, {metric} has no power law here")
    plain = asdict(trend) | {"metric": metric, "foretold": foretold}
    emit(plain, "\n".join(lines), as_json=as_json)


def read_metric(paths: list[Path], metric: str) -> tuple[list[float], list[float]]:
    """6 N D and the metric of every run that has all three.

    Raises:
        InputError: naming the column or the row.
    """
    from fitting.files import read_table

    flops, values = [], []
    for path in paths:
        table = read_table(path)
        for name in ("params", "tokens", metric):
            if name not in table.columns:
                known = [str(column) for column in table.columns]
                raise InputError(f"{path}: has no column {name}{nearest_name(name, known)}")
        cells = zip(table.index, table["params"], table["tokens"], table[metric], strict=True)
        for row, *numbers in cells:
            params, tokens, value = (number_of(cell, path, int(row)) for cell in numbers)
            if math.isnan(params * tokens * value):
                continue
            if params <= 0 or tokens <= 0:
                raise InputError(f"{path} row {row}: params and tokens must be above 0")
            flops.append(6 * params * tokens)
            values.append(value)
    return flops, values


def number_of(cell: object, path: Path, row: int) -> float:
    """A cell as a number; an empty one is not a number.

    Raises:
        InputError: it is something else, or infinite.
    """
    try:
        value = float(str(cell).strip() or "nan")
    except ValueError as error:
        raise InputError(f"{path} row {row}: '{cell}' is not a number") from error
    if math.isinf(value):
        raise InputError(f"{path} row {row}: {value} is not finite")
    return value


def trend_lines(trend: Trend, metric: str, better: str | None) -> list[str]:
    """The finding in words, with the p of its tests and their error rate."""
    from fitting.probes.trend import ERROR_RATE, FEWEST_TO_BEND

    bend = (
        f"too few runs for a bend (at least {FEWEST_TO_BEND})"
        if trend.p_bend is None
        else f"bend p = {trend.p_bend:.2g}"
    )
    tests = (
        f"{trend.runs} runs; one way p = {trend.p_trend:.2g}, {bend}; each test errs in at most "
        f"{100 * ERROR_RATE:.0f}% of tables"
    )
    if trend.turn_flops is not None:
        words = "falls, then rises" if trend.kind == "u-shaped" else "rises, then falls"
        return [
            f"{metric} {words} with compute ({trend.kind}), turning near "
            f"{format_small(trend.turn_flops)} FLOPs: not monotone, so no power law is fitted and "
            "nothing is extrapolated",
            tests,
        ]
    if trend.kind == "none":
        return [
            f"{metric} has no trend that these runs tell from noise: nothing is extrapolated",
            tests,
        ]
    worse = {"rising": "lower", "falling": "higher"}[trend.kind] == better
    inverse = ": inverse scaling, it gets worse with compute" if worse else ""
    if trend.law is None:
        return [
            f"{metric} is {trend.kind} with compute{inverse}; it is not above 0 throughout, so it "
            "has no power law",
            tests,
        ]
    return [
        f"{metric} is {trend.kind} with compute{inverse}",
        f"{metric} = {format_small(math.exp(trend.law.intercept))} (C / "
        f"{format_small(trend.law.center)})^{trend.law.slope:.3f}, sd of ln "
        f"{trend.law.scatter:.3f}",
        tests,
    ]
