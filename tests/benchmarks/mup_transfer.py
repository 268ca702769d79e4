"""Does the best learning rate stay where it is when a proxy grows? Trained, recorded, fitted.

    python -m tests.benchmarks.mup_transfer train
    python -m tests.benchmarks.mup_transfer report [PNG]

`train` sweeps lr by factors of 2 at each width (SP, muP) and each depth (SP, CompleteP), 3 seeds,
on Python's own sources as bytes, of which no run repeats any; rows are kept as they come and a
second call goes on. At the base width and depth the three are one model, trained once, as SP.
`report` fits a parabola in ln lr to the five lrs around the lowest mean loss of each model, one
level a seed, and prints its minimum with the standard error, the slope of ln lr against ln width
or depth (and that of parabolas through three lrs, which the skew of the curves bends less), and
what the smallest model's best lr would cost the largest, linear between its mean losses.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from proxies.corpus import open_corpus
from proxies.run.batching import Batching
from proxies.run.options import TrainOptions
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.result import runs_row
from proxies.run.schedule import make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec
from proxies.train.loop import train_run

RECORDED = Path(__file__).parents[2] / "notebooks" / "mup_transfer.csv"
"""The runs, kept beside the figure that is drawn of them."""

BASE_D_MODEL, BASE_LAYERS, HEAD_DIM = 64, 2, 32
WIDTHS = (64, 128, 256, 512, 1024) if torch.cuda.is_available() else (64, 128, 256)
DEPTHS = (2, 4, 8)
SEEDS = (0, 1, 2)
STEPS, SEQUENCES, SEQ_LEN = 250, 8, 128
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the sweep."""

    axis: str
    """width or depth."""
    parametrization: str
    d_model: int
    n_layers: int
    log2_lr: int
    seed: int


@dataclass(frozen=True, slots=True)
class Optimum:
    """Best lr of one model."""

    size: int
    ln_lr: float
    ln_lr_se: float
    loss: float
    """At the best lr, mean over seeds, nats a token."""
    inside: bool
    """Whether lr below and above were tried."""


def main() -> None:
    """Train or report."""
    if sys.argv[1] == "train":
        train(RECORDED)
        return
    runs = pd.read_csv(RECORDED)
    print(report(runs))
    if len(sys.argv) > 2:
        draw(runs, Path(sys.argv[2]))


def list_trials() -> list[Trial]:
    """Every run, the shortest first."""
    found = []
    for axis, rules in (("width", ("sp", "mup")), ("depth", ("sp", "completep"))):
        for rule in rules:
            for size in WIDTHS if axis == "width" else DEPTHS:
                is_base = size == (BASE_D_MODEL if axis == "width" else BASE_LAYERS)
                if is_base and (rule != "sp" or axis == "depth"):
                    continue
                d_model = size if axis == "width" else BASE_D_MODEL
                layers = BASE_LAYERS if axis == "width" else size
                # SP's optimum is expected to fall with size: its grid reaches one step lower.
                for log2_lr in range(-12 if rule == "sp" else -11, -4):
                    found += [Trial(axis, rule, d_model, layers, log2_lr, seed) for seed in SEEDS]
    return sorted(found, key=lambda trial: trial.d_model * trial.d_model * trial.n_layers)


def train(table: Path) -> None:
    """Run what is not in the table yet and add it, row by row."""
    rows: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    done = {tuple(row[name] for name in Trial.__slots__) for row in rows}
    todo = [trial for trial in list_trials() if tuple(asdict(trial).values()) not in done]
    open_corpus("python")  # tokenized once, before the workers want it
    with ProcessPoolExecutor(WORKERS) as pool:
        waiting = [pool.submit(run_trial, trial) for trial in todo]
        for count, future in enumerate(as_completed(waiting), start=1):
            rows.append(future.result())
            part = table.with_suffix(".part")
            pd.DataFrame(rows).to_csv(part, index=False)
            part.replace(table)
            print(f"{count}/{len(todo)}", rows[-1], file=sys.stderr, flush=True)


