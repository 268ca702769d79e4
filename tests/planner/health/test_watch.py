"""`plan watch` as it is typed, on whole logs and on one that grows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitting.logs.series import RunLog, read_growing
from planner.cli import main
from planner.health.watch import planned_lr, watch_growing, watch_log
from planner.plan.file import load_plan
from tests.fixtures.logs import steady, with_drift, with_plateau, with_spike


def write_log(path: Path, log: RunLog) -> Path:
    columns = {"step": log.step, "loss": log.loss, **log.others}
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, map(float, row))) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    pins = ["--params", "60M", "--tokens", "2B", "--batch", "128K", "--lr", "3e-4"]
    assert main([*pins, "--json"]) == 0
    path = tmp_path / "plan.json"
    path.write_text(capsys.readouterr().out)
    return path


def test_a_healthy_log_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(write_log(tmp_path / "log.csv", steady()))]) == 0
    shown = capsys.readouterr().out
    assert "log.csv: 300 rows, steps 20 to 6,000" in shown
    assert "healthy: nothing that its noise does not explain" in shown


def test_each_fault_is_named_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = with_plateau(steady(noise=0.002), part=0.3)
    log = with_spike(with_drift(flat, size=0.1, part=0.8), size=0.3, part=0.5)
    path = str(write_log(tmp_path / "log.csv", log))
    assert main(["watch", path]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines[1:]) == ["drift", "plateau", "spike"]
    assert main(["watch", path, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {fault["kind"] for fault in found["faults"]} == {"drift", "plateau", "spike"}


def test_bad_input_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tmp_path / "none.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_an_lr_that_is_not_the_planned_one_is_named(plan: Path) -> None:
    document = load_plan(plan)
    step = np.linspace(100, document.steps, 300).round()
    lr = planned_lr(document, step)
    log = replace(steady(), step=step, others={"lr": lr})
    assert "lr" not in {fault.kind for fault in watch_log(log, plan=document).faults}
    doubled = replace(log, others={"lr": np.where(step > 8000, 2 * lr, lr)})
    (fault,) = [each for each in watch_log(doubled, plan=document).faults if each.kind == "lr"]
    assert fault.size == pytest.approx(2)
    assert fault.step > 8000


def test_the_plan_gives_the_lr_that_a_log_lacks(plan: Path) -> None:
    bare = replace(steady(), others={})
    assert "plateaus are not judged" in watch_log(bare).notes[0]
    assert watch_log(bare, plan=load_plan(plan)).notes == ()


def test_a_loss_above_the_curve_laws_forecast_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = np.linspace(2200, 24_000, 200).round()
    lr = np.full(200, 3e-4)
    rows = tmp_path / "schedule.csv"
    rows.write_text("step,lr\n" + "".join(f"{s},{r}\n" for s, r in zip(step, lr, strict=True)))
    law = "data/laws/multi-power-25m.toml"
    assert main(["curve", "predict", law, str(rows), "--warmup-steps", "2160"]) == 0
    table = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    loss = np.array([float(cells[2]) for cells in table])
    loss *= 1 + 0.002 * np.random.default_rng(0).normal(size=200)
    good = RunLog(name="run", step=step, loss=loss, others={"lr": lr})
    arguments = ["--curve", law, "--warmup-steps", "2160"]
    assert main(["watch", str(write_log(tmp_path / "good.csv", good)), *arguments]) == 0
    bad = replace(good, loss=loss + 0.3)
    assert main(["watch", str(write_log(tmp_path / "bad.csv", bad)), *arguments]) == 1
    assert "nats above the curve law's forecast" in capsys.readouterr().out


def test_a_growing_log_tells_each_fault_once(tmp_path: Path) -> None:
    whole = write_log(tmp_path / "whole.csv", with_spike(steady(), size=0.4)).read_text()
    path = tmp_path / "log.csv"
    # Cut inside rows, and before the first one.
    ends = [0, 30, 2000, 6003, 9007, len(whole) - 5, len(whole)]
    assert ends == sorted(ends)
    path.write_text("")
    left = iter(ends)

    def wait() -> bool:
        end = next(left, None)
        path.write_text(whole[: end or 0])
        return end is not None

    looks = list(watch_growing(lambda: read_growing(path), watch_log, wait))
    told = [fault for _, new in looks for fault in new]
    assert [fault.kind for fault in told] == ["spike"]
    assert looks[-1][0].log.step[-1] == 6000


def test_the_readmes_log_has_the_three_faults_that_were_laid_into_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["watch", "notebooks/watch_example.csv"]) == 1
    lines = capsys.readouterr().out.splitlines()[1:]
    assert sorted(line.split()[0] for line in lines) == ["drift", "plateau", "spike"]
