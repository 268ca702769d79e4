import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fitting.errors import InputError
from fitting.fit.laws import fit_laws
from fitting.fit.predict import Prediction, predict_runs, read_rows
from fitting.intervals import Z80
from fitting.laws.file import make_law, read_law
from fitting.laws.law import Covariance, Law, Quantity, Range, Source
from fitting.laws.surface import best_point, surface_from
from fitting.runs.table import check_runs, read_runs
from tests.fixtures.runs import true_loss, true_point, tuned_table

BOOK = Path(__file__).parents[3] / "data" / "laws"

CHINCHILLA = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def law_of(**tables: Quantity) -> Law:
    return make_law(
        "mine",
        source=Source(key="mine", title="mine", evidence="fitted"),
        limits=Range(params=[1e8, 1e9], tokens=[1e9, 1e11]),
        quantities=tables,
    )


def loss_of(scatter: float | None = 0.01, form_log_sd: float | None = None) -> Quantity:
    return Quantity(
        form="chinchilla", coefficients=CHINCHILLA, scatter=scatter, form_log_sd=form_log_sd
    )


def one(law: Law, row: dict[str, float]) -> Prediction:
    (found,) = predict_runs(law, [row])
    return found


@pytest.fixture(scope="module")
def fitted() -> Law:
    return fit_laws(check_runs(tuned_table())).to_law("mine", "plan fit")


def rows_of(table: pd.DataFrame) -> list[dict[str, float]]:
    names = ("params", "tokens", "lr", "batch_tokens")
    return [dict(zip(names, row, strict=True)) for row in table[[*names]].to_numpy().tolist()]


def log_width(found: Prediction) -> float:
    assert found.low is not None
    assert found.high is not None
    return math.log(found.high / found.low) / (2 * Z80)


def test_a_row_without_lr_is_the_loss_law_itself() -> None:
    # By hand: 1.8172 + 482.01 / 1e9^0.3478 + 2085.43 / 2e10^0.3658 = 2.5278
    found = one(law_of(loss=loss_of()), {"params": 1e9, "tokens": 2e10})
    by_hand = 1.8172 + 482.01 / 1e9**0.3478 + 2085.43 / 2e10**0.3658
    assert found.loss == pytest.approx(by_hand, rel=1e-12)


def test_the_interval_is_that_of_the_scatter_inside_the_range() -> None:
    found = one(law_of(loss=loss_of(0.01, 0.1)), {"params": 1e9, "tokens": 2e10})
    assert log_width(found) == pytest.approx(0.01)


def test_the_interval_grows_with_the_distance_outside_the_range() -> None:
    law = law_of(loss=loss_of(0.01, 0.02))
    found = one(law, {"params": 1e9 * math.e, "tokens": 2e10})
    assert log_width(found) == pytest.approx(math.hypot(0.01, 0.02))


def test_the_covariance_counts() -> None:
    covariance = Covariance(names=["E"], matrix=[[0.1**2]])
    law = law_of(loss=replace(loss_of(0.0), covariance=covariance))
    found = one(law, {"params": 1e9, "tokens": 2e10})
    assert log_width(found) == pytest.approx(0.1 / found.loss)


def test_a_law_that_does_not_say_how_sure_it_is_gives_no_interval() -> None:
    found = one(law_of(loss=loss_of(None)), {"params": 1e9, "tokens": 2e10})
    assert (found.low, found.high) == (None, None)


def test_the_best_lr_and_batch_cost_nothing(fitted: Law) -> None:
    lr, batch_tokens = best_point(surface_from(fitted.quantities["surface"]), 1.2e8, 8e9)
    size = {"params": 1.2e8, "tokens": 8e9}
    at_best = one(fitted, {**size, "lr": lr, "batch_tokens": batch_tokens})
    assert at_best.loss == pytest.approx(one(fitted, size).loss, rel=1e-12)