def run_trial(trial: Trial) -> dict[str, Any]:
    """Train one model; its row says all that the report reads."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    corpus = open_corpus("python")
    shape = Shape(
        d_model=trial.d_model,
        n_layers=trial.n_layers,
        n_heads=trial.d_model // HEAD_DIM,
        n_kv_heads=trial.d_model // HEAD_DIM,
        head_dim=HEAD_DIM,
        d_ff=8 * trial.d_model // 3 // 16 * 16,
        vocab_size=corpus.vocab_size,
    )
    base = {"mup": {"base_d_model": 64}, "completep": {"base_d_model": 64, "base_n_layers": 2}}
    rule = make_parametrization(
        trial.parametrization,
        d_model=trial.d_model,
        n_layers=trial.n_layers,
        head_dim=HEAD_DIM,
        **base.get(trial.parametrization, {}),
    )
    spec = RunSpec(
        shape=shape,
        seq_len=SEQ_LEN,
        parametrization=rule,
        optimizer=OPTIMIZERS["adamw"],
        lr=2.0**trial.log2_lr,
        weight_decay=0.1,
        schedule=make_schedule("linear", steps=STEPS, warmup_steps=STEPS // 10),
        batching=Batching(kind="fixed", sequences=SEQUENCES),
        tokens=STEPS * SEQUENCES * SEQ_LEN,
        options=TrainOptions(seed=trial.seed, eval_sequences=512),
    )
    row = runs_row(train_run(spec, corpus, device=device))
    kept = ("params", "tokens", "loss", "lr", "batch_tokens", "status", "seconds")
    fingerprint = {"corpus_fingerprint": row["corpus_fingerprint"]}
    return {**asdict(trial), **{name: row[name] for name in kept}, **fingerprint}


def rows_of(runs: pd.DataFrame, *, axis: str, rule: str, size: int) -> pd.DataFrame:
    """Finished runs of one model; the base model of either axis is the shared one."""
    d_model, layers = (size, BASE_LAYERS) if axis == "width" else (BASE_D_MODEL, size)
    is_base = (d_model, layers) == (BASE_D_MODEL, BASE_LAYERS)
    chosen = (runs.d_model == d_model) & (runs.n_layers == layers) & (runs.status == "finished")
    return runs[chosen & (runs.parametrization == ("sp" if is_base else rule))]


def find_optimum(rows: pd.DataFrame, *, size: int, reach: int) -> Optimum:
    """Minimum of a parabola in ln lr through the lrs within `reach` factors of 2 of the best."""
    means = rows.groupby("log2_lr").loss.mean()
    best = int(np.asarray(means.index)[means.to_numpy().argmin()])
    near = rows[(rows.log2_lr - best).abs() <= reach]
    x = (near.log2_lr - best).to_numpy() * np.log(2)
    seeds = pd.get_dummies(near.seed).to_numpy(dtype=float)
    design = np.column_stack([x * x, x, seeds])
    loss = near.loss.to_numpy()
    coefficients, *_ = np.linalg.lstsq(design, loss, rcond=None)
    residual = loss - design @ coefficients
    freedom = len(loss) - design.shape[1]
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual) / freedom
    curvature, slope = coefficients[:2]
    move = -slope / (2 * curvature)
    gradient = np.array([-move / curvature, -1 / (2 * curvature)])
    variance = gradient @ covariance[:2, :2] @ gradient
    lowest = coefficients[2:].mean() + slope * move / 2
    return Optimum(
        size=size,
        ln_lr=best * np.log(2) + move,
        ln_lr_se=float(np.sqrt(variance)),
        loss=float(lowest),
        inside=bool(means.index.min() < best < means.index.max()) and curvature > 0,
    )


def list_optima(runs: pd.DataFrame, *, axis: str, rule: str, reach: int = 2) -> list[Optimum]:
    """One optimum a size, the smallest first."""
    column = runs.d_model if axis == "width" else runs.n_layers
    sizes = sorted(set(column[runs.axis == axis]) | {64 if axis == "width" else BASE_LAYERS})
    found = {size: rows_of(runs, axis=axis, rule=rule, size=size) for size in sizes}
    return [find_optimum(rows, size=size, reach=reach) for size, rows in found.items() if len(rows)]


def fit_slope(optima: list[Optimum]) -> tuple[float, float]:
    """Slope of ln lr on ln size, weighted by the errors, and its standard error."""
    x = np.log([each.size for each in optima])
    weight = np.array([each.ln_lr_se for each in optima]) ** -2.0
    x = x - (weight @ x) / weight.sum()
    spread = weight @ (x * x)
    slope = (weight * x) @ np.array([each.ln_lr for each in optima]) / spread
    return float(slope), float(spread**-0.5)


def carried_cost(runs: pd.DataFrame, *, axis: str, rule: str) -> float:
    """Loss of the largest model at the smallest one's best lr, less its lowest: nats a token."""
    optima = list_optima(runs, axis=axis, rule=rule)
    rows = rows_of(runs, axis=axis, rule=rule, size=optima[-1].size)
    means = rows.groupby("log2_lr").loss.mean()
    carried = np.interp(optima[0].ln_lr / np.log(2), means.index, means)
    return float(carried - means.min())


