"""One run of a sweep: from a cell and a setting to what `proxies.train.loop` takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import format_count
from proxies.run.batching import Batching, count_steps
from proxies.run.options import TrainOptions
from proxies.run.parametrization import (
    OPTIMIZERS,
    Optimizer,
    Parametrization,
    make_parametrization,
)
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.spec import RunSpec
from proxies.sweep.search.axes import batch_lattice

if TYPE_CHECKING:
    from proxies.run.shape import Shape
    from proxies.sweep.cells import Cell
    from proxies.sweep.spec import ModelSpec, RunSettings, SweepSpec


@dataclass(frozen=True, slots=True)
class Setting:
    """What one run is given beyond what its cell says."""

    lr: float
    """Base peak lr, > 0."""
    batch_sequences: int
    """Sequences of an update, at least 1."""
    weight_decay: float
    """Base weight decay, >= 0."""
    seed: int


def make_run_spec(spec: SweepSpec, cell: Cell, setting: Setting) -> RunSpec:
    """Everything that the losses of a run depend on, but for its corpus and machine.

    Raises:
        InputError: lengths of the schedule that do not fit, with the arithmetic.
    """
    run = spec.run
    batching = Batching(sequences=setting.batch_sequences)
    steps = count_steps(batching, tokens=cell.tokens, seq_len=run.seq_len)
    return RunSpec(
        shape=cell.shape,
        seq_len=run.seq_len,
        parametrization=member_parametrization(spec.model, cell.shape),
        optimizer=sweep_optimizer(run),
        lr=setting.lr,
        weight_decay=setting.weight_decay,
        schedule=make_run_schedule(run, steps=steps),
        batching=batching,
        tokens=cell.tokens,
        init_std=run.init_std,
        z_loss=run.z_loss,
        options=TrainOptions(
            seed=setting.seed,
            epochs=run.epochs,
            micro_batch_sequences=run.micro_batch_sequences,
            eval_sequences=run.eval_sequences,
            dtype=run.dtype,
        ),
    )


def member_parametrization(model: ModelSpec, shape: Shape) -> Parametrization:
    """The family's parametrization at one of its members.

    Raises:
        InputError: a base that the parametrization has no use for.
    """
    return make_parametrization(
        model.parametrization,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        base_d_model=model.base_d_model,
        base_n_layers=model.base_n_layers,
    )


def sweep_optimizer(run: RunSettings) -> Optimizer:
    """The optimizer of every run, with its usual constants where none are given."""
    usual = OPTIMIZERS[run.optimizer]
    return replace(
        usual,
        beta1=usual.beta1 if run.beta1 is None else run.beta1,
        beta2=usual.beta2 if run.beta2 is None else run.beta2,
        grad_clip=run.grad_clip,
    )


def make_run_schedule(settings: RunSettings, *, steps: int) -> Schedule:
    """The schedule of a run of `steps` updates; shares of them are rounded to whole ones.

    Raises:
        InputError: lengths that do not fit, with the arithmetic.
    """

    def length(fraction: float | None) -> int | None:
        return None if fraction is None else round(fraction * steps)

    return make_schedule(
        settings.schedule,
        steps=steps,
        warmup_steps=length(settings.warmup_fraction),
        decay_steps=length(settings.decay_fraction),
        decay_shape=settings.decay_shape,
        final_lr_fraction=settings.final_lr_fraction,
    )


def check_schedules(spec: SweepSpec, cells: tuple[Cell, ...]) -> None:
    """Refuse a sweep whose longest or shortest runs have no schedule.

    Raises:
        InputError: the cell, the batch, and what does not fit.
    """
    seq_len = spec.run.seq_len
    batches = batch_lattice(spec.search.batch_tokens, seq_len=seq_len)
    for cell in cells:
        for sequences in (batches[0], batches[-1]):
            batching = Batching(sequences=sequences)
            steps = count_steps(batching, tokens=cell.tokens, seq_len=seq_len)
            try:
                make_run_schedule(spec.run, steps=steps)
            except InputError as error:
                raise InputError(
                    f"[run] schedule: {format_count(cell.tokens)} tokens in batches of "
                    f"{format_count(sequences * seq_len)} are {steps} steps: {error}"
                ) from error