def test_runs_off_the_optimum_are_predicted_with_wider_intervals(fitted: Law) -> None:
    lr, batch_tokens = true_point(1.2e8, 8e9)
    widths, factors = [], (1.0, 3.0, 8.0)
    for factor in factors:
        row = {
            "params": 1.2e8,
            "tokens": 8e9,
            "lr": lr * factor,
            "batch_tokens": batch_tokens,
        }
        found = one(fitted, row)
        truth = true_loss(1.2e8, 8e9, lr * factor, batch_tokens)
        assert found.loss == pytest.approx(truth, rel=0.02)
        widths.append(log_width(found))
    assert widths == sorted(widths)


def test_predictions_of_other_runs_of_the_truth_hold(fitted: Law) -> None:
    other = tuned_table(seed=5)
    found = predict_runs(fitted, rows_of(other))
    near = other["loss"] < 1.1 * other.groupby(["params", "tokens"])["loss"].transform("min")
    value = np.array([one.loss for one in found])[near]
    loss = other["loss"][near]
    assert 1 - np.var(loss - value) / np.var(loss) > 0.99
    held = [
        one.low <= loss <= one.high
        for one, loss in zip(found, other["loss"], strict=True)
        if one.low is not None and one.high is not None
    ]
    assert 0.7 <= np.mean(held) <= 0.95


def test_distinct_tokens_beyond_the_tokens_are_all_tokens() -> None:
    law = read_law(BOOK / "data-constrained.toml")
    size = {"params": 1e9, "tokens": 2e10}
    fresh = one(law, size).loss
    assert one(law, {**size, "unique_tokens": 5e10}).loss == fresh
    assert one(law, {**size, "unique_tokens": 5e9}).loss > fresh


def test_a_law_without_a_loss_is_refused() -> None:
    with pytest.raises(InputError, match="step-law: gives no loss"):
        predict_runs(read_law(BOOK / "step-law.toml"), [{"params": 1e9, "tokens": 2e10}])


def test_rows_come_in_order_with_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "tokens,params,lr,batch_tokens\n2e10,1e9,1e-3,5e5\n1e10,1e8,,\n2e10,1e9,1e-3,5e5\n"
    )
    tuned = {"params": 1e9, "tokens": 2e10, "lr": 1e-3, "batch_tokens": 5e5}
    assert read_rows(path) == [tuned, {"params": 1e8, "tokens": 1e10}, tuned]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params,loss\n1e9,2\n", "column tokens missing, it has params, loss"),
        ("params,tokens\n1e9,2e10\n,2e10\n", "row 3, column params: is empty or NaN"),
        ("params,tokens\n1e9,big\n", "row 2, column tokens: 'big' is not a number"),
        ("params,tokens\n-1,2e10\n", "row 2, column params: -1"),
        ("params,tokens,lr\n1e9,2e10,1e-3\n", "row 2: has lr and no batch_tokens; give both"),
        (
            "params,tokens,lr,batch_tokens\n1e9,2e10,,5e5\n",
            "row 2: has batch_tokens and no lr; give both",
        ),
    ],
)
def test_a_row_that_cannot_be_predicted_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_every_537m_run_is_predicted_from_smaller_ones(shared: Path) -> None:
    table = read_runs(shared / "data" / "lr_batch_runs_to_537M.csv").table
    law = fit_laws(check_runs(table[table["params"] < 4.5e8])).to_law("small", "plan fit")
    held_out = table[table["params"] > 4.5e8]
    found = pd.DataFrame(predict_runs(law, rows_of(held_out)), index=held_out.index)
    loss = held_out["loss"]
    near = loss < 1.1 * held_out.groupby(["params", "tokens"])["loss"].transform("min")
    error = (loss - found["loss"])[near]
    assert 1 - (error**2).sum() / ((loss[near] - loss[near].mean()) ** 2).sum() >= 0.985
    assert 0.70 <= loss.between(found["low"], found["high"]).mean() <= 0.95
