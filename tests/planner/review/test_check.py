"""`plan check`: a config beside ours, with verdicts, prices and warnings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_regressions.file_regression import FileRegressionFixture

from fitting.laws.plateau import Span
from planner.cli import main
from planner.recommendation.value import Value
from planner.request.choices import Pins
from planner.review.check import AS_RECOMMENDED, OFF, PLAUSIBLE, Check, check_run, judge
from planner.trainers.import_config import TrainerConfig, import_config
from proxies.run.batching import Batching
from proxies.run.schedule import make_schedule
from tests.fixtures.plans import make_plan
from tests.measured.check_published import published_configs

UNSOUND = Path(__file__).parent / "checks" / "unsound.transformers.json"
PUBLISHED = published_configs()

LOW_TABLES = {"gpt2_124m", "cerebras_1.3b"}
"""Runs at GPT-3's table of lrs on few tokens: far below every sweep that was published since."""

HIGH = {"dclm_1b"}
"""Tuned with qk-norm and z-loss, three times above laws that had neither."""


def test_the_report_of_a_published_config(
    capsys: pytest.CaptureFixture[str], file_regression: FileRegressionFixture
) -> None:
    trainer, path = PUBLISHED["smollm2_135m"]
    assert main(["check", trainer, str(path)]) == 0
    file_regression.check(capsys.readouterr().out)


def test_the_report_of_an_unsound_config(
    capsys: pytest.CaptureFixture[str], file_regression: FileRegressionFixture
) -> None:
    assert main(["check", "transformers", str(UNSOUND)]) == 0
    file_regression.check(capsys.readouterr().out)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_are_not_scolded_for_another_level(name: str) -> None:
    trainer, path = PUBLISHED[name]
    check = check_run(import_config(trainer, path))
    off = {number.name for number in check.numbers if number.verdict == OFF}
    assert off == ({"lr"} if name in LOW_TABLES | HIGH else set())
    assert check.risks == ()
    for number in check.numbers:
        if number.verdict == OFF:
            assert (number.factor or 1) < 1 or name in HIGH


def test_twelve_published_configs_state_their_sources() -> None:
    assert len(PUBLISHED) == 12
    for _, path in PUBLISHED.values():
        assert "ource" in path.read_text().splitlines()[1] + path.read_text().splitlines()[2]


def test_json_says_what_the_report_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "transformers", str(UNSOUND), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].startswith("off: batch 12 times above ours")
    assert found["numbers"]["lr"]["verdict"] == OFF
    assert found["numbers"]["lr"]["cost"] > 0.01
    assert found["numbers"]["weight_decay"]["cost"] is None
    assert len(found["warnings"]) == 6


def config_of(**changes: Any) -> TrainerConfig:
    """A small run as planned, on 20 tokens a param, with some of its settings changed."""
    run = make_plan(tokens=2e8, pins=Pins()).run
    changes.setdefault("tokens", run.tokens)
    return TrainerConfig(
        trainer="pytorch", path=Path("mine.py"), run=replace(run, **changes), notes=()
    )


def verdicts(check: Check) -> set[str]:
    """Every verdict of a check."""
    return {number.verdict for number in check.numbers}


def test_a_planned_run_is_sound() -> None:
    check = check_run(config_of())
    assert verdicts(check) == {AS_RECOMMENDED}
    assert check.verdict.startswith("sound")
    assert check.risks == ()


def at_batch_times(factor: int) -> dict[str, Any]:
    """Changes to a batch that many times as large, on the same tokens."""
    planned = config_of().run
    steps = planned.schedule.steps // factor
    return {
        "batching": Batching(sequences=factor * planned.batch_sequences),
        "schedule": make_schedule("wsd", steps=steps),
    }


def test_an_lr_is_judged_at_the_batch_of_the_run() -> None:
    lr = config_of().run.lr
    check = check_run(config_of(lr=2 * lr, **at_batch_times(4)))
    named = {number.name: number for number in check.numbers}
    assert named["batch_tokens"].factor == pytest.approx(4, rel=0.05)
    assert named["lr"].recommended.value > 1.2 * lr
    assert named["lr"].verdict == AS_RECOMMENDED


OPTIMIZER = make_plan(tokens=2e8, pins=Pins()).run.optimizer
STEPS = make_plan(tokens=2e8, pins=Pins()).run.schedule.steps

UNSTABLE: dict[str, tuple[dict[str, Any], str]] = {
    "lr": ({"lr": 0.5}, "times ours at this batch"),
    "no warmup": (
        {"schedule": make_schedule("linear", steps=STEPS, warmup_steps=0)},
        "no warmup",
    ),
    "long warmup": (
        {"schedule": make_schedule("linear", steps=STEPS, warmup_steps=STEPS // 2)},
        "the warmup takes 50% of the run",
    ),
    "no decay": ({"schedule": make_schedule("constant", steps=STEPS)}, "ends at 100%"),
    "no clip": ({"optimizer": replace(OPTIMIZER, grad_clip=0.0)}, "not clipped"),
    "beta2": ({"optimizer": replace(OPTIMIZER, beta2=0.999)}, "beta2 0.999"),
    "eps": ({"optimizer": replace(OPTIMIZER, eps=1e-5)}, "eps 1e-05"),
    "batch": (at_batch_times(64), "above the critical batch"),
}


@pytest.mark.parametrize(("changes", "said"), UNSTABLE.values(), ids=UNSTABLE)
def test_what_looks_unstable_is_said(changes: dict[str, Any], said: str) -> None:
    risks = check_run(config_of(**changes)).risks
    assert any(said in risk for risk in risks), risks


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, AS_RECOMMENDED), (2.9, PLAUSIBLE), (3.1, OFF), (0.2, OFF)]
)
def test_verdicts_follow_the_two_intervals(value: float, expected: str) -> None:
    ours = Value(value=1.0, low=0.5, high=2.0, law="step-law", elsewhere=Span(low=0.25, high=3.0))
    assert judge(value, ours) == expected


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "pythia_410m",
            "--lr 3e-4",
            "--lr-decay-iters 200000 --lr 3e-4",
            "the decay is made to end at step 200,000 and the run ends at 143,000",
        ),
        (
            "pythia_410m",
            "--lr 3e-4",
            "--lr-decay-iters 100000 --lr 3e-4",
            "the last 43,000 steps are at the lowest lr",
        ),
        (
            "pythia_410m",
            "--lr-warmup-iters 1430",
            "--lr-warmup-iters 150000",
            "--lr-warmup-iters 150,000 is no less than the 143,000 steps of the run",
        ),
        (
            "smollm2_135m",
            "train_steps: 2000000",
            "train_steps: 1700000",
            "the decay is made to end at step 2,000,000 and the run ends at 1,700,000",
        ),
        (
            "smollm2_135m",
            "lr_warmup_steps: 2000",
            "lr_warmup_steps: 3000000",
            "lr_warmup_steps 3,000,000 is no less than the 2,000,000 steps of the run",
        ),
        (
            "amber",
            '"warmup_steps": 2000',
            '"warmup_steps": 400000',
            "warmup_steps 400,000 is no less than the 274,655 steps of the run",
        ),
    ],
)
def test_a_schedule_that_does_not_end_with_the_run_is_said(
    name: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    trainer, path = PUBLISHED[name]
    text = path.read_text()
    assert old in text
    copy = tmp_path / "config"
    copy.write_text(text.replace(old, new))
    check = check_run(import_config(trainer, copy))
    assert said in check.risks[0]
    assert "warning" in check.verdict
