"""`plan calibrate` where the answer is known: an oracle in place of training.

usage: python -m tests.benchmarks.calibrate_oracle [--seeds 20] [--budget 1e19] [--prior step-law]
       [--params 1e9] [--tokens 2e10] [--noise 0.002]

The corpus is the synthetic one, losses are those of the surface of `tests/fixtures/runs.py` with
log-normal noise. Prints, for each seed, runs made, planned over true lr and batch, and whether the
80% intervals of the plan hold the truth.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import optuna

from planner.calibrate.folder import Request
from tests.measured.calibrate_oracle import CORPUS, Landed, land


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", default="1e19")
    parser.add_argument("--prior", default="step-law")
    parser.add_argument("--params", type=float, default=1e9)
    parser.add_argument("--tokens", type=float, default=2e10)
    parser.add_argument("--noise", type=float, default=0.002)
    parser.add_argument("--interval", type=float, default=1.25)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = []
    print(f"{'seed':>4}{'runs':>6}{'lr / true':>11}{'batch / true':>14}  held")
    for seed in range(args.seeds):
        request = Request(
            params=args.params,
            tokens=args.tokens,
            seq_len=2048,
            vocab_size=32_000,
            budget=args.budget,
            corpus=CORPUS,
            tokenizer="bytes",
            parametrization="sp",
            optimizer="adamw",
            prior=args.prior,
            interval=args.interval,
            seed=seed,
        )
        with tempfile.TemporaryDirectory() as folder:
            one = land(Path(folder) / "out", request, noise=args.noise)
        found.append(one)
        held = " ".join(n for n, h in (("lr", one.lr_held), ("batch", one.batch_held)) if h)
        print(f"{seed:4}{one.runs:6}{one.lr:11.3f}{one.batch:14.3f}  {held}", flush=True)
    print(say_sum(found))


def say_sum(found: list[Landed]) -> str:
    """How many landed near, and how many intervals held."""
    near = sum(abs(one.lr - 1) <= 0.15 for one in found)
    near_batch = sum(abs(one.batch - 1) <= 0.25 for one in found)
    lr, batch = (
        math.sqrt(np.mean([math.log(value) ** 2 for value in values]))
        for values in ([one.lr for one in found], [one.batch for one in found])
    )
    return (
        f"of {len(found)}: lr within 15% in {near}, batch within 25% in {near_batch}; held lr "
        f"{sum(one.lr_held for one in found)}, batch {sum(one.batch_held for one in found)}; "
        f"root mean square of ln: lr {lr:.2f}, batch {batch:.2f}"
    )


if __name__ == "__main__":
    main()
