"""How far does the best peak lr move with the schedule? Trained, recorded, held against a bound.

    python -m tests.benchmarks.schedule_transfer train [WIDTH:STEPS ...]
    python -m tests.benchmarks.schedule_transfer report [PNG]

`train` sweeps lr by factors of 2 under each schedule at two widths, two lengths and three seeds:
muP at its default base (width 256, init 0.08, embedding times 10), warmup 10%, on Python's own
sources as bytes, of which no run repeats any. A constant run and the WSD runs of its lr and seed
are one run until a decay begins, so they are trained as one trunk with branches. Rows are kept as
they come, and a second call goes on. Weights and products are float32, compiled, on one thread.

`report` takes each schedule's best lr at each width and length: the minimum of a cubic in ln lr
through the five mean losses around the lowest (`best_lr` says why no parabola). It prints the ratio
to cosine to 10% beside the ratio of the last-iterate bound's best peaks (arXiv 2501.18965), errors
bootstrapped over seeds, and the power of the bound's ratio that fits best at one width and length,
by five lrs and by parabolas through three, with what it is off by at the others.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from proxies.corpus import Corpus, open_corpus
from proxies.run.batching import Batching
from proxies.run.options import TrainOptions
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.result import RunResult
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.schedule.convex_bound import best_peak_lr
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec
from proxies.train.loop import advance, finish, keep_in
from proxies.train.state import capture_state, restore_state, start_state
from tests.benchmarks.best_lr import find_optimum, mean_losses, seed_error, whole_seeds

RECORDED = Path(__file__).parents[2] / "notebooks" / "schedule_transfer.csv"
"""The runs, kept beside the figure that is drawn of them."""

WIDTHS, LENGTHS, SEEDS = (64, 128), (500, 1000), (0, 1, 2)
HEAD_DIM, N_LAYERS = 32, 2
SEQUENCES, SEQ_LEN = 8, 128
LOG2_LRS = {"linear": range(-11, -6), "cosine": range(-11, -6), "trunk": range(-12, -6)}
"""By what is trained: the decays of WSD and the constant lr have one grid for all."""
REFERENCE = "cosine 10%"
BOUND_STEPS = 1000
"""Of the schedules that the bound is worked out for; its ratios hardly depend on it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained in one go: one lr and seed, under one schedule or the trunk's."""

    d_model: int
    steps: int
    kind: str
    """A key of `LOG2_LRS`."""
    log2_lr: int
    seed: int


def main() -> None:
    """Train or report."""
    if sys.argv[1] == "train":
        cells = [tuple(map(int, text.split(":"))) for text in sys.argv[2:]]
        train(RECORDED, cells or list(itertools.product(WIDTHS, LENGTHS)))
        return
    runs = pd.read_csv(RECORDED)
    print(report(runs))
    if len(sys.argv) > 2:
        draw(runs, Path(sys.argv[2]))


def make_schedules(steps: int) -> dict[str, Schedule]:
    """Every schedule of the sweep by name, warmup 10%; the trunk's branches in rising order."""
    warmup = steps // 10

    def wsd(share: float, shape: str) -> Schedule:
        return make_schedule(
            "wsd",
            steps=steps,
            warmup_steps=warmup,
            decay_steps=round(share * steps),
            decay_shape=shape,
        )

    return {
        "wsd 40% 1-sqrt": wsd(0.4, "1-sqrt"),
        "wsd 20% 1-sqrt": wsd(0.2, "1-sqrt"),
        "wsd 20% linear": wsd(0.2, "linear"),
        "wsd 10% 1-sqrt": wsd(0.1, "1-sqrt"),
        "constant": make_schedule("constant", steps=steps, warmup_steps=warmup),
        "linear": make_schedule("linear", steps=steps, warmup_steps=warmup),
        "cosine 10%": make_schedule("cosine", steps=steps, warmup_steps=warmup),
    }


def list_jobs(cells: Sequence[tuple[int, ...]]) -> list[Job]:
    """Every job of the cells (width, steps), a seed of all before the next."""
    return [
        Job(d_model, steps, kind, log2_lr, seed)
        for seed in SEEDS
        for d_model, steps in cells
        for kind, log2_lrs in LOG2_LRS.items()
        for log2_lr in log2_lrs
    ]


def train(table: Path, cells: Sequence[tuple[int, ...]]) -> None:
    """Run what is not in the table yet and add its rows; a job's rows come together."""
    torch.set_num_threads(1)
    corpus = open_corpus("python")
    names = Job.__slots__
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    done = {tuple(row[name] for name in names) for row in rows}
    jobs = list_jobs(cells)
    todo = [job for job in jobs if tuple(getattr(job, name) for name in names) not in done]
    for count, job in enumerate(todo, start=1):
        rows += run_job(job, corpus)
        part = table.with_suffix(".part")
        pd.DataFrame(rows).to_csv(part, index=False)
        os.replace(part, table)
        print(f"{count}/{len(todo)}", rows[-1], file=sys.stderr, flush=True)


