"""The cells of a sweep, each member of the family at each budget, and the runs of a cell."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.units import format_count
from proxies.run.batching import Batching, count_steps
from proxies.run.groups import BaseSettings, base_settings
from proxies.run.options import TrainOptions
from proxies.run.parametrization import (
    OPTIMIZERS,
    Optimizer,
    Parametrization,
    make_parametrization,
    with_embedding_multiplier,
)
from proxies.run.schedule import Schedule, make_schedule
from proxies.run.shape import Shape, check_shape, count_params
from proxies.run.sizing import FF_RATIO, round_up
from proxies.run.spec import RunSpec
from proxies.sweep.axes import batch_lattice, lattice_points

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxies.sweep.spec import ModelSpec, RunSettings, SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCell:
    """One shape trained on one number of tokens."""

    shape: Shape
    params: int
    """Non-embedding parameters."""
    tokens: int
    """Training tokens of each run."""
    runs: int
    """Most runs that the sweep makes of it."""

    @property
    def name(self) -> str:
        """A name for files and studies, one each in a sweep: `d128-l4-ff384-26214400`."""
        shape = self.shape
        return f"d{shape.d_model}-l{shape.n_layers}-ff{shape.d_ff}-{self.tokens}"

    @property
    def flops(self) -> float:
        """Of one run: 6 params tokens."""
        return 6.0 * self.params * self.tokens


@dataclass(frozen=True, slots=True)
class TrialSetting:
    """What one run is given beyond what its cell says."""

    lr: float
    """Base peak lr, > 0."""
    batch_sequences: int
    """Sequences of an update, at least 1."""
    weight_decay: float
    """Base weight decay, >= 0."""
    seed: int


def expand_cells(spec: SweepSpec, *, vocab_size: int) -> tuple[SweepCell, ...]:
    """The cells of a sweep, cheapest first.

    Args:
        spec: as `proxies.sweep.spec_file.read_spec` gives it.
        vocab_size: of the tokenizer, > 0; changes no count here.

    Raises:
        InputError: a shape that no model can have, or two equal cells.
    """
    runs = count_runs(spec)
    cells = []
    for shape in family_shapes(spec.model, vocab_size=vocab_size):
        params = count_params(shape).params
        budgets = spec.budget.tokens or ()
        multiples = spec.budget.tokens_per_param or ()
        for tokens in (*budgets, *(round(ratio * params) for ratio in multiples)):
            cells.append(SweepCell(shape=shape, params=params, tokens=tokens, runs=runs))
    names = [cell.name for cell in cells]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"[budget]: the cell {doubled} comes twice; drop one width or budget")
    return tuple(sorted(cells, key=lambda cell: (cell.flops, cell.params)))


def count_runs(spec: SweepSpec) -> int:
    """Most runs in each cell."""
    if spec.search.sampler == "grid":
        return len(lattice_points(spec)) * len(spec.run.seeds)
    return spec.search.runs_per_cell


def total_flops(cells: Iterable[SweepCell]) -> float:
    """6 params tokens, summed over the most runs of all cells."""
    return math.fsum(cell.runs * cell.flops for cell in cells)


def family_shapes(model: ModelSpec, *, vocab_size: int) -> list[Shape]:
    """The shape of each member.

    Raises:
        InputError: lists of different length, heads that do not fill a width, or a shape that no
            model can have.
    """
    depths = one_each(model.n_layers, model, name="n_layers")
    default = tuple(round_up(FF_RATIO * d_model, 64) for d_model in model.d_model)
    widths = default if model.d_ff is None else one_each(model.d_ff, model, name="d_ff")
    shapes = []
    for d_model, n_layers, d_ff in zip(model.d_model, depths, widths, strict=True):
        n_heads, rest = divmod(d_model, model.head_dim)
        if rest:
            raise InputError(
                f"[model] d_model: {d_model} is not a multiple of head_dim {model.head_dim}"
            )
        shape = Shape(
            d_model=d_model,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_heads if model.n_kv_heads is None else model.n_kv_heads,
            head_dim=model.head_dim,
            d_ff=d_ff,
            vocab_size=vocab_size,
            tied_embeddings=model.tied_embeddings,
            qk_norm=model.qk_norm,
        )
        check_shape(shape, where="[model]")
        shapes.append(shape)
    return shapes


def one_each(values: tuple[int, ...], model: ModelSpec, *, name: str) -> tuple[int, ...]:
    """A value for each width, from as many or from one for all."""
    members = len(model.d_model)
    if len(values) not in (1, members):
        raise InputError(
            f"[model] {name}: {len(values)} values for {members} of d_model; give 1 or {members}"
        )
    return values * members if len(values) == 1 else values


def make_run_spec(spec: SweepSpec, cell: SweepCell, setting: TrialSetting) -> RunSpec:
    """Everything that the losses of a run depend on, but for its corpus and machine.

    Raises:
        InputError: lengths of the schedule that do not fit, with the arithmetic.
    """
    run, base = spec.run, base_of(spec)
    batching = Batching(sequences=setting.batch_sequences)
    steps = count_steps(batching, tokens=cell.tokens, seq_len=run.seq_len)
    rule = member_parametrization(spec.model, cell.shape)
    return RunSpec(
        shape=cell.shape,
        seq_len=run.seq_len,
        parametrization=with_embedding_multiplier(rule, base.embedding_multiplier),
        optimizer=sweep_optimizer(run),
        lr=setting.lr,
        weight_decay=setting.weight_decay,
        schedule=make_run_schedule(run, steps=steps),
        batching=batching,
        tokens=cell.tokens,
        init_std=base.init_std,
        head_init_std=run.head_init_std,
        z_loss=run.z_loss,
        options=TrainOptions(
            seed=setting.seed,
            epochs=run.epochs,
            micro_batch_sequences=run.micro_batch_sequences,
            eval_sequences=run.eval_sequences,
            dtype=run.dtype,
        ),
    )


def base_of(spec: SweepSpec) -> BaseSettings:
    """The base settings of every run, where the spec is silent those of its parametrization."""
    usual = base_settings(spec.model.parametrization, optimizer=spec.run.optimizer)
    said = {name: getattr(spec.run, name) for name in asdict(usual)}
    return replace(usual, **{name: value for name, value in said.items() if value is not None})


def settle_base(spec: SweepSpec, *, like: SweepSpec | None) -> SweepSpec:
    """The spec with its base settings written out, so that no later default moves them.

    Args:
        spec: as it was given.
        like: of the sweep that is gone on with, whose base it keeps where it is silent; None for a
            new one.
    """
    found = asdict(base_of(spec))
    if like is not None:
        for name in found:
            said = getattr(spec.run, name)
            found[name] = getattr(like.run, name) if said is None else said
    return replace(spec, run=replace(spec.run, **found))


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


def check_schedules(spec: SweepSpec, cells: tuple[SweepCell, ...]) -> None:
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
