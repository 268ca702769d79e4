"""The cells of a sweep: each member of the family at each budget, with its runs and their cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitting.errors import InputError
from proxies.run.shape import Shape, check_shape, count_params
from proxies.run.sizing import FF_RATIO, round_up
from proxies.sweep.search.axes import lattice_points

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxies.sweep.spec import ModelSpec, SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
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


def expand_cells(spec: SweepSpec, *, vocab_size: int) -> tuple[Cell, ...]:
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
            cells.append(Cell(shape=shape, params=params, tokens=tokens, runs=runs))
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


def total_flops(cells: Iterable[Cell]) -> float:
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
