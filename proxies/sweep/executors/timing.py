"""How fast a sweep's runs would be: a few timed steps of each shape, by each executor.

Whether a stack trains faster than its runs one by one is timed in turns.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxies.run.batching import Batching
from proxies.run.options import TrainOptions
from proxies.run.parametrization import with_embedding_multiplier
from proxies.run.schedule import make_schedule
from proxies.run.spec import RunSpec
from proxies.sweep.axes import batch_lattice, lattice
from proxies.sweep.cells import base_of, member_parametrization, sweep_optimizer
from proxies.sweep.executors.desk import Desk, Execute, Job
from proxies.sweep.executors.registry import EXECUTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxies.corpus import Corpus
    from proxies.run.shape import Shape
    from proxies.sweep.cells import SweepCell
    from proxies.sweep.spec import SweepSpec
    from proxies.train.state import TrainState

STEPS = {"cpu": 8, "cuda": 64}
"""Updates that are timed, the first that are read of which do not count."""

WORTH = 1.05
"""Speedup from which runs are stacked: less is within the timing's noise, and a stack keeps no
checkpoints. *Assumed*; tests/benchmarks/ensemble.py prints the speedups it decides on."""

ROUNDS = 4
"""Turns of each, of which the fastest counts; one more before them warms up or compiles."""

FORWARD = 1 / 3
"""Time of a held-out token over that of a training token: no backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellEstimate:
    """What the runs of a cell would take."""

    cell: SweepCell
    tokens_per_second: float
    """Of all runs at once."""
    seconds: float
    """Of all its runs, evaluation included, starts not."""


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


def choose_executor(spec: SweepSpec, cells: Sequence[SweepCell], desk: Desk) -> str:
    """The automatic executor that trains the most tokens a second, by the cell of most FLOPs.

    Where the sweep has a single run, or nothing trains more than one at once, it is sequential.
    """
    several = [
        name
        for name, executor in EXECUTORS.items()
        if executor.automatic and executor.at_once(desk, spec) > 1
    ]
    if sum(cell.runs for cell in cells) == 1 or not several:
        return "sequential"
    largest = max(cells, key=lambda cell: cell.runs * cell.flops)
    rates = {
        name: measure_rates(spec, [largest.shape], desk, name=name)[largest.shape]
        for name in ("sequential", *several)
    }
    best = max(rates, key=lambda name: rates[name])
    if best == "ensemble" and not is_worth_stacking(spec, largest, desk):
        del rates["ensemble"]
        best = max(rates, key=lambda name: rates[name])
    return best


def is_worth_stacking(spec: SweepSpec, cell: SweepCell, desk: Desk) -> bool:
    """Whether a stack of the cell is faster than its runs one by one, timed in turns."""
    from proxies.corpus import open_corpus

    corpus = open_corpus(desk.corpus.source, tokenizer=desk.corpus.tokenizer)
    rows = EXECUTORS["ensemble"].at_once(desk, spec)
    timed = timed_spec(spec, cell.shape, steps=steps_timed(desk))
    return time_ensemble([timed] * rows, corpus, device=desk.device).faster_together


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
    # Imported here because they bring torch, which the cells' estimates wait for last.
    import torch

    from proxies.train.ensemble import check_ensemble, start_ensemble, step_ensemble
    from proxies.train.state import UNREAD_UPDATES, start_state, train_step

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
            taken = _time_turn(update, states, updates=updates)
            if turn:
                best[name] = min(best[name], taken)
    return EnsembleTiming(together=best["together"], one_by_one=best["one by one"] * len(specs))


def _time_turn(update: Callable[[], None], states: Sequence[TrainState], *, updates: int) -> float:
    """Seconds of the first update, the mean of several; reading waits until they are made."""
    from proxies.train.state import read_losses

    start = time.perf_counter()
    for _ in range(updates):
        update()
        for state in states:
            state.step = state.sequences = 0
    for state in states:
        read_losses(state)
    return (time.perf_counter() - start) / updates


def estimate_cells(
    spec: SweepSpec, cells: Sequence[SweepCell], desk: Desk, *, name: str
) -> list[CellEstimate]:
    """What each cell would take by an executor.

    Raises:
        InputError: a run that cannot be made.
    """
    shapes = list(dict.fromkeys(cell.shape for cell in cells))
    rates = measure_rates(spec, shapes, desk, name=name)
    return [
        CellEstimate(
            cell=cell,
            tokens_per_second=rates[cell.shape],
            seconds=seconds_of(spec, cell, rates[cell.shape]),
        )
        for cell in cells
    ]


def seconds_of(spec: SweepSpec, cell: SweepCell, tokens_per_second: float) -> float:
    """Time of all a cell's runs at a speed of all runs at once, evaluation included."""
    held_out = FORWARD * spec.run.eval_sequences * spec.run.seq_len
    return cell.runs * (cell.tokens + held_out) / tokens_per_second


def measure_rates(
    spec: SweepSpec, shapes: Sequence[Shape], desk: Desk, *, name: str
) -> dict[Shape, float]:
    """Tokens a second of each shape, summed over the runs that an executor trains at once.

    Raises:
        InputError: a run that cannot be made.
    """
    executor = EXECUTORS[name]
    at_once, steps = executor.at_once(desk, spec), steps_timed(desk)
    jobs = [
        Job(run_id=f"{index}/{copy}", spec=timed_spec(spec, shape, steps=steps), directory=None)
        for index, shape in enumerate(shapes)
        for copy in range(at_once)
    ]
    rates = dict.fromkeys(shapes, 0.0)
    for run_id, rate in time_jobs(jobs, desk, execute=executor.execute).items():
        rates[shapes[int(run_id.partition("/")[0])]] += rate
    return rates


def time_jobs(jobs: Sequence[Job], desk: Desk, *, execute: Execute) -> dict[str, float]:
    """Tokens a second of each job."""
    left = list(jobs)
    timing = replace(desk, next_job=lambda: left.pop(0) if left else None, independent=lambda: True)
    found = {ended.run_id: ended.tokens_per_second for ended in execute(timing)}
    return {run_id: 0.0 if math.isnan(rate) else rate for run_id, rate in found.items()}


def steps_timed(desk: Desk) -> int:
    """Updates of a timed run."""
    return STEPS[desk.device.partition(":")[0]]


def timed_spec(spec: SweepSpec, shape: Shape, *, steps: int) -> RunSpec:
    """A few updates of a shape at the middle of the sweep's batches."""
    run, base = spec.run, base_of(spec)
    rule = member_parametrization(spec.model, shape)
    batches = batch_lattice(spec.search.batch_tokens, seq_len=run.seq_len)
    sequences = batches[len(batches) // 2]
    return RunSpec(
        shape=shape,
        seq_len=run.seq_len,
        parametrization=with_embedding_multiplier(rule, base.embedding_multiplier),
        optimizer=sweep_optimizer(spec.run),
        lr=lattice(spec.search.lr)[0],
        weight_decay=lattice(spec.search.weight_decay)[0],
        schedule=make_schedule("constant", steps=steps, warmup_steps=1),
        batching=Batching(sequences=sequences),
        tokens=steps * sequences * run.seq_len,
        init_std=base.init_std,
        head_init_std=run.head_init_std,
        options=TrainOptions(
            epochs=steps,
            micro_batch_sequences=run.micro_batch_sequences,
            eval_sequences=2,
            dtype=run.dtype,
        ),
    )
