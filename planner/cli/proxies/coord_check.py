"""`plan proxy coord-check`: whether activations move alike at every width or depth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fitting.errors import FitError, InputError, nearest_name
from fitting.files import check_output
from planner.cli.console import counting, emit, require_torch, say
from planner.cli.options import (
    AS_JSON,
    OUTPUT,
    REPLACE,
    Counts,
    corpus,
    optimizer,
    option,
    parametrization,
    read_sizes,
)

if TYPE_CHECKING:
    from proxies.checks.coordinate_check import CheckResult, CheckSpec

WIDTHS = "64,128,256,512"
"""d_model of a check of width: a minute on 2 cores."""

CHECKED_WIDTH, CHECKED_DEPTHS = (64,), (2,)
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


_MODELS = "Models"
_RULES = "Rules"
_TRAINING = "Training"


def coord_check(
    parametrization: str = parametrization(_RULES, default="mup"),
    optimizer: str = optimizer(_TRAINING),
    lr: float | None = option(
        _TRAINING, "--lr", "LR", "base peak lr; default: 0.002, over depths 0.001"
    ),
    widths: Counts | None = option(
        _MODELS, "--widths", "WIDTH,...", f"d_model, rising; default: {WIDTHS}", read=read_sizes
    ),
    depths: Counts | None = option(
        _MODELS,
        "--depths",
        "LAYERS,...",
        "check depth: layers, rising, at one width",
        read=read_sizes,
    ),
    heads: int | None = option(
        _MODELS, "--heads", "COUNT", "fix the heads: head_dim grows; default: heads of 16"
    ),
    kv_heads: int | None = option(
        _MODELS, "--kv-heads", "COUNT", "key and value heads of the smallest; default: as many"
    ),
    tied: bool = option(_MODELS, "--tied", None, "head is the embedding", default=False),
    qk_norm: bool = option(_MODELS, "--qk-norm", None, "norm queries and keys", default=False),
    base_width: int | None = option(
        _RULES, "--base-width", "WIDTH", "where base values hold; default: 256"
    ),
    init_std: float | None = option(
        _RULES, "--init-std", "STD", "base std of the weights; default: the run's own"
    ),
    head_init_std: float | None = option(
        _RULES, "--head-init-std", "STD", "that of the head; default: --init-std"
    ),
    embedding_multiplier: float | None = option(
        _RULES, "--embedding-multiplier", "FACTOR", "on the embedding; default: the run's own"
    ),
    without: str | None = option(
        _RULES,
        "--without",
        "RULE",
        "leave a rule out to see it caught: matrix-lr, matrix-init, attention (with --heads), "
        "residual (completep, --depths) or logits",
    ),
    steps: int = option(_TRAINING, "--steps", "STEPS", "updates", default=3),
    seeds: int = option(_MODELS, "--seeds", "COUNT", "models a size", default=6),
    corpus: str = corpus(_TRAINING, default=CORPUS),
    plot: Path | None = option(OUTPUT, "--plot", "PNG", f"figure; default: {PLOT}, replaced"),
    force: bool = REPLACE,
    as_json: bool = AS_JSON,
) -> None:
    """Check that activations move alike at every width or depth.

    Prints the slope of each tensor's change after a few steps, and draws it; and what the first
    updates make of the head.
    Exit code 1 where a slope is off by more than 0.05 and 3 standard errors, or the head is weak.
    """
    require_torch()
    from proxies.checks.coordinate_check import CheckSpec

    target = _plot_target(plot, force=force)
    spec = CheckSpec(
        parametrization=parametrization,
        optimizer=known_optimizer(optimizer),
        lr=lr if lr is not None else DEPTH_LR if depths else WIDTH_LR,
        widths=widths or (CHECKED_WIDTH if depths else read_sizes(WIDTHS, where="--widths")),
        depths=depths or CHECKED_DEPTHS,
        n_heads=heads,
        n_kv_heads=kv_heads,
        tied_embeddings=tied,
        qk_norm="per-head" if qk_norm else "none",
        base_d_model=base_width,
        init_std=init_std,
        head_init_std=head_init_std,
        embedding_multiplier=embedding_multiplier,
        without=without,
        steps=steps,
        seeds=seeds,
    )
    result = _measure(spec, corpus)
    if target is not None:
        from fitting.figures import save_figure
        from proxies.checks.figure import check_data, check_figure

        save_figure(check_figure(check_data(result)), target)
    written = [] if target is None else [f"written: {target}"]
    emit(result.to_dict(), "\n".join([result.summary(), *written]), as_json=as_json)
    if not result.passed:
        raise FitError(f"coord-check: {result.rule}: {result.headline()}")
    if unclear := result.named("unclear"):
        names = ", ".join(slope.tensor for slope in unclear)
        say(f"too noisy to tell: {names}; raise --seeds")


def _measure(spec: CheckSpec, source: str) -> CheckResult:
    """The check on the first sequences of a corpus, with progress on stderr."""
    import torch

    from proxies.checks.coordinate_check import run_check
    from proxies.corpus import open_corpus, read_sequences

    corpus = open_corpus(source)
    sequences = torch.from_numpy(
        read_sequences(corpus, seq_len=SEQ_LEN, order_seed=0, start=0, count=BATCH)
    )
    models = (len(spec.widths) * len(spec.depths) + 1) * max(spec.seeds, 0)
    with counting("models", models) as advance:
        return run_check(
            spec,
            sequences,
            vocab_size=corpus.vocab_size,
            on_model=lambda: advance(1, ""),
        )


def _plot_target(plot: Path | None, *, force: bool) -> Path | None:
    """Where the figure goes; None where none was asked for and matplotlib is absent.

    Raises:
        InputError: the file exists and may not be replaced, or cannot be a figure.
    """
    from importlib.util import find_spec

    from fitting.figures import check_suffix

    if plot is None:
        if find_spec("matplotlib") is None:
            say("no figure without matplotlib (windtunnel[report])")
            return None
        plot, force = Path(PLOT), True
    check_output(plot, read=[], force=force)
    check_suffix(plot)
    return plot


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