def report(runs: pd.DataFrame) -> str:
    """The table: best lr by size, slope, cost of carrying the lr."""
    lines = []
    for axis, rules in (("width", ("sp", "mup")), ("depth", ("sp", "completep"))):
        for rule in rules:
            optima = list_optima(runs, axis=axis, rule=rule)
            lines.append(f"{axis}, {rule}")
            for each in optima:
                place = "" if each.inside else "  (at the edge of the sweep)"
                lines.append(
                    f"  {each.size:5}  best lr {np.exp(each.ln_lr):.2e} "
                    f"(x/÷ {np.exp(each.ln_lr_se):.2f})  loss {each.loss:.3f}{place}"
                )
            slope, error = fit_slope(optima)
            near, near_error = fit_slope(list_optima(runs, axis=axis, rule=rule, reach=1))
            cost = carried_cost(runs, axis=axis, rule=rule)
            lines += [
                f"  slope of ln lr {slope:+.2f} ± {error:.2f}; by three lrs {near:+.2f} ± "
                f"{near_error:.2f}",
                f"  the smallest model's best lr costs the largest {cost:.3f} nats",
            ]
    hours = runs.seconds.sum() / 3600
    lines.append(f"{len(runs)} runs of {int(runs.tokens.iloc[0]):,} tokens, {hours:.2f} core hours")
    return "\n".join(lines)


def draw(runs: pd.DataFrame, path: Path) -> None:
    """Loss against lr: one panel an axis and rule, one line a size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = (("width", "sp"), ("width", "mup"), ("depth", "sp"), ("depth", "completep"))
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), sharey="row", layout="constrained")
    for (axis, rule), panel in zip(panels, axes, strict=True):
        for each, mark in zip(list_optima(runs, axis=axis, rule=rule), "osD^v", strict=False):
            means = rows_of(runs, axis=axis, rule=rule, size=each.size).groupby("lr").loss.mean()
            (line,) = panel.plot(means.index, means, marker=mark, label=f"{axis} {each.size}")
            panel.plot(np.exp(each.ln_lr), each.loss, marker="*", ms=13, color=line.get_color())
        slope, error = fit_slope(list_optima(runs, axis=axis, rule=rule))
        panel.set_title(f"{rule}: best lr slope {slope:+.2f} ± {error:.2f}", fontsize=10)
        panel.set(xscale="log", xlabel="peak lr (base lr)")
        panel.legend(frameon=False, fontsize=8)
    lowest = runs[runs.status == "finished"].loss.min()
    axes[0].set(ylabel="held-out loss, nats a byte", ylim=(lowest - 0.05, lowest + 0.9))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
