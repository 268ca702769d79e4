"""What makes a fit doubtful is found, and what does not is not."""

from __future__ import annotations

import numpy as np
import pytest

from fitting.fit.doubts import doubts_of, low_outliers
from fitting.fit.laws import fit_laws
from fitting.fit.result import FitVerdict
from fitting.runs.table import check_runs
from fitting.runs.tuned import tuned_runs
from fitting.surface.fit import Effort, fit_surface
from tests.fixtures.runs import LRS, tuned_table

QUICK = Effort(bootstraps=0)


def test_a_sound_table_raises_no_doubt() -> None:
    columns = tuned_runs(check_runs(tuned_table()))
    fit = fit_surface(columns, effort=QUICK)
    assert doubts_of(columns, fit) == []
    assert not low_outliers(columns, fit).any()


def test_optima_beyond_the_lrs_tried_are_a_doubt_and_change_the_verdict() -> None:
    found = fit_laws(check_runs(tuned_table(lrs=LRS[:3])))
    assert any("best lr lies outside the values tried" in doubt for doubt in found.doubts)
    assert found.verdict is FitVerdict.DOUBTFUL


def test_losses_that_do_not_depend_on_lr_and_batch_are_a_doubt() -> None:
    table = tuned_table()
    rng = np.random.default_rng(1)
    level = table.groupby(["params", "tokens"])["loss"].transform("min")
    columns = tuned_runs(
        check_runs(table.assign(loss=level * np.exp(0.002 * rng.normal(size=len(table)))))
    )
    fit = fit_surface(columns, effort=QUICK)
    assert any("hardly show an optimum" in doubt for doubt in doubts_of(columns, fit))


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_too_low_to_be_true_is_left_out_and_named(seed: int) -> None:
    table = tuned_table(seed)
    best = table.groupby(["params", "tokens"])["loss"].transform("min")
    near = np.flatnonzero(table["loss"] < 1.02 * best)
    wrong = int(np.random.default_rng(seed).choice(near))
    factor = np.where(np.arange(len(table)) == wrong, 0.9, 1.0)
    spoilt = table.assign(loss=table["loss"] * factor)
    clean, found = (fit_laws(check_runs(runs)) for runs in (table, spoilt))
    assert any(note.startswith("1 runs left out of lr and batch") for note in found.notes)
    for name in ("lr", "batch_tokens"):
        before, after = (getattr(fit, name).coefficients["scale"] for fit in (clean, found))
        assert after == pytest.approx(before, rel=0.05)


def test_the_order_of_the_rows_changes_nothing() -> None:
    table = tuned_table()
    shuffled = table.sample(frac=1, random_state=3).reset_index(drop=True)
    first, second = (fit_laws(check_runs(runs)).to_dict() for runs in (table, shuffled))
    assert first == second


def test_ten_percent_of_spoilt_rows_move_the_optimum_by_less_than_five_percent() -> None:
    table = tuned_table()
    rng = np.random.default_rng(5)
    rows = rng.choice(len(table), size=len(table) // 10, replace=False)
    factor = np.ones(len(table))
    factor[rows[::2]], factor[rows[1::2]] = 3.0, np.nan
    spoilt = table.assign(loss=table["loss"] * factor)
    clean, found = (fit_laws(check_runs(runs)) for runs in (table, spoilt))
    assert found.runs.diverged == len(rows)
    for name in ("lr", "batch_tokens"):
        before, after = (getattr(fit, name).coefficients["scale"] for fit in (clean, found))
        assert after == pytest.approx(before, rel=0.05)


def test_doubts_travel_with_the_law_file() -> None:
    found = fit_laws(check_runs(tuned_table(lrs=LRS[:3])))
    assert "best lr lies outside the values tried" in found.to_law("mine", "c").source.caution
    assert fit_laws(check_runs(tuned_table())).to_law("mine", "c").source.caution == ""
