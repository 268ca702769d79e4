"""One training run on one device: updates, divergence, checkpoints, the final loss.

On a CPU the same spec, corpus and number of threads give the same losses bit for bit, from a
checkpoint too, whatever the moment of the kill. On a GPU so far as torch's kernels repeat
themselves: `torch.use_deterministic_algorithms` makes them. A loss or gradient that is not finite
ends the run as diverged, and so does a training loss far above the first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from fitting.files import write_table
from proxies.corpus import Corpus, read_held_out, unique_tokens
from proxies.run.result import CurvePoint, RunResult, Status
from proxies.run.spec import RunSpec
from proxies.train.checkpoint import (
    CURVE,
    identify_run,
    make_folder,
    read_checkpoint,
    write_checkpoint,
)
from proxies.train.evaluate import bits_per_byte, evaluate
from proxies.train.state import (
    UNREAD_UPDATES,
    TrainState,
    capture_state,
    read_losses,
    restore_state,
    start_state,
    train_step,
)

CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints: a kill costs a minute at most."""

Probe = Callable[[nn.Module, Tensor, Sequence[torch.optim.Optimizer]], dict[str, float]]
"""Measures a trained model on a batch of sequences, shape (B, T + 1)."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where a run's state is kept, and how often."""

    folder: Path | None
    """None where nothing is kept."""
    identity: dict[str, Any]
    """What a checkpoint must agree on, see `checkpoint.identify_run`."""
    seconds: float
    """Least time between two checkpoints, >= 0."""


def train_run(
    spec: RunSpec,
    corpus: Corpus,
    *,
    directory: Path | None = None,
    device: str = "cpu",
    probes: Sequence[Probe] = (),
    on_step: Callable[[CurvePoint], bool] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Train one model and take its held-out loss.

    With a directory the run goes on from the checkpoint there, and leaves its last one and
    `curve.csv` (step, lr, loss and more). A finished run's directory gives its result again.

    Args:
        spec: the run.
        corpus: its vocabulary fits the spec's shape.
        directory: for checkpoints; made where it is missing; None to keep nothing.
        device: cpu, cuda or cuda:N.
        probes: called once on the trained model; their numbers are in the result.
        on_step: told of each update in order; False ends the run as pruned.
        checkpoint_seconds: least time between checkpoints, >= 0; 0 for one each update.

    Raises:
        InputError: a spec that cannot be run, a corpus too small, a directory of another run or
            one that cannot be written.
    """
    state = start_state(spec, corpus, device=device)
    identity = identify_run(spec, corpus_fingerprint=corpus.fingerprint)
    keeping = keep_in(directory, identity, seconds=checkpoint_seconds)
    resume(state, keeping)
    status = advance(state, spec, corpus, keeping=keeping, on_step=on_step)
    return finish(state, spec, corpus, status=status, keeping=keeping, probes=probes)


def advance(
    state: TrainState,
    spec: RunSpec,
    corpus: Corpus,
    *,
    keeping: Keeping,
    on_step: Callable[[CurvePoint], bool] | None = None,
    until_step: int | None = None,
) -> Status:
    """Make updates to the end of the run, or to `until_step`, and say how they ended.

    Raises:
        InputError: the corpus is exhausted, or a checkpoint cannot be written.
    """
    unread = UNREAD_UPDATES[torch.device(state.device).type]
    kept_step = state.step
    kept = start = time.perf_counter()
    go_on = True
    while go_on and not state.diverged and not is_done(state, spec, until_step=until_step):
        train_step(state, spec, corpus)
        if len(state.unread) < unread and not is_done(state, spec, until_step=until_step):
            continue
        points = read_losses(state)
        go_on = on_step is None or all([on_step(point) for point in points])
        now = time.perf_counter()
        if now - kept >= keeping.seconds:
            state.seconds += now - start
            keep(state, keeping)
            kept_step = state.step
            kept = start = time.perf_counter()
    state.seconds += time.perf_counter() - start
    if state.step > kept_step:
        keep(state, keeping)
    if state.diverged:
        return "diverged"
    return "finished" if go_on or is_done(state, spec) else "pruned"


def is_done(state: TrainState, spec: RunSpec, *, until_step: int | None = None) -> bool:
    """Whether there is no update left to make."""
    return state.sequences >= spec.total_sequences or (
        until_step is not None and state.step >= until_step
    )


def finish(
    state: TrainState,
    spec: RunSpec,
    corpus: Corpus,
    *,
    status: Status,
    keeping: Keeping,
    probes: Sequence[Probe] = (),
) -> RunResult:
    """Take the held-out loss and the probes of a run that ended, and write its curve.

    Raises:
        InputError: the curve cannot be written.
    """
    held_out = read_held_out(corpus, seq_len=spec.seq_len, count=spec.options.eval_sequences)
    loss = loss_se = math.nan
    found: dict[str, float] = {}
    if status != "diverged":
        measured = evaluate(state.model, held_out, device=state.device, dtype=spec.options.dtype)
        loss, loss_se = measured.loss, measured.loss_se
        sequences = torch.from_numpy(held_out).to(state.device)
        for probe in probes:
            found |= probe(state.model, sequences, state.optimizers)
    if keeping.folder is not None:
        table = pd.DataFrame([asdict(point) for point in state.curve])
        write_table(table, keeping.folder / CURVE, overwrite=True)
    tokens = state.curve[-1].tokens if state.curve else 0
    return RunResult(
        spec=spec,
        status=status,
        tokens=tokens,
        unique_tokens=unique_tokens(corpus, tokens=tokens, seq_len=spec.seq_len),
        loss=loss,
        loss_se=loss_se,
        bits_per_byte=bits_per_byte(loss, bytes_per_token=corpus.bytes_per_token),
        curve=tuple(state.curve),
        probes=found,
        seconds=state.seconds,
        corpus=corpus.label,
        corpus_fingerprint=corpus.fingerprint,
    )


def keep_in(
    directory: Path | None, identity: dict[str, Any], *, seconds: float = CHECKPOINT_SECONDS
) -> Keeping:
    """Make ready to keep a run's state.

    Raises:
        InputError: the directory cannot be made.
    """
    if directory is not None:
        make_folder(directory)
    return Keeping(folder=directory, identity=identity, seconds=seconds)


def keep(state: TrainState, keeping: Keeping) -> None:
    """Write a checkpoint where the run keeps any."""
    if keeping.folder is not None:
        write_checkpoint(keeping.folder, capture_state(state), identity=keeping.identity)


def resume(state: TrainState, keeping: Keeping) -> bool:
    """Go on from the checkpoint of this run, and say whether there is one.

    Raises:
        InputError: it is damaged or another run's.
    """
    if keeping.folder is None:
        return False
    found = read_checkpoint(keeping.folder, identity=keeping.identity, device=state.device)
    if found is not None:
        restore_state(state, found)
    return found is not None
