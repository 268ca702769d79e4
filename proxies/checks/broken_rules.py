"""Rules of a parametrization left out on purpose: what a coordinate check must catch.

Each fault sets one value to what it is without the rule. A check that passes under a fault has too
few sizes, seeds or steps to be believed without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name

if TYPE_CHECKING:
    from proxies.run.groups import ParamGroup
    from proxies.run.parametrization import Parametrization
    from proxies.run.shape import Shape

    Parts = tuple[Parametrization, list[ParamGroup]]


def leave_out(fault: str, rule: Parametrization, groups: list[ParamGroup], shape: Shape) -> Parts:
    """The parametrization and its groups without one rule.

    Args:
        fault: a key of `FAULTS`.
        rule: the parametrization of the shape.
        groups: of the same; the embedding's lr and init are taken as the base values.
        shape: the model.

    Raises:
        InputError: an unknown fault.
    """
    if fault not in FAULTS:
        raise InputError(
            f"rule '{fault}': not known{nearest_name(fault, FAULTS)}; known: {', '.join(FAULTS)}"
        )
    return FAULTS[fault](rule, groups, shape)


def _matrix_lr(rule: Parametrization, groups: list[ParamGroup], _shape: Shape) -> Parts:
    base = groups[0].lr
    return rule, [replace(g, lr=base) if g.name == "matrices" else g for g in groups]


def _matrix_init(rule: Parametrization, groups: list[ParamGroup], _shape: Shape) -> Parts:
    base = groups[0].init_std
    return rule, [replace(g, init_std=base) if g.name == "matrices" else g for g in groups]


def _attention(rule: Parametrization, groups: list[ParamGroup], shape: Shape) -> Parts:
    return replace(rule, attention_scale=1 / math.sqrt(shape.head_dim)), groups


FAULTS: Mapping[str, Callable[[Parametrization, list[ParamGroup], Shape], Parts]] = {
    "matrix-lr": _matrix_lr,
    "matrix-init": _matrix_init,
    "attention": _attention,
    "residual": lambda rule, groups, _shape: (replace(rule, residual_multiplier=1.0), groups),
    "logits": lambda rule, groups, _shape: (replace(rule, logits_multiplier=1.0), groups),
}
"""Rules that can be left out, by name. Attention matters where heads grow wider, the residual
multiplier where layers are added; weight decay and eps leave no trace in a few steps."""
