"""`plan` as users type it: output, JSON, errors, what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner.cli import main
from planner.plan.file import load_plan, plan_to_dict

BASIC = ["--params", "1B", "--tokens", "20B"]

FORBIDDEN = ("torch", "numpy", "pandas", "scipy", "optuna", "plotly", "pyarrow", "matplotlib")
"""What a plan must not wait for."""

CONTRACT = [
    "schema",
    "target",
    "shape",
    "model",
    "lr",
    "batch_tokens",
    "weight_decay",
    "loss",
    "batch_sequences",
    "steps",
    "warmup_steps",
    "optimizer",
    "schedule",
    "plateau",
    "error_cost",
    "alternatives",
    "parametrization",
    "param_groups",
    "compute",
    "nearest",
    "data",
    "provenance",
    "warnings",
    "anchors",
    "batch_growth",
    "budget",
    "experts",
    "request",
    "surface",
]
"""Keys of the plan's JSON, in order (the design's contract)."""

BAD = {
    "negative params": ["--params", "-1B", "--tokens", "20B"],
    "zero params": ["--params", "0", "--tokens", "20B"],
    "unknown unit": ["--params", "1X", "--tokens", "20B"],
    "not a number": ["--params", "big", "--tokens", "20B"],
    "nan tokens": ["--params", "1B", "--tokens", "nan"],
    "infinite tokens": ["--params", "1B", "--tokens", "1e400"],
    "empty params": ["--params", "", "--tokens", "20B"],
    "params alone": ["--params", "1B"],
    "tokens alone": ["--tokens", "20B"],
    "ratio alone": ["--tokens-per-param", "20"],
    "nothing but a pin": ["--batch", "1M"],
    "flops disagree": [*BASIC, "--flops", "3e21"],
    "ratio disagrees": [*BASIC, "--tokens-per-param", "100"],
    "shape disagrees": [*BASIC, "--d-model", "512", "--layers", "8"],
    "model disagrees": [*BASIC, "--model", "llama-3-8b"],
    "model and widths": ["--model", "llama-3-8b", "--d-model", "512", "--tokens", "1B"],
    "unknown model": ["--model", "lama-3-8b", "--tokens", "1B"],
    "width without depth": ["--d-model", "512", "--tokens", "1B"],
    "heads do not divide": ["--d-model", "512", "--layers", "8", "--heads", "7", "--tokens", "1B"],
    "unknown law": [*BASIC, "--law", "steplaw"],
    "law in words only": [*BASIC, "--law", "wsd-s"],
    "law of another optimizer": [*BASIC, "--law", "marin-muonh"],
    "missing law file": [*BASIC, "--laws", "nowhere.toml"],
    "nan lr": [*BASIC, "--lr", "nan"],
    "lr of 8": [*BASIC, "--lr", "8"],
    "negative weight decay": [*BASIC, "--weight-decay", "-0.1"],
    "batch above the tokens": [*BASIC, "--batch", "30B"],
    "batch in sequences": [*BASIC, "--batch", "216"],
    "batch and steps": [*BASIC, "--batch", "1M", "--steps", "1000"],
    "more steps than sequences": [*BASIC, "--steps", "100000000"],
    "zero steps": [*BASIC, "--steps", "0"],
    "warmup longer than the run": [*BASIC, "--warmup", "100000"],
    "negative warmup": [*BASIC, "--warmup", "-1"],
    "zero sequence length": [*BASIC, "--seq-len", "0"],
    "negative vocabulary": [*BASIC, "--vocab", "-5"],
    "unknown optimizer": [*BASIC, "--optimizer", "adam"],
    "unknown parametrization": [*BASIC, "--parametrization", "mu"],
    "base width under sp": [*BASIC, "--base-width", "128"],
    "unknown schedule": [*BASIC, "--schedule", "wds"],
    "wsd-s without budgets": [*BASIC, "--schedule", "wsd-s"],
    "budgets of another schedule": [*BASIC, "--schedule", "cosine", "--checkpoints", "5B,20B"],
    "falling budgets": [*BASIC, "--checkpoints", "10B,5B,20B"],
    "budgets short of the run": [*BASIC, "--checkpoints", "5B,10B"],
    "unknown gpu": [*BASIC, "--gpus", "8xH1000"],
    "no gpus": [*BASIC, "--gpus", "0xH100"],
    "unknown rounding": [*BASIC, "--round-batch", "up"],
    "trailing underscore": ["--params", "1_", "--tokens", "20B"],
    "digits that are not ascii": ["--params", "\u0661B", "--tokens", "20B"],
    "line break in a count": ["--params", "1\nB", "--tokens", "20B"],
    "more tokens than there are": ["--params", "1B", "--tokens", "1e30"],
    "tokens that overflow": ["--params", "1B", "--tokens-per-param", "1e300"],
    "unique tokens under a sequence": [*BASIC, "--unique-tokens", "1"],
    "lr that underflows": [*BASIC, "--lr", "1e-300"],
    "layers without end": ["--d-model", "64", "--layers", "9" * 400, "--tokens", "1B"],
    "vocabulary without end": [*BASIC, "--vocab", "9" * 320],
    "base width without end": [
        *BASIC,
        "--parametrization",
        "mup",
        "--base-width",
        "9" * 400,
    ],
    "batch without end": ["--params", "1B", "--tokens", "1e18", "--batch", "1e17"],
    "one step": [*BASIC, "--steps", "1"],
    "batch of all tokens": [*BASIC, "--batch", "20B"],
    "flops by a law without a split": ["--flops", "1e20", "--law", "data-constrained"],
    "unknown option": [*BASIC, "--learning-rate", "1"],
    "unknown command": ["make"],
}


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one invocation."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_with_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(arguments, capsys)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("plan: ")
    assert "Traceback" not in err


def law_file(lr: str, *, more: str = "") -> str:
    """A user's law file with one table of lr."""
    source = '[source]\nkey = "mine"\ntitle = "t"\nevidence = "fitted"\ncommand = "c"\n'
    return f"{source}[lr]\n{lr}\n{more}"


