import numpy as np
import pandas as pd
import pytest

from fitting.errors import FitError
from fitting.fit.enough import (
    check_tuned,
    says_too_little,
    schedule_notes,
    together_notes,
    unused_notes,
    varies,
)
from fitting.runs.setting import require_one_setting
from fitting.runs.table import Runs, check_runs
from fitting.runs.tuned import tuned_runs
from tests.fixtures.runs import BATCHES, LRS, decayed_table, loss_table, tuned_table


def runs(table: pd.DataFrame) -> Runs:
    return check_runs(table)


def refused(table: pd.DataFrame, *, with_prior: bool = False) -> str:
    with pytest.raises(FitError) as caught:
        check_tuned(runs(table), with_prior=with_prior)
    return str(caught.value)


def test_a_swept_table_is_taken_as_it_is() -> None:
    table = tuned_table()
    check_tuned(runs(table), with_prior=False)
    columns = tuned_runs(runs(table))
    assert np.array_equal(columns.loss, table["loss"])
    assert np.array_equal(columns.lr, table["lr"])


def test_tokens_within_one_percent_are_one_cell() -> None:
    table = tuned_table(tokens=(2e9,), sizes=(6e7,))
    jittered = table.assign(tokens=2e9 + 0.0005 * 2e9 * np.arange(len(table)) / len(table))
    assert len(set(tuned_runs(runs(jittered)).tokens)) == 1


def test_the_best_weight_decay_stands_for_each_lr_and_batch() -> None:
    table = decayed_table(noise=1e-6)
    columns = tuned_runs(runs(table))
    settings = table.groupby(["params", "tokens", "lr", "batch_tokens"])["loss"]
    assert len(columns.loss) == settings.ngroups
    assert np.allclose(np.sort(columns.loss), np.sort(settings.min()))


def test_repeats_at_the_best_weight_decay_are_all_kept() -> None:
    table = decayed_table(noise=1e-6)
    twice = pd.concat([table.assign(seed=0.0), table.assign(seed=1.0)])
    assert len(tuned_runs(runs(twice)).loss) == 2 * len(tuned_runs(runs(table)).loss)


def test_one_cell_is_refused_even_with_a_prior() -> None:
    table = tuned_table(sizes=(6e7,), tokens=(2e9,))
    for with_prior in (False, True):
        said = refused(table, with_prior=with_prior)
        assert said == "1 (params, tokens) cell, 2 needed; add runs at other sizes"


def test_one_lr_is_refused_even_with_a_prior() -> None:
    said = refused(tuned_table(lrs=LRS[:1]), with_prior=True)
    assert said == "lr takes fewer than 3 values in every cell; sweep it at two sizes"


def test_two_sizes_need_a_prior() -> None:
    table = tuned_table(sizes=(6e7, 1.2e8))
    check_tuned(runs(table), with_prior=True)
    assert refused(table) == (
        "2 distinct params, 3 needed to fit lr on params and tokens; add a size or pass --prior "
        "step-law"
    )


def test_one_batch_needs_a_prior() -> None:
    table = tuned_table(batches=BATCHES[2:3])
    check_tuned(runs(table), with_prior=True)
    assert refused(table).startswith("batch_tokens takes fewer than 3 values in every cell")


def test_one_size_on_two_amounts_of_data_is_refused() -> None:
    table = tuned_table()
    half = table.assign(unique_tokens=table["tokens"] / 2)
    assert "9 sizes differ in unique_tokens" in refused(pd.concat([table, half]))


def test_a_table_without_lr_is_told_which_columns_it_lacks() -> None:
    assert refused(loss_table()).startswith("no finished run has both lr and batch_tokens")


def test_runs_without_lr_are_counted() -> None:
    table = tuned_table()
    table.loc[:4, "lr"] = np.nan
    assert unused_notes(runs(table)) == [
        "5 of 432 finished runs lack lr or batch: used for nothing"
    ]
    assert unused_notes(runs(tuned_table())) == []


def test_a_column_varies_where_one_cell_has_three_values_above_0() -> None:
    table = runs(decayed_table())
    assert varies(table, "weight_decay")
    assert varies(table, "lr")
    assert not varies(runs(tuned_table().assign(weight_decay=0.1)), "weight_decay")
    assert not varies(runs(loss_table()), "lr")


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (tuned_table(), True),
        (tuned_table(sizes=(6e7, 2e8, 7e8)), False),
        (tuned_table(sizes=(6e7, 2e8, 7e8), lrs=LRS[::3], batches=BATCHES[::2]), True),
        (tuned_table(sizes=(6e7, 2e8, 7e8), batches=BATCHES[:1], lrs=LRS), True),
        (tuned_table(sizes=(6e7, 2e8, 7e8)).assign(parametrization="mup"), True),
        (tuned_table().assign(optimizer="lion"), False),
        (loss_table(), False),
    ],
    ids=["under a decade", "enough", "few runs", "one batch", "mup", "lion", "loss only"],
)
def test_the_default_prior_is_for_runs_that_say_too_little(
    table: pd.DataFrame, *, wanted: bool
) -> None:
    checked = runs(table)
    assert says_too_little(checked, require_one_setting(checked)) is wanted


def test_sizes_at_one_tokens_per_param_are_said_to_rise_together() -> None:
    params = np.array([1e8, 2e8, 4e8])
    (said,) = together_notes(np.column_stack([params, 20.2 * params]))
    assert said.startswith("tokens rise with params in these runs")
    crossed = np.array([(n, d) for n in (1e8, 2e8) for d in (2e9, 4e9)])
    assert together_notes(crossed) == []
    (said,) = together_notes(crossed[:2])
    assert said.startswith("every run has the same params")


def test_pooled_schedules_are_named() -> None:
    table = tuned_table()
    mixed = table.assign(schedule=["cosine", "wsd"] * (len(table) // 2))
    assert schedule_notes(check_runs(table.assign(schedule="wsd"))) == []
    assert schedule_notes(check_runs(mixed))[0].startswith("2 schedules are pooled (cosine, wsd)")
