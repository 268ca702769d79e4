"""Whether a sweep may go on under another spec: what differs, and what an extension may change."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from proxies.sweep.search.axes import is_varied

if TYPE_CHECKING:
    from proxies.sweep.spec import SweepSpec

AXES = ("lr", "batch_tokens", "weight_decay")
"""Hyperparameters that a search varies."""

EXTENDABLE = {
    "model": ("d_model", "n_layers", "d_ff"),
    "budget": ("tokens", "tokens_per_param", "flops", "wall_time", "interval_width"),
    "search": (
        *AXES,
        "sampler",
        "runs_per_cell",
        "law",
        "start",
        "pruner",
        "seed",
    ),
}
"""What may change from one session to the next by table; the runs there stay comparable."""


def check_same(ours: SweepSpec, theirs: SweepSpec, *, where: str, extend: bool) -> None:
    """Refuse to go on with another spec, or with one whose runs would not compare.

    Args:
        ours: asked for now.
        theirs: that the folder was made with.
        where: the folder, for messages.
        extend: whether another spec is asked for on purpose.

    Raises:
        InputError: the first difference, with both values.
    """
    for table, key in differences(ours, theirs):
        now, then = (show(getattr(getattr(spec, table), key)) for spec in (ours, theirs))
        said = f"{where}: made with [{table}] {key} = {then}, the spec has {now}"
        if not extend:
            raise InputError(f"{said}; pass --extend to go on with it, or name another DIR")
        if key not in EXTENDABLE.get(table, ()):
            raise InputError(f"{said}; its runs would not compare, name another DIR")
        if key in AXES and not all(is_varied(getattr(spec.search, key)) for spec in (ours, theirs)):
            raise InputError(
                f"{said}; runs there do not say their {key}, so that only lists and ranges can "
                "be extended; name another DIR"
            )


def differences(ours: SweepSpec, theirs: SweepSpec) -> list[tuple[str, str]]:
    """Table and key of all that differs, in the order of the spec."""
    now, then = asdict(ours), asdict(theirs)
    return [
        (table, key) for table in now for key in now[table] if now[table][key] != then[table][key]
    ]


def show(value: Any) -> str:
    """A value short enough for one line."""
    said = json.dumps(value, default=asdict)
    return said if len(said) <= 60 else f"{said[:57]}..."
