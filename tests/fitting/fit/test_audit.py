import math
from dataclasses import replace

import numpy as np
import pytest

from fitting.fit.audit import (
    LEAST_SPREAD,
    UNAUDITED_SPREAD,
    Audit,
    CellAudit,
    audit_surface,
    corners,
    form_spread,
    missed_by,
)
from fitting.fit.doubts import Bend
from fitting.runs.table import check_runs
from fitting.runs.tuned import TunedRuns, tuned_runs
from fitting.surface.fit import Effort
from tests.fixtures.runs import tuned_table

EFFORT = Effort(starts=1, bootstraps=40)

CELL = CellAudit(
    params=1e9,
    tokens=2e10,
    distance=1.0,
    regret=0.001,
    off_grid=False,
    log_lr_error=0.5,
    log_batch_error=-0.2,
    runs=30,
    lr_held=False,
    batch_held=True,
    log_lr_sd=0.3,
    log_batch_sd=0.3,
    log_loss_error=0.004,
    log_loss_sd=0.003,
    loss_held=False,
)


def columns(seed: int = 0) -> TunedRuns:
    return tuned_runs(check_runs(tuned_table(seed)))


def audit_of(*cells: CellAudit) -> Audit:
    return Audit(corner="largest params", fitted_on="60M to 429M", held_out="1B", cells=cells)


def test_each_corner_leaves_out_its_own_largest_runs() -> None:
    runs = columns()
    left = corners(runs)
    assert set(runs.params[left["largest params"]]) == {2.5e8}
    assert set(runs.tokens[left["largest tokens"]]) == {3e10}
    # A fifth of nine cells is two, the largest by params times tokens.
    pairs = {*zip(*(x[left["largest compute"]] for x in (runs.params, runs.tokens)), strict=True)}
    assert pairs == {(2.5e8, 3e10), (1.2e8, 3e10)}


def test_an_audit_does_not_see_what_it_leaves_out() -> None:
    runs = columns()
    spoilt = replace(runs, loss=np.where(runs.params == 2.5e8, runs.loss * 1.1, runs.loss))
    before, after = (
        next(a for a in audit_surface(r, effort=EFFORT) if a.corner == "largest params")
        for r in (runs, spoilt)
    )
    # A level 10% higher moves no optimum: every error is as before.
    for one, two in zip(before.cells, after.cells, strict=True):
        assert one.log_lr_error == pytest.approx(two.log_lr_error, abs=0.05)
        assert one.log_lr_sd == two.log_lr_sd


def test_a_true_law_costs_little_at_a_corner_it_did_not_see() -> None:
    audits = audit_surface(columns(), effort=EFFORT)
    assert [a.corner for a in audits] == ["largest params", "largest tokens", "largest compute"]
    assert all(audit.regret < 0.001 for audit in audits)


def test_intervals_hold_in_about_80_percent_of_cells() -> None:
    held: list[bool] = []
    for seed in range(4):
        for audit in audit_surface(columns(seed), effort=EFFORT):
            for cell in audit.cells:
                held += [h for h in (cell.lr_held, cell.batch_held) if h is not None]
    # Cells of one audit are not independent, so the bound is loose.
    assert 0.6 <= np.mean(held) <= 0.97


def test_two_cells_are_not_audited() -> None:
    table = tuned_table(sizes=(6e7, 1.2e8), tokens=(2e9,))
    assert audit_surface(tuned_runs(check_runs(table)), effort=EFFORT) == ()


def test_the_loss_is_judged_against_the_law_of_the_smaller_fit() -> None:
    (first, *_) = audit_surface(
        columns(), fit_level=lambda fit: lambda params, tokens: (0.0, 10.0), effort=EFFORT
    )
    for cell in first.cells:
        assert cell.log_loss_error is not None
        # ln 1 = 0 was foretold, 2.5 to 3.5 nats were measured.
        assert -1.4 < cell.log_loss_error < -0.6
        assert cell.loss_held


def test_the_sentence_gives_cost_errors_and_intervals() -> None:
    assert audit_of(CELL).sentence() == (
        "fitted on 60M to 429M, this law would have cost 0.10% at 1B; lr off by 65%, interval "
        "held in 0 of 1; batch off by 22%, interval held in 1 of 1; loss off by 0.4%, interval "
        "held in 0 of 1"
    )


def test_a_bound_is_not_an_error_and_is_counted() -> None:
    edge = replace(
        CELL, log_lr_error=None, log_batch_error=None, lr_held=None, batch_held=None, off_grid=True
    )
    said = audit_of(CELL, edge).sentence()
    assert "interval held in 0 of 1" in said
    assert "1 of 2 optima lie on the edge of their grid" in said
    assert "1 foretold points lay off the grid" in said


def test_spread_is_what_the_intervals_did_not_foretell() -> None:
    # lr: sqrt(0.5^2 - 0.3^2) = 0.4 per unit; batch: less than foretold, so the least.
    spread = form_spread([audit_of(CELL)], ())
    assert spread["lr"] == pytest.approx(0.4)
    assert spread["batch_tokens"] == LEAST_SPREAD
    assert missed_by([audit_of(CELL)], "loss") == pytest.approx(math.sqrt(7e-6))


def test_spread_counts_far_cells_by_their_distance() -> None:
    far = replace(CELL, distance=2.0)
    assert form_spread([audit_of(far)], ())["lr"] == pytest.approx(0.2)


def test_a_bend_widens_in_quadrature() -> None:
    bend = Bend(quantity="lr", against="params", curvature=-0.3, error=0.05)
    assert form_spread([audit_of(CELL)], [bend])["lr"] == pytest.approx(0.5)
    assert form_spread([audit_of(CELL)], [bend])["batch_tokens"] == LEAST_SPREAD


def test_without_an_audit_the_spread_is_wide() -> None:
    assert form_spread([], ()) == {"lr": UNAUDITED_SPREAD, "batch_tokens": UNAUDITED_SPREAD}
    assert missed_by([], "loss") is None


def test_cells_of_few_runs_are_audited_with_the_error_of_their_optimum() -> None:
    table = tuned_table(0)
    few = table.groupby(["params", "tokens"], group_keys=False).sample(9, random_state=1)
    audits = audit_surface(tuned_runs(check_runs(few)), effort=EFFORT)
    assert [a.corner for a in audits] == ["largest params", "largest tokens", "largest compute"]
    cells = [cell for audit in audits for cell in audit.cells]
    assert {cell.runs for cell in cells} == {9}
    known = [cell for cell in cells if cell.log_lr_sd is not None]
    assert known
    # The scatter of cells is assumed; the sd here also has the cell's own error.
    assert min(cell.log_lr_sd or 0 for cell in known) > 0.1
