"""`plan verify`: pilots at the target itself, and whether a plan stands after them."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fitting.errors import InputError
from fitting.laws.surface import Surface, best_lr, log_penalty, surface_from
from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.plan.document import Plan
from planner.plan.file import plan_to_json
from planner.plan.make import recommend
from planner.recommendation.place import place_surface
from planner.request.choices import Choices, Pins
from planner.request.target import Target
from planner.review.pilots import FACTORS, pilot_plan
from planner.review.short_runs import ShortRuns, short_runs
from planner.review.verdict import Outcome, Verdict, judge
from planner.review.verify import plan_pilots, verify_plan

BOOK = read_lawbook()
LAW = BOOK["step-law-surface"]
SURFACE = surface_from(LAW.quantities["surface"])
NOISE = 0.002
SEEDS = 20

TARGETS = {"300M on 30B": (3e8, 3e10), "1B on 20B": (1e9, 2e10), "7B on 140B": (7e9, 1.4e11)}


def plan_off_by(factor: float, *, params: float = 3e8, tokens: float = 3e10) -> Plan:
    """A plan whose lr is so many times the surface's best at its batch."""
    target = Target(params=params, tokens=tokens, seq_len=2048, vocab_size=32_000)
    batch = recommend(target).batch_tokens.value
    lr = factor * best_lr(SURFACE, params, tokens, batch)
    return recommend(target, choices=Choices(pins=Pins(lr=lr, batch_tokens=batch)))


def pilots_on(plan: Plan, *, same_setup: bool = False) -> ShortRuns:
    """Pilots of the usual length on the shipped surface."""
    placed = place_surface(LAW, params=plan.target.params, tokens=plan.target.tokens)
    tokens = 0.015 * plan.target.tokens
    return short_runs(plan, placed, tokens=tokens, same_setup=same_setup)


def losses_on(surface: Surface, plan: Plan, tokens: float) -> dict[str, float]:
    """Loss of each pilot on a surface, at a level of 3 nats."""
    return {
        name: 3
        * math.exp(
            log_penalty(
                surface,
                params=plan.target.params,
                tokens=tokens,
                lr=plan.lr.value * factor,
                batch_tokens=plan.batch_tokens.value,
            )
        )
        for name, factor in FACTORS.items()
    }


def verdict_of(runs: ShortRuns, rng: np.random.Generator | None) -> Verdict:
    """The verdict on pilots from the surface, with noise where a generator is given."""
    plan = runs.plan
    losses = losses_on(SURFACE, plan, runs.tokens)
    return judge(
        runs,
        [
            Outcome(
                name=name,
                lr=plan.lr.value * FACTORS[name],
                loss=loss * math.exp(0.0 if rng is None else NOISE * rng.standard_normal()),
                log_sd=NOISE,
            )
            for name, loss in losses.items()
        ],
    )


