"""The law of utilisation, judged by publications left out."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.measured.fit_utilisation import Fitted, Row, design, fit


def foretell(law: Fitted, row: Row) -> tuple[float, float]:
    """ln(foretold hours / taken) of a row of a project not known, and its foretold spread."""
    x = design([row])[0]
    spreads = law.spreads[[1, 3]] if row.setting.whole_run else law.spreads[[0, 2]]
    sd = math.sqrt(float(x @ law.covariance @ x) + float((spreads**2).sum()))
    return math.log(row.mfu) - float(x @ law.mean), sd


def leave_out(rows: list[Row], group: Callable[[Row], object]) -> dict[int, tuple[float, float]]:
    """Each row foretold by the rows of other groups, by its index."""
    spreads = fit(rows).spreads
    found: dict[int, tuple[float, float]] = {}
    for name in {group(row) for row in rows}:
        law = fit([row for row in rows if group(row) != name], spreads)
        found |= {i: foretell(law, row) for i, row in enumerate(rows) if group(row) == name}
    return found
