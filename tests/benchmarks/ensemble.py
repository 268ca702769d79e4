"""Trials a second of an ensemble against the same trials one by one.

usage: python -m tests.benchmarks.ensemble [--widths 32 64 128] [--trials 1 4 8 16] [--threads 1 2]

Each trial is a muP run of 4 layers, 4 x 128 tokens an update, vocabulary 256, AdamW, clip 1, and
100 updates: held-out loss, start and end are left out. Both sides are `train_ensemble`'s and
`train_run`'s own updates, in turns, and the fastest turn counts, so that other work on the machine
hurts both alike. The last column is what `auto` chooses. On CUDA, eager and compiled on both
sides; the ratio of the last line of each width is compiled together to eager one by one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from proxies.corpus import Corpus, open_corpus
from proxies.run.batching import Batching
from proxies.run.options import TrainOptions
from proxies.run.parametrization import OPTIMIZERS, make_parametrization
from proxies.run.schedule import make_schedule
from proxies.run.shape import Shape
from proxies.run.spec import RunSpec
from proxies.sweep.executors.timing import EnsembleTiming, time_ensemble

LAYERS, HEAD_DIM, VOCAB = 4, 32, 256
SEQ_LEN, SEQUENCES, UPDATES = 128, 4, 100
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_specs(d_model: int, *, trials: int, compiled: bool) -> list[RunSpec]:
    """Trials of one shape with different lrs, schedules and seeds."""
    heads = max(1, d_model // HEAD_DIM)
    shape = Shape(
        d_model=d_model,
        n_layers=LAYERS,
        n_heads=heads,
        n_kv_heads=heads,
        head_dim=HEAD_DIM,
        d_ff=8 * d_model // 3 // 16 * 16,
        vocab_size=VOCAB,
    )
    base = RunSpec(
        shape=shape,
        seq_len=SEQ_LEN,
        parametrization=make_parametrization(
            "mup", d_model=d_model, n_layers=LAYERS, head_dim=HEAD_DIM, base_d_model=32
        ),
        optimizer=OPTIMIZERS["adamw"],
        lr=1e-3,
        weight_decay=0.1,
        schedule=make_schedule("wsd", steps=UPDATES),
        batching=Batching(sequences=SEQUENCES),
        tokens=UPDATES * SEQUENCES * SEQ_LEN,
        options=TrainOptions(compile=compiled),
    )
    cosine = make_schedule("cosine", steps=UPDATES)
    return [
        replace(
            base,
            lr=1e-3 * 1.2**k,
            schedule=cosine if k % 2 else base.schedule,
            options=replace(base.options, seed=k),
        )
        for k in range(trials)
    ]


def print_row(corpus: Corpus, d_model: int, *, trials: int) -> None:
    """Time one number of trials, and print trials a second of both sides."""
    timings: dict[str, EnsembleTiming] = {}
    for kind in ("eager", "compiled") if DEVICE == "cuda" else ("eager",):
        specs = make_specs(d_model, trials=trials, compiled=kind == "compiled")
        timing = timings[kind] = time_ensemble(specs, corpus, device=DEVICE)
        together, alone = (
            trials / (UPDATES * seconds) for seconds in (timing.together, timing.one_by_one)
        )
        print(
            f"{d_model:7} {trials:6} {torch.get_num_threads():7} {kind:>8} {together:10.3f} "
            f"{alone:10.3f} {timing.speedup:7.2f}  "
            f"{'ensemble' if timing.faster_together else 'one by one'}",
            flush=True,
        )
    if "compiled" in timings:
        ratio = timings["eager"].one_by_one / timings["compiled"].together
        print(f"        compiled together over eager one by one {ratio:.2f}", flush=True)


def main() -> None:
    """Print one row a width, number of trials and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    corpus = open_corpus("python")
    print(f"on {DEVICE}, torch {torch.__version__}; trials of {UPDATES} updates a second")
    print("d_model trials threads     kind   together one by one   ratio  auto")
    for threads in options.threads:
        torch.set_num_threads(threads)
        for d_model in options.widths:
            for trials in options.trials:
                print_row(corpus, d_model, trials=trials)


if __name__ == "__main__":
    main()