@pytest.mark.parametrize(("params", "tokens"), TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_a_plan_with_three_times_the_right_lr_or_a_third_is_told_wrong(
    factor: float, params: float, tokens: float
) -> None:
    runs = pilots_on(plan_off_by(factor, params=params, tokens=tokens))
    verdicts = [verdict_of(runs, np.random.default_rng(seed)) for seed in range(SEEDS)]
    assert sum(not verdict.stands for verdict in verdicts) >= 18
    for verdict in verdicts:
        assert verdict.factor is not None
        assert verdict.factor.low is not None
        assert verdict.factor.high is not None
        assert verdict.factor.low < 1 / factor < verdict.factor.high


@pytest.mark.parametrize(("params", "tokens"), TARGETS.values(), ids=TARGETS.keys())
def test_a_right_plan_is_told_wrong_in_at_most_two_of_twenty(params: float, tokens: float) -> None:
    runs = pilots_on(plan_off_by(1.0, params=params, tokens=tokens))
    verdicts = [verdict_of(runs, np.random.default_rng(seed)) for seed in range(SEEDS)]
    assert sum(not verdict.stands for verdict in verdicts) <= 2


def test_pilots_that_say_nothing_leave_the_plan_standing_unsurely() -> None:
    plan = plan_off_by(1.0)
    runs = pilots_on(plan)
    outcomes = [
        Outcome(name=name, lr=plan.lr.value * factor, loss=3.0, log_sd=0.5)
        for name, factor in FACTORS.items()
    ]
    verdict = judge(runs, outcomes)
    assert verdict.stands
    assert verdict.confidence < 0.75
    assert verdict.factor is not None
    assert verdict.factor.value == pytest.approx(1, abs=0.1)


def test_a_surface_of_the_same_setup_tells_the_factor_more_closely() -> None:
    plan = plan_off_by(2.0)
    near, far = (verdict_of(pilots_on(plan, same_setup=own), None) for own in (True, False))
    for verdict in (near, far):
        assert verdict.factor is not None
        assert verdict.factor.low is not None
        assert verdict.factor.high is not None
    assert near.factor.high / near.factor.low < 0.8 * far.factor.high / far.factor.low  # type: ignore[union-attr,operator]
    assert near.factor.value == pytest.approx(0.5, rel=0.1)  # type: ignore[union-attr]


def test_the_verdict_does_not_depend_on_the_level_of_the_loss() -> None:
    runs = pilots_on(plan_off_by(2.0))
    one = verdict_of(runs, None)
    other = judge(
        runs,
        [Outcome(name=p.name, lr=p.lr, loss=(p.loss or 0) * 1.7, log_sd=NOISE) for p in one.pilots],
    )
    assert other.confidence == pytest.approx(one.confidence)
    assert other.factor == pytest.approx(one.factor) or other.factor is not None


def test_a_planned_lr_that_diverges_is_wrong_and_a_doubled_one_is_left_out() -> None:
    plan = plan_off_by(1.0)
    runs = pilots_on(plan)
    losses = losses_on(SURFACE, plan, runs.tokens)

    def judged(*diverged: str) -> Verdict:
        return judge(
            runs,
            [
                Outcome(
                    name=name,
                    lr=plan.lr.value * FACTORS[name],
                    loss=None if name in diverged else loss,
                    log_sd=NOISE,
                )
                for name, loss in losses.items()
            ],
        )

    assert judged("double").stands
    wrong = judged("planned", "double")
    assert not wrong.stands
    assert wrong.factor is None
    assert "planned diverged at 1 times the planned lr" in wrong.reason
    with pytest.raises(InputError, match="at different lrs 2 are needed"):
        judge(runs, [])


def test_pilots_are_whole_runs_of_the_plan_but_for_lr_and_length() -> None:
    plan = plan_off_by(1.0)
    found = plan_pilots(plan, fraction=0.02)
    assert [pilot.lr / plan.lr.value for pilot in found.pilots] == pytest.approx([0.5, 1, 2])
    assert found.flops == pytest.approx(3 * 0.02 * plan.target.flops)
    pilot = pilot_plan(plan, BOOK, lr=plan.lr.value / 2, tokens=found.tokens)
    assert pilot.batch_tokens.value == plan.batch_tokens.value
    assert pilot.weight_decay.value == plan.weight_decay.value
    assert pilot.shape == plan.shape
    assert pilot.schedule.kind == plan.schedule.kind
    assert pilot.schedule.decay_steps / pilot.steps == pytest.approx(
        plan.schedule.decay_steps / plan.steps, abs=2 / pilot.steps
    )
    right = found.pilots[0].expected["right"]
    assert right == pytest.approx(
        math.log(
            losses_on(SURFACE, plan, found.tokens)["half"]
            / losses_on(SURFACE, plan, found.tokens)["planned"]
        )
    )


def saved(plan: Plan, folder: Path) -> Path:
    """The plan as a file."""
    path = folder / "plan.json"
    path.write_text(plan_to_json(plan))
    return path


def log_of(
    folder: Path, name: str, *, lr: float, loss: float, steps: int, noise: float = 0.01
) -> Path:
    """A training log that ends at a loss: linear in its last tenth, noisy, falling before."""
    step = np.arange(1, steps + 1)
    curve = loss * (1 + 0.5 * (1 - step / steps))
    rng = np.random.default_rng(7)
    path = folder / f"{name}.csv"
    pd.DataFrame(
        {
            "step": step,
            "lr": lr * np.minimum(1, np.minimum(step / 20, (steps - step) / (0.2 * steps))),
            "loss": curve * np.exp(noise * rng.standard_normal(steps)),
        }
    ).to_csv(path, index=False)
    return path


def run(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """What a command prints, and its exit code checked."""
    found = main(["verify", *(str(argument) for argument in arguments)])
    shown = capsys.readouterr()
    assert found == code, shown.err
    return shown.out


def pilot_logs(plan: Plan, folder: Path) -> list[Path]:
    """A log of each pilot, on the surface."""
    found = plan_pilots(plan)
    losses = losses_on(SURFACE, plan, found.steps * plan.batch_tokens.value)
    return [
        log_of(folder, name, lr=plan.lr.value * FACTORS[name], loss=loss, steps=found.steps)
        for name, loss in losses.items()
    ]


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (3.0, 1), (1 / 3, 1)])
def test_the_command_reads_logs_and_says_by_its_exit_code_whether_the_plan_stands(
    factor: float, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_off_by(factor)
    path, logs = saved(plan, tmp_path), pilot_logs(plan, tmp_path)
    text = run(capsys, code, path, *reversed(logs))
    assert f"verdict: the plan {'is wrong' if code else 'stands'}" in text
    found = json.loads(run(capsys, code, path, *logs, "--json"))
    assert found["stands"] is (code == 0)
    assert found["factor"]["low"] < 1 / factor < found["factor"]["high"]
    assert found["lr"]["value"] == pytest.approx(found["factor"]["value"] * plan.lr.value)


def test_a_runs_table_says_the_same_as_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_off_by(3.0)
    tokens = plan_pilots(plan).tokens
    rows = [
        {"params": 3e8, "tokens": tokens, "lr": plan.lr.value * FACTORS[name], "loss": loss}
        for name, loss in losses_on(SURFACE, plan, tokens).items()
    ]
    table = tmp_path / "runs.csv"
    frame = pd.DataFrame(rows).assign(batch_tokens=plan.batch_tokens.value)
    frame.to_csv(table, index=False)
    assert "row 3" in run(capsys, 1, saved(plan, tmp_path), table)
    exact = verdict_of(pilots_on(plan), None)
    read = verify_plan(plan, [table])
    assert read.confidence == pytest.approx(exact.confidence, abs=1e-3)
    frame.assign(loss_se=0.3).to_csv(table, index=False)
    assert verify_plan(plan, [table]).confidence < exact.confidence


def test_a_log_that_ends_in_nan_is_a_run_that_diverged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_off_by(1.0)
    logs = pilot_logs(plan, tmp_path)
    planned = pd.read_csv(logs[1])
    planned.loc[300:, "loss"] = math.nan
    planned.to_csv(logs[1], index=False)
    text = run(capsys, 1, saved(plan, tmp_path), *logs)
    assert "planned.csv diverged at 1 times the planned lr" in text


def test_the_commands_it_prints_make_the_pilots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_off_by(1.0)
    path = saved(plan, tmp_path)
    lines = [line for line in run(capsys, 0, path).splitlines() if line.startswith("  plan --from")]
    assert len(lines) == 3
    for line, factor in zip(lines, FACTORS.values(), strict=True):
        assert main([*shlex.split(line)[1:], "--json"]) == 0
        made: dict[str, Any] = json.loads(capsys.readouterr().out)
        pilot = pilot_plan(plan, BOOK, lr=plan.lr.value * factor, tokens=0.015 * plan.target.tokens)
        assert made["lr"]["value"] == pytest.approx(pilot.lr.value, rel=1e-5)
        assert made["steps"] == pilot.steps
        assert made["schedule"]["warmup_steps"] == pilot.warmup_steps


def test_the_pilots_are_exported_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = saved(plan_off_by(1.0), tmp_path), tmp_path / "pilots"
    run(capsys, 0, path, "--export", "torchtitan", "-o", folder)
    assert sorted(found.name for found in folder.iterdir()) == [
        "double.py",
        "half.py",
        "planned.py",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lr": 1.0}, "times the plan's"),
        ({"params": 2e8}, "is not the plan's 300M"),
        ({"batch_tokens": 4096.0}, "a pilot differs in lr alone"),
        ({"tokens": 6e10}, "a pilot is shorter"),
    ],
)
def test_runs_of_something_else_are_refused(
    change: dict[str, float], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_off_by(1.0)
    row = {
        "params": 3e8,
        "tokens": 4.5e8,
        "lr": plan.lr.value,
        "loss": 3.0,
        "batch_tokens": plan.batch_tokens.value,
    }
    table = tmp_path / "runs.csv"
    pd.DataFrame([row | change]).to_csv(table, index=False)
    assert main(["verify", str(saved(plan, tmp_path)), str(table)]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--fraction", "0.9"), "must be from 0.001 to 0.5"),
        (("--export", "torchtitan"), "name a folder"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(
    options: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(saved(plan_off_by(1.0), tmp_path)), *options]) == 2
    assert reason in capsys.readouterr().err