def run_job(job: Job, corpus: Corpus) -> list[dict[str, Any]]:
    """Train one job; a row for each of its schedules."""
    schedules = make_schedules(job.steps)
    if job.kind == "trunk":
        chosen = {name: one for name, one in schedules.items() if one.kind in ("wsd", "constant")}
    else:
        chosen = {name: one for name, one in schedules.items() if one.kind == job.kind}
    rows = []
    for name, result, seconds in trained(job, chosen, corpus):
        rows.append(
            {name: getattr(job, name) for name in Job.__slots__}
            | {
                "schedule": name,
                "lr": result.spec.lr,
                "tokens": result.spec.total_tokens,
                "loss": result.loss,
                "loss_se": result.loss_se,
                "status": result.status,
                "seconds": seconds,
                "corpus_fingerprint": result.corpus_fingerprint,
            }
        )
    return rows


def trained(
    job: Job, schedules: dict[str, Schedule], corpus: Corpus
) -> Iterator[tuple[str, RunResult, float]]:
    """Each schedule's result and the seconds that it added, from one trunk.

    The schedules agree until the first of them decays, and the rest until the next does; each is
    then trained to its end from there. They come in the order of their decays.
    """
    constant = make_schedules(job.steps)["constant"]
    longest = next(iter(schedules.values())) if len(schedules) == 1 else constant
    spec = make_spec(job, longest, vocab_size=corpus.vocab_size)
    state = start_state(spec, corpus, device="cpu")
    keeping = keep_in(None, {})
    for name, schedule in schedules.items():
        start = time.perf_counter()
        branch = replace(spec, schedule=schedule)
        begins = 0 if len(schedules) == 1 else job.steps - schedule.decay_steps
        if begins > state.step:
            advance(state, spec, corpus, keeping=keeping, until_step=begins)
        kept = copy.deepcopy(capture_state(state))
        status = advance(state, branch, corpus, keeping=keeping)
        result = finish(state, branch, corpus, status=status, keeping=keeping)
        restore_state(state, kept)
        yield name, result, time.perf_counter() - start


def make_spec(job: Job, schedule: Schedule, *, vocab_size: int) -> RunSpec:
    """The run of a job under one schedule."""
    shape = Shape(
        d_model=job.d_model,
        n_layers=N_LAYERS,
        n_heads=job.d_model // HEAD_DIM,
        n_kv_heads=job.d_model // HEAD_DIM,
        head_dim=HEAD_DIM,
        d_ff=8 * job.d_model // 3 // 16 * 16,
        vocab_size=vocab_size,
    )
    rule = make_parametrization("mup", d_model=job.d_model, n_layers=N_LAYERS, head_dim=HEAD_DIM)
    return RunSpec(
        shape=shape,
        seq_len=SEQ_LEN,
        parametrization=replace(rule, embedding_multiplier=10.0),
        optimizer=OPTIMIZERS["adamw"],
        lr=2.0**job.log2_lr,
        weight_decay=0.1,
        schedule=schedule,
        batching=Batching(kind="fixed", sequences=SEQUENCES),
        tokens=job.steps * SEQUENCES * SEQ_LEN,
        init_std=0.08,
        options=TrainOptions(seed=job.seed, compile=True),
    )


Cells = dict[tuple[int, int], dict[str, pd.DataFrame]]
"""Runs by (width, steps), then by schedule."""


def cells_of(runs: pd.DataFrame) -> Cells:
    """Runs of each cell whose schedules all have a whole seed."""
    cells: Cells = {}
    for d_model, steps in sorted(set(zip(runs.d_model, runs.steps, strict=True))):
        cell = runs[(runs.d_model == d_model) & (runs.steps == steps)]
        found = {str(name): rows for name, rows in cell.groupby("schedule")}
        if set(found) == set(make_schedules(steps)) and shared_seeds(found):
            cells[d_model, steps] = found
    return cells


def shared_seeds(schedules: dict[str, pd.DataFrame]) -> list[int]:
    """Seeds that every schedule has at all its lrs."""
    found = [
        set(whole_seeds(rows, lrs=len(LOG2_LRS[rows.kind.iloc[0]]))) for rows in schedules.values()
    ]
    return sorted(set.intersection(*found))


def measured_logs(
    schedules: dict[str, pd.DataFrame], seeds: Sequence[int], *, lrs: int = 5
) -> dict[str, float]:
    """ln of each schedule's best lr over the reference's."""
    best = {
        name: find_optimum(mean_losses(rows, seeds), lrs=lrs).ln_lr
        for name, rows in schedules.items()
    }
    return {name: best[name] - best[REFERENCE] for name in make_schedules(BOUND_STEPS)}


