"""`plan stability` as it is typed, and what its verdicts rest on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fitting.runs.table import check_runs, read_runs
from planner.cli import main
from planner.health.mitigations import StabilityTarget
from planner.health.stability import SetupStability, assess
from tests.measured.stability_forecast import RECORDED, forecasts

TABLE = str(RECORDED)


def verdicts(found: SetupStability) -> dict[str, str]:
    return {each.name: each.verdict for each in found.mitigations}


def test_two_widths_name_the_lr_at_which_the_third_ones_logits_pass_each_threshold() -> None:
    found = forecasts(RECORDED)
    assert len(found) == 6
    assert all(each.factor < 2 for each in found)
    assert sum(each.inside for each in found) >= 5


def test_logits_that_run_away_call_for_qk_norm_and_norms_end_it() -> None:
    target = StabilityTarget(params=1e9, lr=3e-3)
    plain, normed = assess(read_runs(TABLE), target=target, params=target.params)
    assert plain.setup == "sp adamw no-qk-norm"
    assert verdicts(plain)["qk-norm"] == "called for"
    assert verdicts(plain)["lower lr"] == "called for"
    assert verdicts(normed)["qk-norm"] == "not called for"


def test_an_lr_below_the_forecast_needs_nothing() -> None:
    target = StabilityTarget(params=4e5, lr=2e-3)
    plain, _ = assess(read_runs(TABLE), target=target, params=target.params)
    assert set(verdicts(plain).values()) == {"not called for"}


def test_gradients_near_eps_call_for_a_smaller_one() -> None:
    target = StabilityTarget(params=4e5, lr=2e-3, eps=1e-3)
    plain, _ = assess(read_runs(TABLE), target=target, params=target.params)
    assert verdicts(plain)["smaller eps"] == "called for"


def test_norms_lower_the_lr_sensitivity() -> None:
    plain, normed = assess(read_runs(TABLE), target=None, params=None)
    for first, second in zip(plain.sensitivities, normed.sensitivities, strict=True):
        assert first.value is not None
        assert second.value is not None
        assert second.value < first.value


def test_a_run_that_diverged_near_the_lr_calls_for_warmup() -> None:
    table = pd.read_csv(TABLE)
    table = table[table["group"] == "no-qk-norm"].reset_index(drop=True)
    table.loc[table["lr"] == 0.256, "loss"] = float("nan")
    (found,) = assess(check_runs(table), target=StabilityTarget(params=4e5, lr=0.2), params=4e5)
    assert verdicts(found)["longer warmup"] == "called for"


def test_the_report_names_laws_thresholds_and_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stability", TABLE, "--target", "1B:20B", "--lr", "1e-3"]) == 0
    shown = capsys.readouterr()
    assert "max_attention_logit lr^2.16 params^1.11 above a floor" in shown.out
    assert "foretold" in shown.out
    assert "qk-norm       called for: largest attention logit" in shown.out
    assert "times the largest run" in shown.err


def test_json_holds_what_the_report_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stability", TABLE, "--threshold", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threshold"] == 100
    assert found["target"] is None
    first = found["setups"][0]
    assert len(first["crossings"]) == 3
    assert first["crossings"][0]["lr"]["low"] < first["crossings"][0]["lr"]["high"]


def test_the_lr_may_come_from_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--params", "60M", "--tokens", "2B", "--json"]) == 0
    plan = tmp_path / "plan.json"
    plan.write_text(capsys.readouterr().out)
    assert main(["stability", TABLE, "--plan", str(plan)]) == 0
    assert "at 60M params, lr " in capsys.readouterr().out


def test_a_table_without_probes_says_what_records_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    pd.read_csv(TABLE).iloc[:, :12].to_csv(path, index=False)
    assert main(["stability", str(path), "--target", "1B:20B", "--lr", "1e-3"]) == 0
    shown = capsys.readouterr().out
    assert "qk-norm       not known: no column max_attention_logit; record it with" in shown


def test_an_lr_without_a_size_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stability", TABLE, "--lr", "1e-3"]) == 2
    assert "give --target PARAMS:TOKENS or --plan" in capsys.readouterr().err


def test_the_figure_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "logits.png"
    assert main(["stability", TABLE, "--plot", str(path), "--target", "1M:20M"]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert main(["stability", TABLE, "--plot", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
