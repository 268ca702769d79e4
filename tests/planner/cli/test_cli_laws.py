import json
from importlib import import_module
from pathlib import Path

import pytest

from planner.cli import main
from planner.facts.laws import bibtex, read_lawbook

BROKEN = '[source]\nkey = "x"\ntitle = "x"\nurl = ""\nevidence = "fitted"\n[lr]\nform = "powr"\n'


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["laws", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_list_names_every_law_and_keeps_to_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    first_words = {line.split()[0] for line in lines if line.strip()}
    assert set(read_lawbook()) <= first_words
    assert "\x1b" not in out


def test_list_cuts_no_word_of_a_law(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "list")
    row = next(line for line in out.splitlines() if line.split()[:1] == ["step-law"])
    expected = ["step-law", "power:", "lr*,", "batch*", "N", "60M-1B", "adamw,", "sp", "verified"]
    assert row.split() == expected
    assert {"recalled", "measured", "quoted"} <= set(out.split())


def test_laws_alone_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == run(capsys, "list")


def test_show_prints_the_law_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", "step-law")
    law = read_lawbook()["step-law"]
    assert (code, err) == (0, "")
    assert "lr = 1.79 params^-0.713 tokens^0.307" in out
    assert "batch_tokens = 0.58 tokens^0.571" in out
    assert "log_scale: 0.389062 -0.0135589 -0.00513249" in out
    assert bibtex(law) in out
    assert law.sha256 in out


@pytest.mark.parametrize("name", list(read_lawbook()))
def test_every_law_can_be_shown_within_80_columns(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from planner.cli.laws import law_text

    text = law_text(read_lawbook()[name], width=80)
    assert max(map(len, text.splitlines())) <= 80


def test_a_reference_and_a_cap_are_in_the_equation(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "marin-delphi")
    equation = " ".join(out.split())
    assert (
        "lr = 0.0063 (batch_tokens / 262144)^0.5 (tokens / 2500000000)^-0.3, at most 0.01"
        in equation
    )


def test_json_says_what_the_file_says(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "step-law", "--json")
    law = json.loads(out)
    assert law["quantities"]["lr"]["coefficients"] == {
        "scale": 1.79,
        "params": -0.713,
        "tokens": 0.307,
    }
    assert law["quantities"]["lr"]["covariance"]["names"] == ["log_scale", "params", "tokens"]
    assert law["default_for"] == ["lr", "batch_tokens"]


def test_json_list_has_every_law(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["list", "--json"], ["--json"]):
        _, out, _ = run(capsys, *arguments)
        assert [law["name"] for law in json.loads(out)] == list(read_lawbook())


def test_a_table_of_lesser_evidence_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "gpt-3", "--json")
    quantities = json.loads(out)["quantities"]
    assert quantities["lr"]["evidence"] == "verified"
    assert quantities["batch_tokens"]["evidence"] == "recalled"


def test_an_unknown_law_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", "steplaw")
    assert (code, out) == (2, "")
    assert err == (
        "plan: laws show 'steplaw': no such law; nearest is 'step-law' (plan laws lists all)\n"
    )


def test_an_own_law_is_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.toml"
    own.write_text(BROKEN.replace("powr", "exponents") + "coefficients = { tokens = -0.3 }\n")
    _, out, _ = run(capsys, "list", "--laws", str(own))
    assert "own" in {line.split()[0] for line in out.splitlines() if line.strip()}
    _, out, _ = run(capsys, "show", "own", "--laws", str(own))
    assert "lr proportional to tokens^-0.3" in out


def test_a_broken_own_file_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(BROKEN)
    for arguments in (["--laws", str(own)], ["show", "step-law", "--laws", str(own)]):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err == f"plan: {own} [lr] form 'powr': no such form; nearest is 'power'\n"


def test_a_broken_shipped_file_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "laws").mkdir()
    (tmp_path / "laws" / "broken.toml").write_text(BROKEN)
    monkeypatch.setattr(import_module("planner.data"), "__path__", [str(tmp_path)])
    code, out, err = run(capsys, "list")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "broken.toml [lr] form 'powr'" in err


def test_options_before_the_command_are_refused_not_dropped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run(capsys, "--json", "show", "step-law")
    assert code == 2
    assert err == (
        "plan: laws: options go after the command; write plan laws show NAME --laws FILE --json\n"
    )
