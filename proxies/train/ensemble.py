"""Trials of one shape trained together, as one batched model.

Small models leave a processor waiting: for the next launch on a GPU, in the overhead of each
operation on a CPU. Here K trials go through every operation at once. Each has its own lr, weight
decay, betas, eps, schedule, gradient limit, init and data order, and its losses are those of
`train_run` within float32's rounding, as batched products may add in another order than single
ones: a relative 3e-7 over 12 updates of a tiny model on a CPU, 1e-4 where products are in
bfloat16 (measured, tests/proxies/train/test_ensemble.py).

A trial leaves when it diverges or is pruned and the stack shrinks; the rest end together. Those
that stay go on within the same rounding (bit for bit on one CPU thread, in every case tried).
No state is kept on disk: `each_result` yields each trial's result as it leaves, and a killed
ensemble starts the others again from the beginning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fitting.errors import InputError
from proxies.corpus import Corpus, read_sequences
from proxies.model.stacked import stacked_loss
from proxies.model.transformer import ProxyModel
from proxies.run.result import CurvePoint, RunResult, Status
from proxies.run.spec import RunSpec
from proxies.train.evaluate import autocast
from proxies.train.loop import finish, is_done, keep_in
from proxies.train.stack import Slot, Stack, keep_rows, make_stack, name_weights, update_stack
from proxies.train.state import (
    UNREAD_UPDATES,
    TrainState,
    note_update,
    plan_update,
    read_losses,
    send,
    start_state,
)

OWN = frozenset(
    {
        "lr",
        "weight_decay",
        "decay_rule",
        "optimizer",
        "schedule",
        "init_std",
        "head_init_std",
        "seed",
        "order_seed",
        "epochs",
        "eval_sequences",
    }
)
"""Fields of a run and its options that may differ in a stack; the others agree."""

OnStep = Callable[[int, CurvePoint], bool]
"""Told the trial's place in the list and its update; False ends that trial as pruned."""


@dataclass(slots=True)
class EnsembleTrial:
    """One run of an ensemble."""

    place: int
    """In the list of specs."""
    spec: RunSpec
    model: ProxyModel
    """Its parameters are views of the trial's row of the stack."""
    state: TrainState
    """Its curve and position; its optimizers are never stepped."""


@dataclass(slots=True)
class Ensemble:
    """Trials in training, in the order of the stack's rows."""

    trials: list[EnsembleTrial]
    stack: Stack
    loss_function: Callable[..., Tensor]
    """`loss_of_rows`, compiled where the specs say so; again when the stack shrinks."""


def stackable(specs: Sequence[RunSpec]) -> list[list[int]]:
    """Places of the specs that can be trained together, stack by stack.

    A spec that can be in no stack is alone, as is one that no other agrees with.
    """
    stacks: dict[tuple[object, ...], list[int]] = {}
    for place, spec in enumerate(specs):
        key = (place,) if why_alone(spec) else tuple(shared(spec).values())
        stacks.setdefault(key, []).append(place)
    return list(stacks.values())


def train_ensemble(
    specs: Sequence[RunSpec],
    corpus: Corpus,
    *,
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> list[RunResult]:
    """Train runs of one shape together and take their held-out losses.

    Args:
        specs: of one stack, see `stackable`.
        corpus: its vocabulary fits the shape.
        device: cpu, cuda or cuda:N.
        on_step: told of each update of each trial, a trial's in order.

    Returns:
        Results in the order of `specs`. A trial's seconds are its share of the stack's.

    Raises:
        InputError: no specs, one that cannot be run or stacked, two that cannot be together, or
            a corpus too small.
    """
    results = dict(each_result(specs, corpus, device=device, on_step=on_step))
    return [results[place] for place in range(len(specs))]


def each_result(
    specs: Sequence[RunSpec],
    corpus: Corpus,
    *,
    device: str = "cpu",
    directories: Sequence[Path | None] = (),
    on_step: OnStep | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, RunResult]]:
    """Train as `train_ensemble` does, and yield each trial's place and result when it leaves.

    Args:
        specs: of one stack, see `stackable`.
        corpus: its vocabulary fits the shape.
        device: cpu, cuda or cuda:N.
        directories: where each trial leaves its curve; empty to keep none.
        on_step: told of each update of each trial, a trial's in order.
        stopping: whether to put down the trials that are left, and yield no more.

    Raises:
        InputError: what `train_ensemble` refuses, or a directory that cannot be written.
    """
    check_ensemble(specs)
    ensemble = start_ensemble(specs, corpus, device=device)
    while ensemble.trials and not stopping():
        ended = advance_ensemble(ensemble, corpus, device=device, on_step=on_step)
        for trial, status in ended:
            keeping = keep_in(directories[trial.place] if directories else None, {})
            result = finish(trial.state, trial.spec, corpus, status=status, keeping=keeping)
            yield trial.place, result
        drop_trials(ensemble, {trial.place for trial, _ in ended})


def check_ensemble(specs: Sequence[RunSpec]) -> None:
    """Refuse runs that cannot be trained together.

    Raises:
        InputError: the first reason.
    """
    if not specs:
        raise InputError("ensemble: no runs; at least one")
    for place, spec in enumerate(specs):
        reason = why_alone(spec)
        if reason is not None:
            raise InputError(f"ensemble: run {place}: {reason}; train it alone")
        first = shared(specs[0])
        for name, value in shared(spec).items():
            if value != first[name]:
                raise InputError(
                    f"ensemble: run {place}: its {name} is not that of run 0; "
                    "train them in different stacks"
                )


