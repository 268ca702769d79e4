"""Whether trials train faster together than one by one: a few updates of both, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from proxies.corpus import Corpus
from proxies.run.spec import RunSpec
from proxies.train.ensemble import check_ensemble, start_ensemble, step_ensemble
from proxies.train.state import UNREAD_UPDATES, TrainState, read_losses, start_state, train_step

WORTH = 1.05
"""Speedup from which runs are stacked: less is within the timing's noise, and a stack keeps no
checkpoints. *Assumed*; tests/benchmarks/ensemble.py prints the speedups it decides on."""

ROUNDS = 4
"""Turns of each, of which the fastest counts; one more before them warms up or compiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleTiming:
    """Seconds that an update of every trial takes."""

    together: float
    one_by_one: float

    @property
    def speedup(self) -> float:
        """Trials trained together in the time of one trained alone one by one."""
        return self.one_by_one / self.together

    @property
    def faster_together(self) -> bool:
        """Whether to stack the trials."""
        return self.speedup >= WORTH


def time_ensemble(
    specs: Sequence[RunSpec], corpus: Corpus, *, device: str = "cpu"
) -> EnsembleTiming:
    """Time the first update of every trial, together and one by one, in turns.

    A turn is as many updates as training makes between two looks at their losses. Alone, all
    trials cost the same, so one of them stands for each.

    Args:
        specs: of one stack, see `ensemble.stackable`.
        corpus: its vocabulary fits the shape.
        device: cpu, cuda or cuda:N.

    Raises:
        InputError: what `train_ensemble` refuses.
    """
    check_ensemble(specs)
    ensemble = start_ensemble(specs, corpus, device=device)
    alone = start_state(specs[0], corpus, device=device)
    modes: dict[str, tuple[Callable[[], None], list[TrainState]]] = {
        "together": (
            lambda: step_ensemble(ensemble, corpus, device=device),
            [trial.state for trial in ensemble.trials],
        ),
        "one by one": (lambda: train_step(alone, specs[0], corpus), [alone]),
    }
    best = dict.fromkeys(modes, math.inf)
    updates = UNREAD_UPDATES[torch.device(device).type]
    for turn in range(1 + ROUNDS):
        for name, (update, states) in modes.items():
            taken = time_turn(update, states, updates=updates)
            if turn:
                best[name] = min(best[name], taken)
    return EnsembleTiming(together=best["together"], one_by_one=best["one by one"] * len(specs))


def time_turn(update: Callable[[], None], states: Sequence[TrainState], *, updates: int) -> float:
    """Seconds of the first update, the mean of several; reading waits until they are made."""
    start = time.perf_counter()
    for _ in range(updates):
        update()
        for state in states:
            state.step = state.sequences = 0
    for state in states:
        read_losses(state)
    return (time.perf_counter() - start) / updates
