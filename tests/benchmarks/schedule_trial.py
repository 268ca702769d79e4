"""Is the schedule that a curve law designs better when it is trained?

    python -m tests.benchmarks.schedule_trial train
    python -m tests.benchmarks.schedule_trial report

A proxy is trained on Python's own sources as bytes, nothing repeated: first three runs of 1,500
steps (constant, cosine, a drop at half way) whose curves a law is fitted to; then 2,000 steps of
WSD, linear, cosine (each with its defaults) and the schedule designed by that law, at the same
peak lr and warmup, 3 seeds that the fit has not seen. Rows are kept as they come.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fitting.curves.fit import fit_curves
from fitting.curves.law import curve_law, law_of_fit
from fitting.curves.schedule_design import design, warmed_up
from fitting.logs.series import Curve
from proxies.corpus import open_corpus
from proxies.run.batching import Batching
from proxies.run.options import TrainOptions
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.result import RunResult
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.schedule.from_file import through_knots
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec
from proxies.train.loop import train_run

RECORDED = Path(__file__).parents[2] / "notebooks" / "schedule_trial.csv"
"""The runs, kept beside the figure that is drawn of them."""

LR, WARMUP = 2.0**-7, 100
FIT_STEPS, STEPS = 1500, 2000
SEQUENCES, SEQ_LEN, BLOCK = 8, 128, 10
FIT_SEED, SEEDS = 100, (0, 1, 2)
BASELINE = "linear"


def main() -> None:
    """Train or report."""
    if sys.argv[1] == "train":
        train(RECORDED)
    else:
        print(report(pd.read_csv(RECORDED)))


def train(table: Path) -> None:
    """Fit, design, and train the four schedules; the table is written after each run."""
    schedules = {
        kind: make_schedule(kind, steps=STEPS, warmup_steps=WARMUP)
        for kind in ("wsd", "linear", "cosine")
    }
    schedules["designed"] = design_schedule(table.with_suffix(".curves.csv"))
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    done = {(row["schedule"], row["seed"]) for row in rows}
    for seed in SEEDS:
        for name, schedule in schedules.items():
            if (name, seed) in done:
                continue
            result = run(schedule, seed=seed)
            rows.append(
                {
                    "schedule": name,
                    "seed": seed,
                    "steps": schedule.steps,
                    "lr": LR,
                    "loss": result.loss,
                    "loss_se": result.loss_se,
                    "seconds": result.seconds,
                }
            )
            pd.DataFrame(rows).to_csv(table, index=False)
            print(rows[-1], file=sys.stderr, flush=True)


def design_schedule(kept: Path) -> Schedule:
    """Train the three curves (or read them), fit the law, design, and say what it foretells."""
    if not kept.exists():
        pd.concat([trained_curve(name) for name in ("constant", "cosine", "two-stage")]).to_csv(
            kept, index=False
        )
    curves = [
        Curve(
            name=str(name),
            step=rows.step.to_numpy(dtype=float),
            lr=rows.lr.to_numpy(),
            loss=rows.loss.to_numpy(),
        )
        for name, rows in pd.read_csv(kept).groupby("name")
    ]
    fit = fit_curves(curves, warmup_steps=WARMUP)
    print(f"law: R2 {fit.r2:.4f}, block scatter {fit.scatter:.4f}", file=sys.stderr)
    fitted = law_of_fit(fit, curves, name="trial", command=" ".join(sys.argv), warmup_steps=WARMUP)
    law = curve_law(fitted, where="fit")
    found = design(law, warmed_up(LR, WARMUP), steps=STEPS)
    knots = [(int(s), lr / LR) for s, lr in zip(found.step, found.lr, strict=True)]
    return through_knots(knots, kind="csv")


def trained_curve(kind: str) -> pd.DataFrame:
    """Loss against step of one run, the mean over blocks of steps after the warmup."""
    drop = {"decay_steps": FIT_STEPS // 2, "final_lr_fraction": 0.3}
    options: dict[str, Any] = drop if kind == "two-stage" else {}
    schedule = make_schedule(kind, steps=FIT_STEPS, warmup_steps=WARMUP, **options)
    curve = run(schedule, seed=FIT_SEED).curve
    table = pd.DataFrame(
        {"step": p.step, "lr": p.lr, "loss": p.loss} for p in curve if p.step > WARMUP
    )
    blocks = table.groupby((table.step - WARMUP - 1) // BLOCK).mean()
    return blocks.assign(name=kind)


def run(schedule: Schedule, *, seed: int) -> RunResult:
    """Train the proxy once."""
    corpus = open_corpus("python")
    shape = Shape(
        d_model=64,
        n_layers=2,
        n_heads=2,
        n_kv_heads=2,
        head_dim=32,
        d_ff=160,
        vocab_size=corpus.vocab_size,
    )
    rule = make_parametrization("sp", d_model=64, n_layers=2, head_dim=32)
    spec = RunSpec(
        shape=shape,
        seq_len=SEQ_LEN,
        parametrization=rule,
        optimizer=OPTIMIZERS["adamw"],
        lr=LR,
        weight_decay=0.1,
        schedule=schedule,
        batching=Batching(kind="fixed", sequences=SEQUENCES),
        tokens=schedule.steps * SEQUENCES * SEQ_LEN,
        options=TrainOptions(seed=seed, eval_sequences=512),
    )
    return train_run(spec, corpus)


def report(runs: pd.DataFrame) -> str:
    """Mean loss by schedule with its standard error, and the paired gain over the baseline."""
    wide = runs.pivot(index="seed", columns="schedule", values="loss")
    lines = ["schedule    loss    ± of the mean   less than linear by (paired, ±)"]
    for name in wide.mean().sort_values().index:
        gain = wide[BASELINE] - wide[name]
        root = np.sqrt(len(wide))
        lines.append(
            f"{name:10} {wide[name].mean():.4f}  {wide[name].std() / root:.4f}"
            f"          {gain.mean():+.4f} ± {gain.std() / root:.4f}"
        )
    lines.append(
        f"{len(runs)} runs of {STEPS:,} steps, {runs.seconds.sum() / 60:.1f} minutes of training"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
