from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitting.errors import InputError
from fitting.figures import check_suffix, save_figure
from fitting.fit.figure import fit_figure
from fitting.fit.figure_data import fit_data
from fitting.fit.laws import fit_laws
from fitting.fit.result import FittedLaws
from fitting.runs.table import Runs, check_runs
from tests.fixtures.runs import loss_table, tuned_table


@pytest.fixture(scope="module")
def runs() -> Runs:
    return check_runs(tuned_table())


@pytest.fixture(scope="module")
def fit(runs: Runs) -> FittedLaws:
    return fit_laws(runs, target=(1e9, 2e10))


def test_the_largest_cells_are_drawn_first(runs: Runs, fit: FittedLaws) -> None:
    panels = fit_data(runs, fit).cells
    assert len(panels) == 6
    compute = [panel.params * panel.tokens for panel in panels]
    assert compute == sorted(compute, reverse=True)
    assert (panels[0].params, panels[0].tokens) == (2.5e8, 3e10)


def test_contours_are_lowest_at_the_law(runs: Runs, fit: FittedLaws) -> None:
    for panel in fit_data(runs, fit).cells:
        assert panel.grid_cost.min() >= 0
        row, column = np.unravel_index(panel.grid_cost.argmin(), panel.grid_cost.shape)
        # A step of the grid is under 10%.
        assert panel.grid_lr[row] == pytest.approx(panel.law[0], rel=0.1)
        assert panel.grid_batch[column] == pytest.approx(panel.law[1], rel=0.1)


def test_bands_hold_their_law_and_widen_outside(runs: Runs, fit: FittedLaws) -> None:
    panels = fit_data(runs, fit).laws
    assert [(p.quantity, p.against) for p in panels] == [
        ("lr", "params"),
        ("lr", "tokens"),
        ("batch_tokens", "params"),
        ("batch_tokens", "tokens"),
    ]
    for panel in panels:
        assert (panel.low < panel.value).all()
        assert (panel.value < panel.high).all()
        assert panel.high[-1] / panel.low[-1] > (panel.high / panel.low).min()
        assert panel.target in (1e9, 2e10)


def test_a_cell_on_the_law_is_drawn_on_the_line(runs: Runs, fit: FittedLaws) -> None:
    panel = fit_data(runs, replace(fit, target=None)).laws[0]
    line = np.interp(np.log(panel.measured_x), np.log(panel.x), np.log(panel.value))
    # The optima of the table lie within 60% of its law.
    assert np.abs(np.log(panel.measured) - line).max() < 0.5


def test_residuals_are_those_of_the_noise(runs: Runs, fit: FittedLaws) -> None:
    panel = fit_data(runs, fit).residuals
    assert panel is not None
    near = panel.paid < 3
    # 0.2% of noise: 1.4826 times the median absolute deviation.
    assert 1.4826 * np.median(np.abs(panel.residual[near])) == pytest.approx(0.2, rel=0.3)


def test_a_figure_has_a_panel_for_each_part(runs: Runs, fit: FittedLaws) -> None:
    figure = fit_figure(fit_data(runs, fit))
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 12
    assert all(titles)
    assert titles[0].startswith("250M params, 30B tokens")


def test_a_loss_table_draws_its_loss_alone(tmp_path: Path) -> None:
    table = check_runs(loss_table())
    path = tmp_path / "loss.png"
    found = fit_laws(table)
    assert fit_data(table, found).cells == ()
    save_figure(fit_figure(fit_data(table, found)), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_ending_is_refused() -> None:
    with pytest.raises(InputError, match=r"ends in '.gif'; a figure is .png, .pdf, .svg"):
        check_suffix(Path("fit.gif"))
