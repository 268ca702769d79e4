"""`plan calibrate`: from a budget to a plan by laws of your own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fitting.units import parse_count
from planner.cli.options import option
from planner.cli.torch_extra import require_torch

if TYPE_CHECKING:
    from planner.calibrate.loop import Calibrated

INTERRUPTED = 130
"""Exit code of a calibration that was told to stop."""

EXAMPLES = """Examples:

plan calibrate --params 1B --tokens 20B --budget 10m --out mine

plan calibrate --params 1B --tokens 20B --budget 3e18 --corpus texts/ --device cuda --out mine"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

_TARGET = "Target"
_PROXIES = "Proxies"
_MEANS = "With what"
PARAMS = option(_TARGET, "--params", "PARAMS", "non-embedding parameters: 1B", default=...)
TOKENS = option(_TARGET, "--tokens", "TOKENS", "training tokens: 20B", default=...)
SEQ_LEN = option(_TARGET, "--seq-len", "TOKENS", "tokens a sequence; default 2,048", default=2048)
VOCAB = option(_TARGET, "--vocab", "COUNT", "vocabulary; default 32,000", default=32_000)
BUDGET = option(_PROXIES, "--budget", "TIME|FLOPS", "of all runs: 10m, 2h, 3e18", default=...)
OUT = option(_PROXIES, "--out", "DIR", "folder of runs, laws, plan and report", default=...)
CORPUS = option(
    _PROXIES, "--corpus", "NAME", "python (default), a file or folder, hf:NAME", default="python"
)
TOKENIZER = option(_PROXIES, "--tokenizer", "NAME", "bytes (default), bpe:SIZE", default="bytes")
PARAMETRIZATION = option(
    _PROXIES, "--parametrization", "NAME", "sp (default), mup, completep", default="sp"
)
OPTIMIZER = option(_PROXIES, "--optimizer", "NAME", "adamw (default), lion, muon", default="adamw")
PRIOR = option(
    _PROXIES, "--prior", "NAME|none", "law beside the runs; default step-law", default="step-law"
)
INTERVAL = option(
    _PROXIES,
    "--interval",
    "FACTOR",
    "done when lr and batch are known that well at the target; default 1.25",
    default=1.25,
)
SEED = option(_PROXIES, "--seed", "SEED", "of the search; default 0", default=0)
EXECUTOR = option(
    _MEANS, "--executor", "NAME", "as of plan sweep run; default auto", default="auto"
)
WORKERS = option(_MEANS, "--workers", "RUNS", "at once; default: one a core")
DEVICE = option(_MEANS, "--device", "NAME", "cpu (default), cuda, cuda:N", default="cpu")
ADDRESS = option(_MEANS, "--address", "ADDRESS", "of a Ray cluster")


@app.command(epilog=EXAMPLES)
def calibrate(
    params: str = PARAMS,
    tokens: str = TOKENS,
    seq_len: int = SEQ_LEN,
    vocab: int = VOCAB,
    budget: str = BUDGET,
    out: Path = OUT,
    corpus: str = CORPUS,
    tokenizer: str = TOKENIZER,
    parametrization: str = PARAMETRIZATION,
    optimizer: str = OPTIMIZER,
    prior: str = PRIOR,
    interval: float = INTERVAL,
    seed: int = SEED,
    executor: str = EXECUTOR,
    workers: int | None = WORKERS,
    device: str = DEVICE,
    address: str | None = ADDRESS,
) -> None:
    """Design, run, fit, audit and plan, within a budget.

    Prints what each cell came to, the laws with their audit, and the plan; writes runs.parquet,
    laws.toml, plan.json and report.html in DIR. The same command goes on after a kill or Ctrl-C.
    """
    from planner.calibrate.folder import Request
    from planner.calibrate.loop import calibrate as run
    from planner.cli.proxies.sweep_view import print_progress, watch_sweep
    from proxies.sweep.run_sweep import Means

    require_torch()
    request = Request(
        params=parse_count(params, where="--params"),
        tokens=parse_count(tokens, where="--tokens"),
        seq_len=seq_len,
        vocab_size=vocab,
        budget=budget,
        corpus=corpus,
        tokenizer=tokenizer,
        parametrization=parametrization,
        optimizer=optimizer,
        prior=prior,
        interval=interval,
        seed=seed,
    )
    means = Means(executor=executor, workers=workers, device=device, address=address)
    with watch_sweep() as watch:
        found = run(
            request,
            out,
            means=means,
            command=shlex.join(["plan", *sys.argv[1:]]),
            on_start=watch.start,
        )
    progress = watch.measure()
    if progress is not None:
        print_progress(progress, notes={} if found is None else found.ending.reasons)
    if found is None:
        print(f"{out}: stopped; the same command goes on")
        raise typer.Exit(INTERRUPTED)
    show(found, out)


def show(found: Calibrated, out: Path) -> None:
    """Print the laws, the plan and where they are."""
    from planner.calibrate.folder import LAWS, PLAN, REPORT, RUNS
    from planner.cli.plan.table import show_plan

    print(found.fitted.summary())
    print()
    show_plan(found.prepared, as_json=False, explain=False)
    names = (RUNS, LAWS, PLAN, *(() if found.no_report else (REPORT,)))
    print(f"written: {', '.join(str(out / name) for name in names)}")
    if found.no_report:
        print(found.no_report)
