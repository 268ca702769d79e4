"""`plan proxy coord-check`: whether activations move alike at every width or depth."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitting.errors import FitError, InputError, nearest_name
from planner.cli.console import counting
from planner.cli.torch_extra import require_torch

if TYPE_CHECKING:
    from proxies.checks.coordinate_check import CheckResult, CheckSpec

WIDTHS = "64,128,256,512"
"""d_model of a check of width: a minute on 2 cores."""

CHECKED_WIDTH, CHECKED_DEPTHS = "64", "2"
"""d_model of a check of depth, layers of one of width."""

WIDTH_LR, DEPTH_LR = 0.002, 0.001
"""Base lr by what is varied: at 64 features the stream moves by its own size, and less deep down,
where more layers add up. Measured with the default corpus."""

CORPUS = "zipf:vocab=32,states=32"
"""Few different tokens, so that what the models learn is not lost in noise at width 64."""

BATCH, SEQ_LEN = 8, 16
"""Sequences of the one batch and their tokens."""

PLOT = "coord-check.png"

EXAMPLES = """Examples:

plan proxy coord-check

plan proxy coord-check --parametrization completep --depths 4,8,16 --plot depth.png"""


def coord_check(
    parametrization: Annotated[
        str, typer.Option(metavar="NAME", help="sp, mup or completep; default: mup.")
    ] = "mup",
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="adamw (default), lion or muon.")
    ] = "adamw",
    lr: Annotated[
        float | None,
        typer.Option(metavar="LR", help="Base peak lr; default: 0.002, over depths 0.001."),
    ] = None,
    widths: Annotated[
        str | None,
        typer.Option(metavar="WIDTH,...", help=f"d_model, rising; default: {WIDTHS}."),
    ] = None,
    depths: Annotated[
        str | None,
        typer.Option(metavar="LAYERS,...", help="Check depth: layers, rising, at one width."),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help="Fix the heads: head_dim grows; default: heads of 16."),
    ] = None,
    qk_norm: Annotated[bool, typer.Option("--qk-norm", help="Norm queries and keys.")] = False,
    base_width: Annotated[
        int | None,
        typer.Option(metavar="WIDTH", help="Where base values hold; default: the smallest."),
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Leave a rule out to see it caught: matrix-lr, matrix-init, attention (with "
            "--heads), residual (completep, --depths) or logits.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="STEPS", help="Updates; default: 3.")] = 3,
    seeds: Annotated[int, typer.Option(metavar="COUNT", help="Models a size; default: 6.")] = 6,
    corpus: Annotated[
        str, typer.Option(metavar="NAME", help="Tokens to train on; default: synthetic.")
    ] = CORPUS,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help=f"Figure; default: {PLOT}, replaced."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --plot if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that activations move alike at every width or depth.

    Prints the slope of each tensor's change after a few steps, and draws it.
    Exit code 1 where a slope is off by more than 0.05 and 3 standard errors.
    """
    require_torch()
    from proxies.checks.coordinate_check import CheckSpec

    target = plot_target(plot, force=force)
    spec = CheckSpec(
        parametrization=parametrization,
        optimizer=known_optimizer(optimizer),
        lr=lr if lr is not None else WIDTH_LR if depths is None else DEPTH_LR,
        widths=read_sizes(
            (WIDTHS if depths is None else CHECKED_WIDTH) if widths is None else widths, "--widths"
        ),
        depths=read_sizes(CHECKED_DEPTHS if depths is None else depths, "--depths"),
        n_heads=heads,
        qk_norm="per-head" if qk_norm else "none",
        base_d_model=base_width,
        without=without,
        steps=steps,
        seeds=seeds,
    )
    result = measure(spec, corpus)
    if target is not None:
        from fitting.figures import save_figure
        from proxies.checks.figure import check_data, check_figure

        save_figure(check_figure(check_data(result)), target)
    if as_json:
        print(json.dumps(result.to_dict(), indent=1))
    else:
        print(result.summary())
        if target is not None:
            print(f"written: {target}")
    if result.named("off"):
        raise FitError(f"coord-check: {result.rule}: {result.headline()}")
    if unclear := result.named("unclear"):
        names = ", ".join(slope.tensor for slope in unclear)
        print(f"plan: too noisy to tell: {names}; raise --seeds", file=sys.stderr)


def measure(spec: CheckSpec, source: str) -> CheckResult:
    """The check on the first sequences of a corpus, with progress on stderr."""
    import torch

    from proxies.checks.coordinate_check import run_check
    from proxies.corpus import open_corpus, read_sequences

    corpus = open_corpus(source)
    sequences = torch.from_numpy(
        read_sequences(corpus, seq_len=SEQ_LEN, order_seed=0, start=0, count=BATCH)
    )
    models = len(spec.widths) * len(spec.depths) * max(spec.seeds, 0)
    with counting("models", models) as advance:
        return run_check(
            spec,
            sequences,
            vocab_size=corpus.vocab_size,
            on_model=lambda: advance(1, ""),
        )


def plot_target(plot: Path | None, *, force: bool) -> Path | None:
    """Where the figure goes; None where none was asked for and matplotlib is absent.

    Raises:
        InputError: the file exists and may not be replaced, or cannot be a figure.
    """
    from importlib.util import find_spec

    from fitting.figures import check_suffix
    from fitting.files import refuse_existing

    if plot is None:
        if find_spec("matplotlib") is None:
            print("plan: no figure without matplotlib (windtunnel[report])", file=sys.stderr)
            return None
        plot, force = Path(PLOT), True
    refuse_existing(plot, force=force)
    check_suffix(plot)
    return plot


def read_sizes(text: str, option: str) -> tuple[int, ...]:
    """Sizes from 64,128,256.

    Raises:
        InputError: not whole numbers above 0, naming the option.
    """
    sizes = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) < 1:
            raise InputError(f"{option} '{text}': '{part.strip()}' is no size; write 64,128,256")
        sizes.append(int(part))
    return tuple(sizes)


def known_optimizer(name: str) -> str:
    """The name of a known optimizer.

    Raises:
        InputError: with the nearest name.
    """
    from proxies.run.parametrization import OPTIMIZERS

    if name not in OPTIMIZERS:
        raise InputError(
            f"--optimizer '{name}': not known{nearest_name(name, OPTIMIZERS)}; "
            f"known: {', '.join(OPTIMIZERS)}"
        )
    return name
