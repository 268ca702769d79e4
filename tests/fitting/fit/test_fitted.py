import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fitting
from fitting.errors import FitError, InputError
from fitting.fit.laws import fit_laws, prior_line
from fitting.fit.result import FittedLaws, Verdict
from fitting.laws.evaluate import evaluate_law, law_log_sd
from fitting.laws.file import read_law
from fitting.laws.law import Law
from fitting.laws.surface import best_point, surface_from
from fitting.runs.setting import Group
from fitting.runs.table import check_runs
from tests.fixtures.runs import (
    BATCHES,
    LRS,
    SIZES,
    SLOPE,
    TIMESCALE,
    TOKENS,
    decayed_table,
    loss_table,
    true_loss,
    true_point,
    tuned_table,
)

LAW = Path(__file__).parents[3] / "data" / "laws" / "step-law.toml"


@pytest.fixture(scope="module")
def tuned() -> FittedLaws:
    return fit_laws(check_runs(tuned_table()))


@pytest.fixture(scope="module")
def step_law() -> Law:
    return read_law(LAW)


def lr_at(fit: FittedLaws, params: float, tokens: float) -> float:
    assert fit.lr is not None
    value = evaluate_law(fit.lr, {"params": params, "tokens": tokens})
    assert value is not None
    return value


def test_the_optimum_is_recovered_at_every_cell(tuned: FittedLaws) -> None:
    assert tuned.batch_tokens is not None
    for params in SIZES:
        for tokens in TOKENS:
            lr, batch_tokens = true_point(params, tokens)
            # Noise of 0.2% of the loss leaves a flat optimum uncertain by some 10%.
            assert lr_at(tuned, params, tokens) == pytest.approx(lr, rel=0.15)
            point = {"params": params, "tokens": tokens}
            assert evaluate_law(tuned.batch_tokens, point) == pytest.approx(batch_tokens, rel=0.2)


def test_the_loss_at_the_optimum_is_recovered(tuned: FittedLaws) -> None:
    assert tuned.loss is not None
    for params in SIZES:
        for tokens in TOKENS:
            best = true_loss(params, tokens, *true_point(params, tokens))
            assert tuned.loss.predict(params, tokens).value[0] == pytest.approx(best, rel=0.003)


def test_a_fit_is_the_same_twice_and_in_any_order(tuned: FittedLaws) -> None:
    again = fit_laws(check_runs(tuned_table()))
    assert again.to_dict() == tuned.to_dict()
    shuffled = fit_laws(check_runs(tuned_table().sample(frac=1, random_state=1)))
    # Sums in another order move the last digits, which random starts amplify.
    assert lr_at(shuffled, 1e8, 2e9) == pytest.approx(lr_at(tuned, 1e8, 2e9), rel=1e-3)


