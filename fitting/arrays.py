"""Types of the arrays that numbers are kept in, and slopes of functions of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Floats = NDArray[np.float64]
"""Numbers, counts too: 6 N D overflows int64 above 9.2e18."""

Integers = NDArray[np.intp]
"""Places in another array."""

Mask = NDArray[np.bool_]
"""Which rows are meant."""


def complex_slopes(function: Callable[[Any], Iterable[Any]], at: Floats) -> Floats:
    """d value / d parameter at one vector, shape (values, p); exact.

    By complex steps: of an analytic function, a step of 1e-30 has no cancellation.

    Args:
        function: from p parameters, each a vector of p complex numbers, to its values.
        at: shape (p,).
    """
    steps = at + 1e-30j * np.eye(len(at))
    return np.array([np.imag(value + 0j * steps[0]) / 1e-30 for value in function(steps.T)])