def why_alone(spec: RunSpec) -> str | None:
    """Why a run can be in no stack; None where it can."""
    if spec.optimizer.name != "adamw":
        return f"optimizer {spec.optimizer.name} is not stacked, only adamw is"
    if spec.batching.adaptive:
        return f"batching {spec.batching.kind} follows the run's own gradient"
    if spec.options.noise_interval is not None:
        return "gradient noise is not measured in a stack"
    return None


def shared(spec: RunSpec) -> dict[str, object]:
    """What every trial of a stack has in common."""
    return {
        field.name: getattr(part, field.name)
        for part in (spec, spec.options)
        for field in fields(part)
        if field.name not in {*OWN, "options"}
    }


def start_ensemble(specs: Sequence[RunSpec], corpus: Corpus, *, device: str) -> Ensemble:
    """Trials before their first update.

    Raises:
        InputError: a spec that cannot be run on this corpus.
    """
    trials = []
    for place, spec in enumerate(specs):
        state = start_state(spec, corpus, device=device)
        assert isinstance(state.model, ProxyModel)
        trials.append(EnsembleTrial(place, spec, state.model, state))
    stack = make_stack(specs, [trial.model for trial in trials])
    loss_function = torch.compile(loss_of_rows) if specs[0].options.compile else loss_of_rows
    return Ensemble(trials, stack, loss_function)


def advance_ensemble(
    ensemble: Ensemble, corpus: Corpus, *, device: str, on_step: OnStep | None = None
) -> list[tuple[EnsembleTrial, Status]]:
    """Make updates until their losses are read, and say which trials ended with them, and how."""
    start = time.perf_counter()
    first = ensemble.trials[0]
    for _ in range(UNREAD_UPDATES[torch.device(device).type]):
        step_ensemble(ensemble, corpus, device=device)
        if is_done(first.state, first.spec):
            break
    ended: list[tuple[EnsembleTrial, Status]] = []
    for trial in ensemble.trials:
        points = read_losses(trial.state)
        go_on = on_step is None or all([on_step(trial.place, point) for point in points])
        if trial.state.diverged:
            ended.append((trial, "diverged"))
        elif is_done(trial.state, trial.spec):
            ended.append((trial, "finished"))
        elif not go_on:
            ended.append((trial, "pruned"))
    share = (time.perf_counter() - start) / len(ensemble.trials)
    for trial in ensemble.trials:
        trial.state.seconds += share
    return ended


def step_ensemble(ensemble: Ensemble, corpus: Corpus, *, device: str) -> None:
    """Make one update of every trial, and note what it was."""
    plans = [plan_update(trial.state, trial.spec) for trial in ensemble.trials]
    count = plans[0][0]
    batch_KBT = send(read_batches(ensemble.trials, corpus, count=count), device)
    loss_K = take_gradients(ensemble, batch_KBT, device=device)
    fractions = [fraction for _, fraction in plans]
    norm_K = update_stack(ensemble.stack, fractions)
    measured = torch.stack([loss_K, norm_K], dim=1).unbind()
    for trial, fraction, pair in zip(ensemble.trials, fractions, measured, strict=True):
        note_update(trial.state, trial.spec, count=count, fraction=fraction, measured=pair)


def read_batches(trials: Sequence[EnsembleTrial], corpus: Corpus, *, count: int) -> Tensor:
    """The next sequences of each trial's own data order, shape (K, B, T + 1)."""
    batches = [
        read_sequences(
            corpus,
            seq_len=trial.spec.seq_len,
            order_seed=trial.spec.options.data_seed,
            start=trial.state.sequences,
            count=count,
            epochs=trial.spec.options.epochs,
        )
        for trial in trials
    ]
    return torch.from_numpy(np.stack(batches))


def take_gradients(ensemble: Ensemble, batch_KBT: Tensor, *, device: str) -> Tensor:
    """Mean loss of each trial, shape (K,); the gradients are in the stack."""
    spec, model = ensemble.trials[0].spec, ensemble.trials[0].model
    loss_K = torch.zeros(len(batch_KBT), device=device)
    batch = batch_KBT.shape[1]
    for part_KBT in torch.split(batch_KBT, spec.micro_sequences or batch, dim=1):
        with autocast(device, spec.options.dtype):
            part_K = ensemble.loss_function(
                model, ensemble.stack.weights_KP, ensemble.stack.slots, part_KBT, z_loss=spec.z_loss
            )
        part_K = part_K * (part_KBT.shape[1] / batch)
        torch.autograd.backward(part_K.sum())
        loss_K += part_K.detach()
    return loss_K


def loss_of_rows(
    model: ProxyModel,
    weights_KP: Tensor,
    slots: Sequence[Slot],
    batch_KBT: Tensor,
    *,
    z_loss: float,
) -> Tensor:
    """Mean loss of each row of weights on its own sequences, which have one token more."""
    weights = name_weights(weights_KP, slots)
    return stacked_loss(model, weights, batch_KBT[..., :-1], batch_KBT[..., 1:], z_loss=z_loss)


def drop_trials(ensemble: Ensemble, places: set[int]) -> None:
    """Shrink the stack to the trials that go on."""
    rows = [row for row, trial in enumerate(ensemble.trials) if trial.place not in places]
    if len(rows) == len(ensemble.trials):
        return
    ensemble.trials = [ensemble.trials[row] for row in rows]
    if rows:
        keep_rows(ensemble.stack, rows, [trial.model for trial in ensemble.trials])
