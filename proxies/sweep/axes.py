"""The values that a search may take along each axis: lattices of lr, batch and weight decay."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from proxies.sweep.spec import AxisRange

if TYPE_CHECKING:
    from proxies.sweep.spec import Axis, DecayAxis, SweepSpec

ROUNDING = 1e-9
"""How far above its end a range's last value may lie from rounding, relative."""


def lattice(axis: Axis | DecayAxis) -> tuple[float, ...]:
    """The values of an axis, rising; of a range low, low times factor, ... up to high.

    Example:
        >>> lattice(AxisRange(low=1.0, high=4.0, factor=2.0)), lattice((3.0, 1.0)), lattice(0.1)
        ((1.0, 2.0, 4.0), (1.0, 3.0), (0.1,))
    """
    if isinstance(axis, AxisRange):
        count = math.floor(math.log(axis.high / axis.low) / math.log(axis.factor) + ROUNDING)
        return tuple(min(axis.low * axis.factor**i, axis.high) for i in range(count + 1))
    return tuple(sorted(set(axis))) if isinstance(axis, tuple) else (axis,)


def batch_lattice(axis: Axis, *, seq_len: int) -> tuple[int, ...]:
    """The batches of an axis in sequences, rising; a range's are rounded to whole ones.

    Example:
        >>> batch_lattice(AxisRange(low=1000.0, high=8000.0), seq_len=1000)
        (1, 2, 3, 4, 6, 8)
    """
    if not isinstance(axis, AxisRange):
        return tuple(round(value / seq_len) for value in lattice(axis))
    low, high = sequence_bounds(axis, seq_len=seq_len)
    return tuple(sorted({min(max(round(v / seq_len), low), high) for v in lattice(axis)}))


def sequence_bounds(axis: AxisRange, *, seq_len: int) -> tuple[int, int]:
    """Fewest and most whole sequences in a range of batch_tokens."""
    low = math.ceil(axis.low / seq_len - ROUNDING)
    return low, math.floor(axis.high / seq_len + ROUNDING)


def lattice_points(spec: SweepSpec) -> list[tuple[float, int, float]]:
    """Every (lr, batch_sequences, weight_decay) of the lattice, the last varying fastest."""
    search = spec.search
    batches = batch_lattice(search.batch_tokens, seq_len=spec.run.seq_len)
    return list(product(lattice(search.lr), batches, lattice(search.weight_decay)))


def is_varied(axis: Axis | DecayAxis) -> bool:
    """Whether an axis has more than one value."""
    return isinstance(axis, AxisRange) or (isinstance(axis, tuple) and len(axis) > 1)
