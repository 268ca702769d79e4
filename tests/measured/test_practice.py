import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from fitting.errors import FitError, InputError
from fitting.laws.evaluate import evaluate_law
from fitting.laws.file import read_law
from fitting.laws.law import Quantity
from tests.measured.fit_practice import fit_all, law_text
from tests.measured.practice import Choice, fit_practice, weighted_median

LAW = Path(import_module("planner.data").__path__[0]) / "laws" / "practice.toml"

TRUE_LR = {"params": -0.4, "tokens": -0.05, "batch_tokens": 0.5}
TRUE_BATCH = {"params": 0.3, "tokens": 0.25}


def simulate(
    *, seed: int, labs: int = 16, runs: int = 6, lab_sd: float = 0.0, run_sd: float = 0.0
) -> list[Choice]:
    """Runs of labs that share the true exponents, with a habit a lab and noise a run."""
    rng = np.random.default_rng(seed)
    choices: list[Choice] = []
    for lab in range(labs):
        habit = lab_sd * rng.standard_normal(2)
        for _ in range(runs):
            n, d = rng.uniform(-3, 4), rng.uniform(-4, 2)
            noise = habit + run_sd * rng.standard_normal(2)
            spread = rng.uniform(-1, 1) if run_sd == 0 else 0.0
            b = math.log(2) + 0.3 * n + 0.25 * d + noise[0] + spread
            lr = math.log(4e-4) - 0.4 * n - 0.05 * d + 0.5 * b + noise[1]
            choices.append(
                Choice(
                    lab=f"lab {lab}",
                    params=1e9 * math.exp(n),
                    tokens=1e12 * math.exp(d),
                    lr=math.exp(lr),
                    batch_tokens=2e6 * math.exp(b),
                )
            )
    return choices


def deviations(quantity: Quantity, true: dict[str, float]) -> list[float]:
    """(exponent - true) / its standard error."""
    covariance = quantity.covariance
    assert covariance is not None
    sd = dict(
        zip(covariance.names, np.sqrt(np.diag(np.array(covariance.matrix))).tolist(), strict=True)
    )
    return [(quantity.coefficients[name] - value) / sd[name] for name, value in true.items()]


def test_runs_on_a_line_give_the_line_back() -> None:
    lr = fit_practice(simulate(seed=0)).lr
    for name, exponent in TRUE_LR.items():
        assert lr.coefficients[name] == pytest.approx(exponent, abs=1e-9)
    assert lr.scatter == pytest.approx(0.0, abs=1e-9)
    at = {"params": 1e9, "tokens": 1e12, "batch_tokens": 2e6}
    assert evaluate_law(lr, at) == pytest.approx(4e-4)


def test_standard_errors_are_those_of_labs_with_habits() -> None:
    z: list[float] = []
    for seed in range(60):
        fit = fit_practice(simulate(seed=seed, labs=30, lab_sd=0.6, run_sd=0.3))
        z += deviations(fit.lr, TRUE_LR) + deviations(fit.batch_tokens, TRUE_BATCH)
    # 300 exponents: 1 but for the sandwich's known shortfall at few labs.
    assert 0.9 < math.sqrt(np.mean(np.square(z))) < 1.25


def test_scatter_is_the_spread_of_habits_and_noise() -> None:
    fit = fit_practice(simulate(seed=3, labs=200, lab_sd=0.6, run_sd=0.3))
    assert fit.batch_tokens.scatter == pytest.approx(math.hypot(0.6, 0.3), rel=0.1)


def test_a_lab_that_prints_its_runs_five_times_still_counts_as_one() -> None:
    choices = simulate(seed=1, lab_sd=0.5, run_sd=0.3)
    copies = choices + 4 * [choice for choice in choices if choice.lab == "lab 2"]
    once, often = fit_practice(choices).lr, fit_practice(copies).lr
    assert often.coefficients == pytest.approx(once.coefficients, rel=1e-8)
    assert once.covariance is not None
    assert often.covariance is not None
    assert np.allclose(often.covariance.matrix, once.covariance.matrix, rtol=1e-7)
    assert often.n == 96 + 24