def measured_log(schedules: dict[str, pd.DataFrame], name: str, seeds: Sequence[int]) -> float:
    """That of one schedule."""
    return measured_logs(schedules, seeds)[name]


def bound_logs(steps: int = BOUND_STEPS) -> dict[str, float]:
    """ln of each schedule's best peak by the bound, over the reference's."""
    best = {name: math.log(best_peak_lr(one)) for name, one in make_schedules(steps).items()}
    return {name: value - best[REFERENCE] for name, value in best.items()}


def fit_power(schedules: dict[str, pd.DataFrame], seeds: Sequence[int], *, lrs: int = 5) -> float:
    """p that brings p times the bound's log ratios nearest to the measured: least squares of all
    pairs, which is a line with a free level over the schedules."""
    measured, bound = measured_logs(schedules, seeds, lrs=lrs), bound_logs()
    return float(np.polyfit([bound[name] for name in measured], list(measured.values()), 1)[0])


def worst_factor(schedules: dict[str, pd.DataFrame], power: float) -> float:
    """Largest factor between a measured ratio of two schedules and the bound's to this power."""
    measured, bound = measured_logs(schedules, shared_seeds(schedules)), bound_logs()
    left = [measured[name] - power * bound[name] for name in measured]
    return math.exp(max(left) - min(left))


def report(runs: pd.DataFrame) -> str:
    """Ratios by cell beside the bound's, the power of each cell, what it is off by elsewhere."""
    cells, bound = cells_of(runs), bound_logs()
    lines = [f"best lr over that of {REFERENCE}: the bound's, then measured by width x steps"]
    heads = [f"{width} x {steps}" for width, steps in cells]
    lines.append(" " * 18 + "bound  " + "  ".join(f"{head:>14}" for head in heads))
    for name, log in bound.items():
        cols = []
        for schedules in cells.values():
            seeds = shared_seeds(schedules)
            ratio = math.exp(measured_log(schedules, name, seeds))
            error = seed_error(partial(measured_log, schedules, name), seeds)
            edge = "" if find_optimum(mean_losses(schedules[name], seeds)).inside else "*"
            cols.append(f"{f'{ratio:.2f}{edge} (x/÷ {math.exp(error):.2f})':>14}")
        lines.append(f"{name:16}  {math.exp(log):5.2f}  " + "  ".join(cols))
    for cell, schedules in cells.items():
        seeds = shared_seeds(schedules)
        power = fit_power(schedules, seeds)
        error = seed_error(partial(fit_power, schedules), seeds)
        others = ", ".join(
            f"{width} x {steps} {worst_factor(other, power):.2f}"
            for (width, steps), other in cells.items()
            if (width, steps) != cell
        )
        three = partial(fit_power, schedules, lrs=3)
        lines.append(
            f"{cell[0]} x {cell[1]} ({len(seeds)} seeds): power {power:.2f} ± {error:.2f} (by "
            f"three lrs {three(seeds):.2f} ± {seed_error(three, seeds):.2f}); worst factor of a "
            f"pair {worst_factor(schedules, power):.2f}, elsewhere {others or 'none'}"
        )
    lines.append("* at the edge of the sweep" if "*" in "".join(lines[2:]) else "")
    lines.append(f"{len(runs)} runs, {runs.seconds.sum() / 3600:.2f} core hours")
    return "\n".join(line for line in lines if line)


def draw(runs: pd.DataFrame, path: Path) -> None:
    """Measured against the bound's ratio: a panel a cell, a line of the fitted power."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cells, bound = cells_of(runs), bound_logs()
    figure, axes = plt.subplots(
        1, len(cells), figsize=(3.6 * len(cells), 3.6), sharey=True, layout="constrained"
    )
    for (cell, schedules), panel in zip(cells.items(), np.atleast_1d(axes), strict=True):
        seeds = shared_seeds(schedules)
        measured = measured_logs(schedules, seeds)
        for name, log in measured.items():
            error = seed_error(partial(measured_log, schedules, name), seeds)
            panel.errorbar(bound[name], log, yerr=0 if math.isnan(error) else error, fmt="o")
            panel.annotate(name, (bound[name], log), fontsize=7)
        ends = np.array([min(bound.values()), max(bound.values())])
        panel.plot(ends, ends, ":", color="grey")
        panel.plot(ends, fit_power(schedules, seeds) * ends, "-", color="grey")
        panel.set(title=f"width {cell[0]}, {cell[1]:,} steps", xlabel="ln ratio by the bound")
    np.atleast_1d(axes)[0].set_ylabel(f"ln of best lr over {REFERENCE}'s, measured")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