@pytest.mark.parametrize(
    "content",
    [
        law_file('form = "power"\ncoefficients = { scale = 1e300 }'),
        law_file('form = "power"\ncoefficients = { scale = 0.001, params = 1000.0 }'),
        law_file('form = "power"\ncoefficients = { scale = 0.001, params = -1000.0 }'),
        law_file('form = "power"\nscatter = 1e6\ncoefficients = { scale = 0.001 }'),
        law_file('form = "power"\ncliff = -5.0\ncoefficients = { scale = 0.001 }'),
        law_file('form = "power"\ncoefficients = { scale = 0.001 }', more="a = " + "[" * 3000),
    ],
    ids=["huge", "overflow", "underflow", "scatter", "cliff", "nested"],
)
def test_a_law_of_impossible_numbers_is_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    code, out, err = run([*BASIC, "--laws", str(path)], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mine" in err


def test_a_full_disk_is_one_line() -> None:
    code = "import sys; from planner.cli import main; sys.exit(main(sys.argv[1:]))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *BASIC],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("plan: the output cannot be written")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [BASIC, [*BASIC, "--json"], ["trainers"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_failure(arguments: list[str], unbuffered: str) -> None:
    code = "import sys; from planner.cli import main; sys.exit(main(sys.argv[1:]))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_flops_alone_are_split_by_the_law_that_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, replicated, _ = run(["--flops", "1e20", "--json"], capsys)
    _, published, _ = run(["--flops", "1e20", "--law", "chinchilla", "--json"], capsys)
    sizes = [json.loads(out)["target"]["params"] for out in (replicated, published)]
    # By hand: G (C/6)^(beta/(alpha+beta)) with each paper's constants.
    assert sizes == pytest.approx([8.53e8, 7.75e8], rel=0.01)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not toml [",
        "[source]\nkey = 1\n",
        '[lr]\nform = "power"\ncoefficients = {scale = nan}\n',
    ],
)
def test_a_broken_law_file_is_one_line_that_names_it(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    code, out, err = run([*BASIC, "--laws", str(path)], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mine" in err


def test_the_json_has_the_keys_of_the_contract_in_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run([*BASIC, "--json", "--gpus", "8xH100"], capsys)
    plan = json.loads(out)
    assert code == 0
    assert list(plan) == CONTRACT
    for name in ("lr", "batch_tokens", "weight_decay", "loss"):
        assert {"value", "low", "high", "law", "elsewhere"} <= plan[name].keys()
        assert plan[name]["low"] < plan[name]["value"] < plan[name]["high"]


def test_a_plan_written_as_json_is_read_back_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run([*BASIC, "--json", "--gpus", "8xH100", "--unique-tokens", "5B"], capsys)
    path = tmp_path / "plan.json"
    path.write_text(out, encoding="utf-8")
    assert plan_to_dict(load_plan(path)) == json.loads(out)


def test_the_table_fits_80_columns_without_colour_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = run(
        ["--params", "70B", "--tokens", "15T", "--parametrization", "mup", "--gpus", "64xH100"],
        capsys,
    )
    assert "\x1b" not in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


def test_the_form_of_the_output_changes_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    _, table, warned = run(BASIC, capsys)
    _, out, warned_too = run([*BASIC, "--json"], capsys)
    plan = json.loads(out)
    assert f"{plan['batch_sequences']:,} sequences" in table
    assert f"{plan['steps']:,} = " in table
    assert warned == warned_too == "".join(f"warning: {text}\n" for text in plan["warnings"])


def test_planning_imports_no_array_library_and_no_torch() -> None:
    code = (
        "import sys; from planner.cli import main; code = main(sys.argv[1:]); "
        f"print(code, [m for m in {FORBIDDEN!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *BASIC, "--gpus", "8xH100", "--explain"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_explain_shows_arithmetic_that_can_be_redone(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run([*BASIC, "--explain"], capsys)
    assert "1.79 x 1e+09^-0.713 x 2e+10^0.307 = 9.9602e-4" in out
    assert pytest.approx(9.9602e-4, rel=1e-5) == 1.79 * 1e9**-0.713 * 2e10**0.307


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run(["--version"], capsys)[1] == f"windtunnel {version('windtunnel')}\n"


def test_help_names_every_panel(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["--help"], capsys)
    assert code == 0
    for panel in ("Target", "Shape", "Laws", "Pins", "Training", "Output", "Commands"):
        assert panel in out
