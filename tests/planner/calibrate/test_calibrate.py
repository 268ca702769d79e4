import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from fitting.errors import InputError
from fitting.laws.file import read_law
from planner.calibrate.family import Asked, Limits, design_family
from planner.calibrate.folder import Request
from planner.calibrate.loop import calibrate, flops_of, read_budget
from planner.cli import main
from planner.facts.laws import find_law, read_lawbook
from planner.plan.file import load_plan
from proxies.sweep.cells import expand_cells, settle_base
from proxies.sweep.executors.desk import Desk, Ended
from proxies.sweep.run_sweep import Means
from tests.measured.calibrate_oracle import CORPUS, land, oracle

REQUEST = Request(
    params=1e9,
    tokens=2e10,
    seq_len=2048,
    vocab_size=32_000,
    budget="1e17",
    corpus=CORPUS,
    tokenizer="bytes",
    parametrization="sp",
    optimizer="adamw",
    prior="step-law",
    # Wide, so that the search is soon done.
    interval=2.5,
    seed=0,
)
ASKED = Asked(
    params=1e9,
    tokens=2e10,
    seq_len=2048,
    parametrization="sp",
    optimizer="adamw",
    corpus="python",
    tokenizer="bytes",
    prior="step-law",
    seed=0,
)
MEANS = Means(executor="sequential")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def limits(flops: float, corpus_tokens: float = 1e15) -> Limits:
    return Limits(flops=flops, seconds=None, corpus_tokens=corpus_tokens, interval=1.5)


def largest(flops: float, corpus_tokens: float = 1e15) -> int:
    law = find_law(read_lawbook(), "step-law")
    spec = design_family(ASKED, limits(flops, corpus_tokens), law, cost=flops_of)
    assert flops_of(spec) <= flops
    return max(cell.params for cell in expand_cells(spec, vocab_size=256))


def test_a_larger_budget_buys_a_larger_family_and_less_text_a_smaller_one() -> None:
    sizes = [largest(flops) for flops in (1e14, 1e16, 1e18, 1e20)]
    assert sizes == sorted(set(sizes))
    assert largest(1e20, corpus_tokens=1e9) < sizes[-1]
    assert sizes[-1] < 1e9


def test_a_budget_too_small_names_what_the_smallest_family_takes() -> None:
    with pytest.raises(InputError, match=r"--budget: 1e\+12 FLOPs; the smallest family takes"):
        largest(1e12)
    with pytest.raises(InputError, match="the smallest proxies train on"):
        largest(1e16, corpus_tokens=1e5)


def test_a_target_below_every_family_is_refused() -> None:
    law = find_law(read_lawbook(), "step-law")
    with pytest.raises(InputError, match="--params 20K: no family of proxies is smaller"):
        design_family(replace(ASKED, params=2e4, tokens=4e5), limits(1e15), law, cost=flops_of)


@pytest.mark.parametrize(
    ("parametrization", "optimizer", "published"),
    [("mup", "adamw", True), ("completep", "adamw", True), ("mup", "lion", False)],
)
def test_a_family_starts_from_the_published_base_where_there_is_one(
    parametrization: str, optimizer: str, *, published: bool
) -> None:
    law = find_law(read_lawbook(), "step-law")
    asked = replace(ASKED, parametrization=parametrization, optimizer=optimizer)
    spec = settle_base(design_family(asked, limits(1e16), law, cost=flops_of), like=None)
    smallest = min(spec.model.d_model)
    expected = (None, 0.08, 10) if published else (smallest, 0.02 * math.sqrt(512 / smallest), 1)
    base = (spec.model.base_d_model, spec.run.init_std, spec.run.embedding_multiplier)
    assert base == pytest.approx(expected)
    assert (spec.model.base_n_layers is None) == (parametrization != "completep")


def test_budgets_are_flops_or_a_time() -> None:
    assert read_budget("2h") == (None, 7200.0)
    assert read_budget("3e18") == (3e18, None)
    for wrong in ("h", "-2h", "0m", "infs", "soon"):
        with pytest.raises(InputError, match="--budget"):
            read_budget(wrong)


@pytest.mark.slow
def test_a_known_optimum_is_found_and_the_files_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    landed = land(folder, replace(REQUEST, interval=1.25), noise=0.002)
    assert 0.5 < landed.lr < 2
    assert 0.5 < landed.batch < 2
    plan = load_plan(folder / "plan.json")
    assert plan.lr.law == "laws"
    assert read_law(folder / "laws.toml").source.evidence == "fitted"
    assert json.loads((folder / "calibration.json").read_text())["budget"] == "1e17"


def test_a_calibration_that_was_broken_off_ends_where_an_unbroken_one_does(
    tmp_path: Path,
) -> None:
    def dies(count: int) -> Iterator[Ended]:
        raise KeyboardInterrupt(count)

    def broken(desk: Desk) -> Iterator[Ended]:
        for made, ended in enumerate(oracle(0, 0.002)(desk)):
            if made == 9:
                yield from dies(made)
            yield ended

    whole = calibrate(REQUEST, tmp_path / "a", means=MEANS, execute=oracle(0, 0.002))
    with pytest.raises(KeyboardInterrupt):
        calibrate(REQUEST, tmp_path / "b", means=MEANS, execute=broken)
    again = calibrate(REQUEST, tmp_path / "b", means=MEANS, execute=oracle(0, 0.002))
    assert whole is not None
    assert again is not None
    assert again.ending.runs == whole.ending.runs
    assert again.plan.lr == whole.plan.lr


def test_another_request_for_the_same_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    calibrate(REQUEST, folder, means=MEANS, execute=oracle(0, 0.002))
    with pytest.raises(InputError, match=r"was made for params 1000000000.0, not 2000000000.0"):
        calibrate(replace(REQUEST, params=2e9), folder, means=MEANS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "soon"], "--budget"),
        (["--budget", "1e18", "--interval", "1"], "--interval"),
        (["--budget", "1e18", "--prior", "steplaw"], "steplaw"),
        (["--budget", "1e12"], "smallest family"),
        (["--budget", "1e18", "--parametrization", "mupp"], "mupp"),
    ],
)
def test_bad_requests_are_refused_in_a_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["--params", "1B", "--tokens", "20B", "--out", str(tmp_path / "x")]
    code = main(["calibrate", *target, *arguments])
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_the_true_point_is_not_the_priors() -> None:
    # Else the tests above would show the prior's skill.
    from tests.fixtures.runs import true_point

    law = find_law(read_lawbook(), "step-law")
    lr = 1.79 * 1e9**-0.713 * 2e10**0.307
    assert law.name == "step-law"
    assert abs(math.log(true_point(1e9, 2e10)[0] / lr)) > 0.1
