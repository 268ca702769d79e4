"""Types of the arrays that numbers are kept in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Numbers, counts too: 6 N D overflows int64 above 9.2e18."""

Integers = NDArray[np.intp]
"""Places in another array."""

Mask = NDArray[np.bool_]
"""Which rows are meant."""
