import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.cli import main
from planner.compute.budget import SMALLEST, Trial, cut, spend
from planner.request.budget import Budget
from planner.request.target import Scale

LLAMA_BUDGET = ["--gpus", "8xH100", "--days", "7"]


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The plan that the command line prints as JSON."""
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def chosen(found: dict[str, Any]) -> dict[str, Any]:
    """The option that was chosen."""
    one: dict[str, Any]
    [one] = [option for option in found["budget"]["options"] if option["chosen"]]
    return one


def test_days_are_spent_and_no_neighbour_has_a_lower_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = plan(capsys, *LLAMA_BUDGET)
    best = chosen(found)
    assert found["compute"]["hours"] == pytest.approx(7 * 24, rel=0.01)
    assert found["target"]["params"] == best["params"]
    assert found["target"]["tokens"] == best["tokens"]
    assert found["loss"]["value"] == pytest.approx(best["loss"], rel=1e-3)
    options = found["budget"]["options"]
    assert len(options) == 5
    assert min(options, key=lambda one: float(one["loss"])) == best
    assert [one["params"] for one in options] == sorted(one["params"] for one in options)


def test_cost_buys_the_gpu_hours_of_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, "--gpus", "8xH100", "--cost", "3360", "--price", "2.5")
    # 3360 / 2.5 = 1344 = 8 GPUs for 7 days.
    assert found["budget"]["gpu_hours"] == 8 * 7 * 24
    assert chosen(found)["cost"] == pytest.approx(3360, rel=0.01)
    assert found["compute"]["cost"] == pytest.approx(3360, rel=0.01)


def test_serving_makes_the_model_smaller_and_trained_for_longer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Sardana et al. 2023 (arXiv 2401.00448), section 2, recalled.

    A Chinchilla model of 13B that serves 2T tokens: as good a one of 7B on 2.1 times the tokens
    takes 17% fewer FLOPs (1.7e22). With Chinchilla's coefficients 13B sees 619B tokens, which
    is 1.003e23 FLOPs with the serving; 8.396e22 buy the same loss.
    """
    found = plan(capsys, "--flops", "8.396e22", "--inference-tokens", "2T", "--law", "chinchilla")
    best = chosen(found)
    assert best["params"] == pytest.approx(7e9, rel=0.1)
    assert best["tokens"] == pytest.approx(2.1 * 619e9, rel=0.1)
    assert best["train_flops"] + best["serve_flops"] == pytest.approx(8.396e22, rel=1e-3)
    assert best["loss"] == pytest.approx(
        1.6934 + 406.4 / 13e9**0.3392 + 410.7 / 619e9**0.2849, 2e-3
    )


def test_bounds_hold_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, *LLAMA_BUDGET, "--max-params", "1B", "--max-tokens", "50B")
    assert (found["target"]["params"], found["target"]["tokens"]) == (1e9, 5e10)
    assert found["compute"]["hours"] < 7 * 24
    assert found["budget"]["bound"] == "--max-params, --max-tokens"


def test_tokens_follow_from_given_params_and_params_from_given_tokens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokens = plan(capsys, *LLAMA_BUDGET, "--params", "1B")
    assert tokens["target"]["params"] == 1e9
    assert tokens["compute"]["hours"] == pytest.approx(168, rel=0.01)
    params = plan(capsys, *LLAMA_BUDGET, "--tokens", f"{tokens['target']['tokens']:.0f}")
    assert params["target"]["params"] == pytest.approx(1e9, rel=0.03)
    assert params["budget"]["bound"] == "--tokens"


def test_a_known_model_keeps_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(capsys, *LLAMA_BUDGET, "--model", "llama-3.2-1b")
    assert found["shape"]["vocab_size"] == 128_256
    assert found["compute"]["hours"] == pytest.approx(168, rel=0.01)


def test_table_and_explanation_say_what_the_budget_buys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--flops", "1e21", "--inference-tokens", "1T", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "what it buys" in out
    assert "serving FLOPs" in out
    assert "1e21 FLOPs = 6 N D + 2 N inference tokens" in out
    assert "the lowest expected loss along the budget" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--days 7", "--days 7: hours need accelerators by name"),
        ("--gpus 8 --days 7", "--days 7: hours need accelerators by name"),
        ("--gpus 8xH100 --cost 500", "--cost 500: needs the --price"),
        ("--gpus 8xH100 --days 7 --params 1B --tokens 2B", "they fix the hours"),
        ("--gpus 8xH100 --days 7 --flops 1e21", "--flops: --days fixes how much"),
        ("--gpus 8xH100 --days 7 --tokens-per-param 20", "--tokens-per-param: --days fixes"),
        ("--gpus 8xH100 --days 7 --checkpoints 5B,10B", "--checkpoints: --days fixes"),
        ("--params 1B --tokens 20B --inference-tokens 1T", "belongs to a budget"),
        ("--max-params 1B", "--max-params: belongs to a budget"),
        ("--params 1B --tokens 20B --price 2", "--price 2: prices GPU-hours"),
        ("--gpus 8xH100 --params 1B --tokens 20B --price -1", "--price -1: must be 1e-06 to 1e+06"),
        ("--gpus 8xH100 --days -3", "--days -3: must be above 0"),
        ("--gpus 8xH100 --days nan", "--days nan: must be above 0"),
        ("--gpus 8xH100 --days 7 --max-params 1B --params 2B", "--params is given"),
        ("--gpus 1xrtx-4090 --days 1 --params 70B", "--days 1: buys no training of 70B params"),
    ],
)
def test_contradictions_are_refused_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@given(st.floats(18, 25), st.sampled_from([0.0, 1e10, 1e12]))
def test_the_search_finds_the_closed_form_of_chinchilla(log_flops: float, served: float) -> None:
    flops = 10**log_flops
    # Else serving alone takes all, which is refused.
    assume(flops > 8 * SMALLEST * served)

    def run(params: float, tokens: float) -> Trial:
        return Trial(
            loss=1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28,
            compute=None,
        )

    budget, scale = Budget(inference_tokens=served or None), Scale(flops=flops)
    params, tokens, _ = spend(budget, None, scale, price=None, seq_len=1, run=run)
    found = run(params, tokens).loss
    for k in range(-400, 401):
        other = params * 1.02**k
        left = flops / (6 * other) - served / 3
        if other >= SMALLEST and left > 1000:
            assert found <= run(other, left).loss * (1 + 5e-4)


@given(st.floats(1e3, 1e15))
def test_tokens_are_cut_and_never_rounded_up(tokens: float) -> None:
    assert 0.998 * tokens <= cut(tokens) <= tokens * (1 + 1e-12)
    assert math.isfinite(cut(tokens))
