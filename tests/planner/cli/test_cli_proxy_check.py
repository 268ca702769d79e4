from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.cli import main

QUICK = ["proxy", "coord-check", "--widths", "32,64,128", "--seeds", "3"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    return main([*QUICK, *arguments])


def test_mup_passes_and_leaves_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert found["sizes"] == [32, 64, 128]
    assert (tmp_path / "coord-check.png").read_bytes().startswith(b"\x89PNG")


def test_a_rule_left_out_fails_with_the_layer_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--without", "logits", "--plot", "wrong.png") == 1
    out, err = capsys.readouterr()
    assert err.startswith("plan: coord-check: mup without logits: logits changes as width^+")
    assert len(err.splitlines()) == 1
    assert "written: wrong.png" in out
    assert Path("wrong.png").exists()


@pytest.mark.parametrize(
    "base",
    [
        ("--base-width", "64", "--init-std", "0.02"),
        ("--base-width", "64", "--init-std", "0.08", "--head-init-std", "0.02"),
    ],
    ids=["all", "head alone"],
)
def test_a_head_of_init_002_at_base_width_64_is_weak(
    base: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*base, "--embedding-multiplier", "1", "--lr", "0.004"]
    assert run(*arguments, "--json") == 1
    out, err = capsys.readouterr()
    assert err.startswith("plan: coord-check: mup: weak head: of init 0.02, in 10 steps it learns")
    assert len(err.splitlines()) == 1
    found = json.loads(out)
    assert not found["passed"]
    assert not [each for each in found["tensors"] if each["verdict"] == "off"]
    assert found["head"]["verdict"] == "weak"
    assert found["head"]["learnt"] > 1


def test_a_head_lasts_at_the_base_that_a_run_starts_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--json") == 0
    found = json.loads(capsys.readouterr().out)["head"]
    assert (found["init_std"], found["verdict"]) == (0.08, "lasts")
    assert found["learnt"] < 0.25


def test_a_tied_head_may_shrink_and_its_missing_multiplier_is_still_caught(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--tied") == 0
    assert "logits" in capsys.readouterr().out
    assert run("--tied", "--without", "logits", "--force") == 1
    assert "mup without logits: logits changes as width^+0." in capsys.readouterr().err


def test_shared_key_heads_grow_with_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--kv-heads", "1", "--qk-norm") == 0
    assert run("--kv-heads", "1", "--without", "matrix-lr", "--force") == 1
    assert "mup without matrix-lr" in capsys.readouterr().err


def test_every_row_of_the_table_has_a_slope_and_a_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--parametrization", "sp") == 1
    rows = capsys.readouterr().out.splitlines()[5:-2]
    assert len(rows) == 10
    assert all(row.split()[-1] in {"flat", "off", "unclear"} for row in rows)
    assert all(len(row) <= 80 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--widths", "64,x"], "--widths '64,x': 'x' is no size; write 64,128,256"),
        (["--widths", "64,-128"], "'-128' is no size"),
        (["--widths", ""], "'' is no size"),
        (["--widths", "64,128"], "a slope needs three or more, in rising order"),
        (["--widths", "128,64,32"], "a slope needs three or more, in rising order"),
        (["--widths", "64,100,128"], "width 100 is no multiple of heads of 16"),
        (["--widths", "64,96,128", "--heads", "5"], "width 64 is no multiple of 5 heads"),
        (["--heads", "0"], "0 heads; at least 1"),
        (["--widths", "30,60,120", "--heads", "2"], "head_dim 15 is odd"),
        (["--depths", "2,4,8"], "widths and depths both differ; vary one of them"),
        (["--parametrization", "mupp"], "parametrization 'mupp': not known; nearest is 'mup'"),
        (["--parametrization", "sp", "--base-width", "64"], "base width 64 has no effect"),
        (["--base-width", "0"], "base width 0; at least 1"),
        (["--init-std", "0"], "init std 0.0: must be a finite number above 0"),
        (["--head-init-std", "0.1", "--tied"], "head init std 0.1: the head is the embedding"),
        (["--embedding-multiplier", "0"], "embedding multiplier 0.0: must be a finite number"),
        (["--kv-heads", "3"], "3 kv heads do not divide 2 heads"),
        (["--kv-heads", "0"], "n_kv_heads 0 is not a whole number from 1"),
        (["--optimizer", "adam"], "--optimizer 'adam': not known; nearest is 'adamw'"),
        (["--without", "residul"], "rule 'residul': not known; nearest is 'residual'"),
        (["--without", "residual"], "mup without residual is no other rule for these models"),
        (["--without", "attention"], "is no other rule for these models"),
        (["--lr", "0"], "lr 0.0: must be a finite number above 0"),
        (["--lr", "nan"], "lr nan: must be a finite number above 0"),
        (["--lr", "1e-12"], "raise the lr"),
        (["--steps", "2"], "2 steps; at least 3"),
        (["--seeds", "0"], "0 seeds; at least 1"),
        (["--corpus", "zipf:vocab=x"], "vocab"),
        (["--corpus", "nowhere"], "nowhere"),
        (["--plot", "figure.jpg"], "ends in '.jpg'"),
        (["--plot", "no/such/folder.png"], "no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_with_what_would_be_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_figure_that_exists_is_replaced_only_when_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("mine.png").write_text("mine")
    assert run("--plot", "mine.png") == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("mine.png").read_text() == "mine"


def test_an_lr_that_overflows_names_the_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--lr", "1e30") == 1
    assert "is not finite after step" in capsys.readouterr().err
