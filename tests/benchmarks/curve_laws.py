"""How well laws of loss against step foretell schedules that they were not fitted on.

usage: OMP_NUM_THREADS=1 python -m tests.benchmarks.curve_laws SHARED

For the curves of 2503.12811 at 25M and 100M: fitted on cosine_24000, constant_24000 and wsdcon_9,
judged on the other six. Prints error of each form; the two exponents chosen at one size by the
same held-out error and used at the other; how many blocks the 80% intervals cover; the time of a
fit; and how far the final loss foretold from a part of a run is off.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from fitting.arrays import Floats
from fitting.curves.fit import fit_best, fit_curves
from fitting.curves.forms import CURVE_FORMS, CurveForm, Paths
from fitting.curves.law import CurveLaw, forecast
from fitting.curves.path import make_path
from fitting.curves.problem import BLOCKS, gather
from fitting.logs.series import Curve
from tests.fixtures.curves import TRAINED_ON, WARMUP, read_size
from tests.measured.curve_extrapolation import extrapolate

SIZES = ("25M", "100M")
GRID = tuple(product((0.6, 0.7, 0.8, 0.9, 1.0), (0.8, 0.85, 0.9, 0.95, 1.0)))
"""q and r that are tried."""

SHARES = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class Score:
    """Errors on the six curves."""

    nats: float
    final_percent: float
    r2: float

    def __str__(self) -> str:
        return f"{self.nats:.5f} nats, final {self.final_percent:.3f}%, R2 {self.r2:.5f}"


def losses(curve: Curve) -> Floats:
    assert curve.loss is not None
    return curve.loss


def held_out(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if name not in TRAINED_ON}


def score(guesses: Mapping[str, Floats], curves: Mapping[str, Curve]) -> Score:
    errors = {name: guess - losses(curves[name]) for name, guess in guesses.items()}
    finals = [abs(error[-1]) / losses(curves[name])[-1] for name, error in errors.items()]
    loss = np.concatenate([losses(curves[name]) for name in guesses])
    pooled = np.concatenate(list(errors.values()))
    return Score(
        nats=float(np.mean([np.abs(error).mean() for error in errors.values()])),
        final_percent=100 * float(np.mean(finals)),
        r2=float(1 - (pooled**2).sum() / ((loss - loss.mean()) ** 2).sum()),
    )


def guesses_of(form: CurveForm, curves: Mapping[str, Curve]) -> dict[str, Floats]:
    """The six curves by a fit to the three."""
    data = gather([curves[name] for name in TRAINED_ON], WARMUP)
    free = form.whole(fit_best(form, data)[None])
    found = {}
    for name, curve in held_out(curves).items():
        paths = Paths([make_path(curve, warmup_steps=WARMUP)], data.paths.reference)
        found[name] = np.exp(form.loss(paths, free)[0][0])
    return found


def with_exponents(q: float, r: float) -> CurveForm:
    held = {"log_q": float(np.log(q)), "log_r": float(np.log(r))}
    return replace(CURVE_FORMS["extended"], held=held)


def print_forms(sizes: Mapping[str, Mapping[str, Curve]]) -> None:
    print("fitted on three curves, mean over the six others")
    for form, (size, curves) in product(CURVE_FORMS, sizes.items()):
        print(f"  {form:<12}{size:>5}: {score(guesses_of(CURVE_FORMS[form], curves), curves)}")


def print_exponents(sizes: Mapping[str, Mapping[str, Curve]]) -> None:
    print("q and r with the lowest held-out error at one size, used at the other")
    for chosen_at, tested_at in (SIZES, SIZES[::-1]):
        curves = sizes[chosen_at]
        errors = {
            pair: score(guesses_of(with_exponents(*pair), curves), curves).nats for pair in GRID
        }
        best = min(GRID, key=errors.__getitem__)
        used = score(guesses_of(with_exponents(*best), sizes[tested_at]), sizes[tested_at])
        print(f"  chosen at {chosen_at}: q {best[0]:g}, r {best[1]:g}; at {tested_at}: {used}")


def print_coverage(sizes: Mapping[str, Mapping[str, Curve]]) -> None:
    print(f"80% intervals on the six, {BLOCKS} blocks a curve")
    for size, curves in sizes.items():
        begun = time.perf_counter(), time.process_time()
        fit = fit_curves([curves[name] for name in TRAINED_ON], warmup_steps=WARMUP)
        spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
        law = CurveLaw(
            form=fit.form, free=fit.free, reference=fit.reference, covariance=fit.covariance,
            scatter=fit.scatter, peaks=None, steps=None,
        )  # fmt: skip
        inside, widths = [], []
        for curve in held_out(curves).values():
            found = forecast(law, curve, warmup_steps=WARMUP)
            parts = (losses(curve), found.low, found.high)
            blocks = np.array([[b.mean() for b in np.array_split(x, BLOCKS)] for x in parts])
            inside += list((blocks[1] <= blocks[0]) & (blocks[0] <= blocks[2]))
            widths += list(blocks[2] - blocks[1])
        print(
            f"  {size}: {100 * np.mean(inside):.0f}% of {len(inside)} blocks, "
            f"median width {np.median(widths):.4f} nats, inflation {fit.inflation:.2f}; "
            f"fit {spent[0]:.1f} s wall, {spent[1]:.1f} s processor"
        )


def print_extrapolation(sizes: Mapping[str, Mapping[str, Curve]]) -> None:
    print("final loss from a part of a run, 18 curves (final: the mean of the last 8 rows)")
    for share in SHARES:
        off, inside, trusted = [], [], []
        for curve in (curve for curves in sizes.values() for curve in curves.values()):
            part = curve.step <= share * curve.step[-1]
            if part.sum() < 20:
                continue
            seen = replace(
                curve, step=curve.step[part], lr=curve.lr[part], loss=losses(curve)[part]
            )
            found = extrapolate(seen, curve, warmup_steps=WARMUP)
            final = losses(curve)[-8:].mean()
            off.append(100 * abs(np.log(found.final_loss / final)))
            inside.append(found.low <= final <= found.high)
            trusted.append(found.trusted)
        trusting = np.mean(np.array(off)[trusted])
        print(
            f"  {share:.0%} seen, {len(off)} curves: {np.mean(off):.2f}% off, interval covers "
            f"{np.mean(inside):.0%}; {np.mean(trusted):.0%} trusted, {trusting:.2f}% off"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    args = parser.parse_args()
    sizes = {size: read_size(args.shared, size) for size in SIZES}
    print_forms(sizes)
    print_exponents(sizes)
    print_coverage(sizes)
    print_extrapolation(sizes)


if __name__ == "__main__":
    main()
