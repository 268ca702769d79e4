"""The loss surface over lr and batch from Step Law's runs."""

from __future__ import annotations

from pathlib import Path

from fitting.laws.surface import (
    Surface,
    best_point,
)
from fitting.surface.fit import Effort, SurfaceFit, fit_surface
from tests.measured.step_law_cells import columns, read_cells, read_table


def fit_all(shared: Path, *, bootstraps: int = 400) -> SurfaceFit:
    """The fit that the law file holds."""
    return fit_surface(columns(read_table(shared)), effort=Effort(bootstraps=bootstraps))


def regrets(surface: Surface, shared: Path) -> list[float]:
    """Regret of the surface's optimum at each cell, percent."""
    return [
        cell.regret(*best_point(surface, cell.params, cell.tokens)) for cell in read_cells(shared)
    ]
