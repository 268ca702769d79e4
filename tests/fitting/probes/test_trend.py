"""Whether a metric moves one way with compute, with the error rates that are stated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fitting.errors import InputError
from fitting.probes.trend import ERROR_RATE, FEWEST_TO_BEND, find_trend
from planner.cli import main

FLOPS = [10.0**e for e in np.linspace(18, 22, 15)]
TABLES = 100


def noise(seed: int, sd: float = 0.02, runs: int = len(FLOPS)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sd, runs)


def steps() -> np.ndarray:
    return np.linspace(-1, 1, len(FLOPS))


def test_a_power_law_is_found_and_its_interval_holds_four_of_five_runs() -> None:
    truth = np.array([5 * (flops / 1e20) ** -0.05 for flops in FLOPS])
    held = []
    for seed in range(TABLES):
        trend = find_trend(FLOPS, truth * np.exp(noise(seed)))
        assert trend.kind == "falling"
        assert trend.law is not None
        value, low, high = trend.law.at(1e24)
        assert value == pytest.approx(5 * 1e4**-0.05, rel=0.1)
        run = 5 * 1e4**-0.05 * math.exp(noise(seed + TABLES, runs=1)[0])
        held.append(low < run < high)
    assert 0.7 < sum(held) / TABLES < 0.9


def test_inverse_scaling_is_a_trend_of_its_own_direction() -> None:
    assert find_trend(FLOPS, 0.5 - 0.1 * steps() + noise(1)).kind == "falling"
    assert find_trend(FLOPS, 0.5 + 0.1 * steps() + noise(1)).kind == "rising"


@pytest.mark.parametrize(("sign", "kind"), [(1, "u-shaped"), (-1, "inverted-u")])
def test_there_and_back_is_found_and_not_extrapolated(sign: int, kind: str) -> None:
    trend = find_trend(FLOPS, 1 + sign * 0.3 * steps() ** 2 + noise(2))
    assert trend.kind == kind
    assert trend.law is None
    assert trend.turn_flops is not None
    assert 1e19 < trend.turn_flops < 1e21


def test_pure_noise_is_called_a_trend_in_at_most_the_stated_share() -> None:
    kinds = [find_trend(FLOPS, 1 + noise(seed)).kind for seed in range(TABLES)]
    bound = ERROR_RATE * TABLES + 3 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) * TABLES)
    assert sum(kind in ("rising", "falling") for kind in kinds) <= bound
    assert sum(kind in ("u-shaped", "inverted-u") for kind in kinds) <= bound


@pytest.mark.parametrize("sd", [0.002, 0.02, 0.1])
def test_a_curve_that_flattens_is_called_bent_in_at_most_the_stated_share(sd: float) -> None:
    flat = 1 + np.exp(-5 * (steps() + 1))
    kinds = [find_trend(FLOPS, flat + noise(seed, sd)).kind for seed in range(TABLES)]
    bound = ERROR_RATE * TABLES + 3 * math.sqrt(ERROR_RATE * (1 - ERROR_RATE) * TABLES)
    assert sum(kind in ("u-shaped", "inverted-u") for kind in kinds) <= bound


def test_the_bend_is_found_in_most_tables_of_a_clear_one() -> None:
    bent = 1 + 0.2 * steps() ** 2
    kinds = [find_trend(FLOPS, bent + noise(seed)).kind for seed in range(50)]
    assert kinds.count("u-shaped") > 40


def test_a_constant_metric_has_no_trend() -> None:
    assert find_trend(FLOPS, [1.0] * len(FLOPS)).kind == "none"


def test_few_runs_say_that_they_cannot_tell_a_bend() -> None:
    few = FEWEST_TO_BEND - 1
    assert find_trend(FLOPS[:few], list(range(few))).p_bend is None
    with pytest.raises(InputError, match="at least 5"):
        find_trend(FLOPS[:4], [1, 2, 3, 4])


# The command line


def write(path: Path, values: np.ndarray) -> str:
    rows = [f"1e9,{flops / 6e9},{value}\n" for flops, value in zip(FLOPS, values, strict=True)]
    path.write_text("params,tokens,accuracy\n" + "".join(rows))
    return str(path)


def test_a_u_shape_is_said_in_place_of_a_forecast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "u.csv", 0.5 + 0.3 * steps() ** 2 + noise(3))
    assert main(["fit", file, "--metric", "accuracy", "--target", "10B:1T"]) == 0
    said = capsys.readouterr().out
    assert "not monotone, so no power law is fitted" in said
    assert "at the target: not foretold" in said


def test_inverse_scaling_is_named_where_the_good_side_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "inverse.csv", 0.5 - 0.1 * steps() + noise(4))
    assert main(["fit", file, "--metric", "accuracy", "--better", "higher"]) == 0
    assert "inverse scaling" in capsys.readouterr().out


def test_published_losses_fall_one_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Gadre et al. (arXiv 2403.08540), C4, 20 tokens a param: mlfoundations/scaling exp_data.
    sizes = [10.57e6, 78.9e6, 153.7e6, 411.6e6, 1.44e9, 6.889e9]
    losses = [5.2207, 3.8003, 3.4326, 3.0417, 2.6569, 2.3822]
    rows = [f"{size},{20 * size},{loss}\n" for size, loss in zip(sizes, losses, strict=True)]
    file = tmp_path / "gadre.csv"
    file.write_text("params,tokens,c4\n" + "".join(rows))
    assert main(["fit", str(file), "--metric", "c4", "--better", "lower"]) == 0
    said = capsys.readouterr().out
    assert "c4 is falling with compute\n" in said
    assert "one way p = 0.0028" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--metric", "acuracy"], "has no column acuracy"),
        (["--metric", "accuracy", "--better", "best"], "is not higher or lower"),
        (["--metric", "accuracy", "--prior", "none"], "fits no law of a plan"),
        (["--better", "lower"], "belongs to --metric"),
    ],
)
def test_a_metric_that_cannot_be_is_one_line(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "runs.csv", 1 + noise(5))
    assert main(["fit", file, *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