def test_diverged_and_corrupted_rows_move_the_optimum_by_less_than_5_percent(
    tuned: FittedLaws,
) -> None:
    table = tuned_table()
    bad = np.random.default_rng(0).choice(len(table), size=len(table) // 10, replace=False)
    diverged, corrupted = np.array_split(bad, 2)
    table.loc[diverged, "loss"] = np.nan
    table.loc[corrupted, "loss"] *= 1.25
    fit = fit_laws(check_runs(table))
    assert fit.runs.diverged == len(diverged)
    assert lr_at(fit, 1.2e8, 8e9) == pytest.approx(lr_at(tuned, 1.2e8, 8e9), rel=0.05)


def test_the_law_file_reads_back_as_it_was(tuned: FittedLaws, tmp_path: Path) -> None:
    law = tuned.to_law("mine", "plan fit runs.csv")
    path = tmp_path / "mine.toml"
    path.write_bytes(law.content)
    again = read_law(path)
    assert again == law
    assert again.source.evidence == "fitted"
    assert again.source.command == "plan fit runs.csv"
    assert set(again.quantities) == {"lr", "batch_tokens", "loss", "surface"}
    assert again.range.params == [6e7, 2.5e8]
    assert again.range.parametrization == "sp"


def test_the_law_files_surface_and_power_laws_agree(tuned: FittedLaws) -> None:
    law = tuned.to_law("mine", "plan fit")
    lr, batch_tokens = best_point(surface_from(law.quantities["surface"]), 2e8, 1e10)
    point = {"params": 2e8, "tokens": 1e10}
    assert evaluate_law(law.quantities["lr"], point) == pytest.approx(lr)
    assert evaluate_law(law.quantities["batch_tokens"], point) == pytest.approx(batch_tokens)
    assert law.quantities["surface"].penalty_scatter is not None
    assert law.quantities["surface"].scatter == pytest.approx(0.002, rel=0.5)


def test_json_has_the_keys_of_the_contract(tuned: FittedLaws) -> None:
    found = json.loads(json.dumps(tuned.to_dict()))
    for name in ("surface", "lr", "batch_tokens", "loss"):
        assert {"form", "coefficients", "covariance", "r2", "n"} <= found[name].keys()
    assert found["weight_decay"] is None
    assert found["runs"] == {"used": 432, "diverged": 0, "rejected": 0, "reasons": {}}
    assert [audit["corner"] for audit in found["audit"]] == [
        "largest params",
        "largest tokens",
        "largest compute",
    ]


def test_no_line_of_a_summary_is_wider_than_80(tuned: FittedLaws) -> None:
    assert max(map(len, tuned.summary().splitlines())) <= 80
    assert tuned.verdict is Verdict.HOLDS
    assert "prior: none" in tuned.summary()
    assert tuned.summary() in tuned._repr_html_().replace("&lt;", "<").replace("&gt;", ">")


def test_the_weight_decay_law_is_recovered() -> None:
    fit = fit_laws(check_runs(decayed_table()))
    assert fit.weight_decay is not None
    assert fit.weight_decay.coefficients["scale"] == pytest.approx(TIMESCALE, rel=0.15)
    assert fit.weight_decay.coefficients["tokens_per_param"] == pytest.approx(SLOPE, abs=0.05)


def test_a_loss_table_gives_loss_alone_and_says_so() -> None:
    fit = fit_laws(check_runs(loss_table()))
    assert (fit.surface, fit.lr, fit.batch_tokens, fit.weight_decay) == (None,) * 4
    assert fit.loss is not None
    assert fit.verdict is Verdict.LOSS_ONLY
    assert fit.notes[0].startswith("no lr and batch_tokens")
    assert fit.to_dict()["lr"] is None
    assert set(fit.to_law("mine", "plan fit").quantities) == {"loss"}


def test_one_cell_is_one_line() -> None:
    with pytest.raises(FitError) as caught:
        fit_laws(check_runs(tuned_table(sizes=(6e7,), tokens=(2e9,))))
    assert str(caught.value).startswith(
        "runs: no law of lr and batch: 1 (params, tokens) cell, 2 needed; add runs at other "
        "sizes; no loss law: 1 distinct sizes, 6 needed"
    )
    assert "\n" not in str(caught.value)


def test_mixed_optimizers_are_refused_with_the_groups_named() -> None:
    table = tuned_table()
    table["optimizer"] = np.where(table["params"] > 1e8, "lion", "adamw")
    with pytest.raises(InputError, match=r"sp with adamw \(144 runs\), sp with lion \(288 runs\)"):
        fit_laws(check_runs(table))


def test_few_runs_take_more_of_the_prior_than_many(step_law: Law, tuned: FittedLaws) -> None:
    few = tuned_table(sizes=SIZES[:2], tokens=TOKENS[:2], lrs=LRS[::2], batches=BATCHES[::2])
    small = fit_laws(check_runs(few), prior=step_law)
    large = fit_laws(check_runs(tuned_table()), prior=step_law)
    assert small.prior is not None
    assert large.prior is not None
    assert 0 < large.prior.lr < small.prior.lr < 1
    assert "step-law gave" in small.summary()
    assert tuned.prior is None
    # A prior counts for little beside 432 runs.
    assert lr_at(large, 2e8, 8e9) == pytest.approx(lr_at(tuned, 2e8, 8e9), rel=0.1)


def test_a_batch_that_was_not_swept_comes_from_the_prior(step_law: Law) -> None:
    table = tuned_table(batches=(2.0**18,))
    fit = fit_laws(check_runs(table), prior=step_law)
    assert fit.prior is not None
    assert fit.prior.batch_tokens > 0.5
    assert fit.batch_tokens is not None
    assert law_log_sd(fit.batch_tokens, {"params": 2.5e8, "tokens": 3e10}) > 0.2  # type: ignore[operator]  # has a covariance


def test_under_mup_the_prior_holds_lr_flat_in_params_at_fixed_tokens_per_param(
    step_law: Law,
) -> None:
    line = prior_line(step_law, Group("mup", "adamw", 256.0))
    assert line is not None
    assert line.mean[1] + line.mean[2] == pytest.approx(0)
    along = np.array([0, 1, 1, 0, 0, 0])
    assert math.sqrt(along @ line.covariance @ along) == pytest.approx(0.15)
    sp = prior_line(step_law, Group("sp", "adamw"))
    assert sp is not None
    assert sp.mean[1] + sp.mean[2] == pytest.approx(-0.713 + 0.307)


def test_a_mup_table_is_fitted_with_that_prior(step_law: Law) -> None:
    few = tuned_table(sizes=SIZES[:2], tokens=TOKENS[:2], lrs=LRS[::2], batches=BATCHES[::2])
    mup = few.assign(parametrization="mup", base_d_model=256.0)
    fit = fit_laws(check_runs(mup), prior=step_law)
    assert fit.lr is not None
    plain = fit_laws(check_runs(few), prior=step_law)
    assert plain.lr is not None
    exponents = [
        fit.lr.coefficients["params"] + fit.lr.coefficients["tokens"]
        for fit in (fit, plain)
        if fit.lr is not None
    ]
    # Both tables are the same runs; the prior pulls muP's towards 0.
    assert exponents[0] > exponents[1]
    assert "step-law, carried to mup, gave" in fit.summary()
    assert "lr is that of mup of base width 256 with adamw" in fit.to_law("m", "c").source.note


def test_a_prior_of_another_optimizer_is_refused(step_law: Law) -> None:
    table = tuned_table().assign(optimizer="lion")
    with pytest.raises(InputError, match="is a law of adamw, the runs are of lion"):
        fit_laws(check_runs(table), prior=step_law)


def test_a_prior_without_a_batch_is_refused() -> None:
    law = read_law(LAW.parent / "power-lines.toml")
    with pytest.raises(InputError, match="--prior power-lines: gives no"):
        fit_laws(check_runs(tuned_table()), prior=law)


def test_the_cliff_is_the_lowest_diverged_multiple_above_the_law(tuned: FittedLaws) -> None:
    table = tuned_table()
    law = lr_at(tuned, 6e7, 2e9)
    rows = pd.DataFrame(
        {
            "params": 6e7,
            "tokens": 2e9,
            "batch_tokens": 1e5,
            "lr": [0.5 * law, 4 * law, 8 * law],
            "loss": np.nan,
        }
    )
    fit = fit_laws(check_runs(pd.concat([table, rows], ignore_index=True)))
    assert fit.lr is not None
    assert fit.lr.cliff == pytest.approx(4, rel=1e-3)
    assert "1 of 3 diverged runs had an lr below the law's; look at them" in fit.notes


def test_a_target_counts_near_cells_for_more(tuned: FittedLaws) -> None:
    fit = fit_laws(check_runs(tuned_table()), target=(1e9, 2e10))
    assert fit.target == (1e9, 2e10)
    assert "at 1B params, 20B tokens" in fit.summary()
    assert lr_at(fit, 1e9, 2e10) == pytest.approx(lr_at(tuned, 1e9, 2e10), rel=0.3)


def test_progress_is_told_in_order() -> None:
    said: list[str] = []
    fit_laws(check_runs(loss_table()), progress=said.append)
    assert said == ["fitting the surface", "fitting the loss law"]


def test_public_names_load_on_use() -> None:
    assert fitting.fit_laws is fit_laws
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        _ = fitting.fit_everything
