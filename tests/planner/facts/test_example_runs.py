from pathlib import Path

import pytest

from fitting.fit.laws import fit_laws
from fitting.fit.result import FitVerdict
from fitting.runs.table import read_runs
from planner.cli import main
from proxies.sweep.cells import expand_cells
from proxies.sweep.spec_file import read_spec

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "data" / "runs" / "example.csv"
SPEC = ROOT / "data" / "sweeps" / "example.toml"


def test_the_shipped_table_has_every_run_of_its_spec_once() -> None:
    runs = read_runs([TABLE]).table
    cells = expand_cells(read_spec(SPEC), vocab_size=256)
    assert len(runs) == sum(cell.runs for cell in cells) == 180
    assert not runs.duplicated(["params", "tokens", "lr", "batch_tokens"]).any()
    assert {(c.params, c.tokens) for c in cells} == {
        *zip(runs["params"], runs["tokens"], strict=True)
    }
    assert max(cell.tokens for cell in cells) < 1e7
    assert TABLE.stat().st_size < 1e6


def test_its_law_passes_its_audit() -> None:
    fitted = fit_laws(read_runs([TABLE]))
    assert fitted.verdict is FitVerdict.HOLDS
    assert len(fitted.audits) == 3


def test_a_plan_uses_its_law(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laws = tmp_path / "mine.toml"
    assert main(["fit", str(TABLE), "--prior", "none", "--out", str(laws)]) == 0
    target = ["--params", "1M", "--tokens", "20M", "--parametrization", "mup", "--base-width", "32"]
    assert main(["--laws", str(laws), *target]) == 0
    peak = next(li for li in capsys.readouterr().out.splitlines() if li.startswith("peak lr"))
    assert peak.split()[-1] == "mine"