def test_copied_runs_taken_for_labs_of_their_own_look_more_certain() -> None:
    choices = simulate(seed=1, lab_sd=0.5, run_sd=0.3)
    taken = [replace(choice, lab=f"{choice.lab} run {i}") for i, choice in enumerate(choices)]
    honest, naive = fit_practice(choices).lr.covariance, fit_practice(taken).lr.covariance
    assert honest is not None
    assert naive is not None
    assert naive.matrix[0][0] < 0.5 * honest.matrix[0][0]


def test_an_excluded_lab_has_no_say() -> None:
    choices = simulate(seed=2, lab_sd=0.3, run_sd=0.3)
    without = [choice for choice in choices if choice.lab != "lab 4"]
    assert fit_practice(choices, exclude_lab="lab 4") == fit_practice(without)
    assert fit_practice(choices).lr.n == len(choices)


def test_a_wilder_run_pulls_no_harder_than_a_wild_one() -> None:
    choices = simulate(seed=4, run_sd=0.2)
    lines = [
        fit_practice([replace(choices[0], lr=choices[0].lr * factor), *choices[1:]]).lr
        for factor in (1.0, 1e3, 1e12)
    ]
    tame, wild, wilder = (math.log(line.coefficients["scale"]) for line in lines)
    assert wilder == pytest.approx(wild, abs=1e-9)
    # Least squares would move by ln(1e12) / 96 = 0.29 for the wilder run.
    assert 0 < abs(wild - tame) < 0.05


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 2.0), ([3.0, 1.0, 2.0], [5.0, 1.0, 1.0], 3.0)],
)
def test_the_weighted_median_halves_the_weight(
    values: Sequence[float], weights: Sequence[float], median: float
) -> None:
    assert weighted_median(np.array(values), np.array(weights)) == median


def test_a_lab_without_runs_cannot_be_excluded() -> None:
    with pytest.raises(InputError, match=r"^exclude_lab 'lab4': no run is of this lab; nearest"):
        fit_practice(simulate(seed=0), exclude_lab="lab4")


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_choice_that_has_no_log_is_refused(value: float) -> None:
    choices = simulate(seed=0)
    choices[3] = replace(choices[3], batch_tokens=value)
    with pytest.raises(InputError, match=r"^run of lab 0: batch_tokens .* is not above 0$"):
        fit_practice(choices)


def test_too_few_labs_are_refused() -> None:
    with pytest.raises(FitError, match=r"^practice lr: 4 labs for 4 coefficients; needs 5"):
        fit_practice(simulate(seed=0, labs=4, run_sd=0.1))


def test_runs_of_one_batch_cannot_tell_what_the_batch_does() -> None:
    choices = [replace(choice, batch_tokens=2e6) for choice in simulate(seed=0)]
    with pytest.raises(FitError, match=r"^practice lr: params, tokens and batch do not vary apart"):
        fit_practice(choices)


def test_the_shipped_law_is_the_fit_of_the_shipped_recipes() -> None:
    stored, fitted = read_law(LAW), fit_all()
    for name, line in (("lr", fitted.lr), ("batch_tokens", fitted.batch_tokens)):
        found = stored.quantities[name]
        assert found.coefficients == pytest.approx(line.coefficients, rel=1e-6)
        assert found.reference == line.reference
        assert found.scatter == pytest.approx(line.scatter, rel=1e-6)
        assert found.n == line.n
        assert found.covariance is not None
        assert line.covariance is not None
        assert np.allclose(found.covariance.matrix, line.covariance.matrix, rtol=1e-6)


def test_the_law_file_is_what_its_command_writes(tmp_path: Path) -> None:
    written = tmp_path / "practice.toml"
    written.write_text(law_text(fit_all()), encoding="utf-8")
    assert read_law(written).range == read_law(LAW).range
    assert read_law(written).source == read_law(LAW).source
