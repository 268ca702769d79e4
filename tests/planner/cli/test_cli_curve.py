"""`plan curve` and `plan --schedule best` as they are typed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from planner.cli import main
from tests.fixtures.curves import WARMUP, simulated

PLAN = ["--params", "60M", "--tokens", "2B", "--lr", "3e-4", "--batch", "128K"]


@pytest.fixture(scope="module")
def law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    for name in ("constant", "cosine"):
        write_curve(folder / f"{name}.csv", name)
    out = folder / "curve.toml"
    files = [str(folder / f"{name}.csv") for name in ("constant", "cosine")]
    fit = ["curve", "fit", *files, "--warmup-steps", str(WARMUP), "--out", str(out)]
    assert main([*fit, "--plot", str(folder / "curve.png")]) == 0
    return out


def write_curve(path: Path, name: str, *, steps: int = 24_000) -> Path:
    curve = simulated(name, noise=3e-4, steps=steps)
    assert curve.loss is not None
    rows = zip(curve.step, curve.lr, curve.loss, strict=True)
    path.write_text("step,lr,loss\n" + "".join(f"{s:.0f},{lr},{loss}\n" for s, lr, loss in rows))
    return path


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_fit_writes_a_law_file_and_a_figure(law: Path) -> None:
    assert "[curve]" in law.read_text()
    assert law.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_fit_does_not_overwrite(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = str(law.parent / "cosine.csv")
    assert main(["curve", "fit", curve, "--out", str(law)]) == 2
    assert "exists already; name another file or pass --force" in capsys.readouterr().err


def test_unknown_form_is_refused_with_the_nearest(
    law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = str(law.parent / "cosine.csv")
    out = str(tmp_path / "x.toml")
    assert main(["curve", "fit", curve, "--out", out, "--form", "extendd"]) == 2
    assert "nearest is 'extended'" in capsys.readouterr().err


def test_predict_prints_a_line_a_row(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = law.parent / "cosine.csv"
    assert main(["curve", "predict", str(law), str(schedule), "--warmup-steps", str(WARMUP)]) == 0
    found, given = read(capsys.readouterr().out), read(schedule.read_text())
    assert len(found) == len(given)
    for row, measured in zip(found, given, strict=True):
        assert row["step"] == measured["step"]
        assert float(row["low"]) < float(row["loss"]) < float(row["high"])
        assert float(row["loss"]) == pytest.approx(float(measured["loss"]), rel=2e-3)


def test_predict_leaves_the_interval_empty_where_the_law_has_none(
    law: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = Path(__file__).parents[3] / "data" / "laws" / "multi-power-25m.toml"
    schedule = str(law.parent / "cosine.csv")
    assert main(["curve", "predict", str(published), schedule]) == 0
    assert {row["low"] for row in read(capsys.readouterr().out)} == {""}


def test_plan_with_the_best_schedule_is_foretold_at_every_step(
    law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PLAN, "--schedule", "best", "--curve", str(law), "--json"]) == 0
    text = capsys.readouterr().out
    plan = json.loads(text)
    part = plan["schedule"]
    assert part["kind"] == "wsd"
    assert part["warmup_steps"] + part["stable_steps"] + part["decay_steps"] == plan["steps"]
    assert "curve" in plan["provenance"]["laws"]
    path = tmp_path / "plan.json"
    path.write_text(text)
    assert main(["curve", "predict", str(law), str(path)]) == 0
    rows = read(capsys.readouterr().out)
    assert [int(rows[0]["step"]), int(rows[-1]["step"])] == [part["warmup_steps"], plan["steps"]]
    assert len(rows) == plan["steps"] - part["warmup_steps"] + 1


def test_explanation_says_what_the_best_schedule_saves(
    law: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PLAN, "--schedule", "best", "--curve", str(law), "--explain"]) == 0
    out = capsys.readouterr().out
    assert "lowest final loss by" in out
    for kind in ("wsd", "linear", "cosine"):
        assert f"nats over {kind} (" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--schedule", "best"], "--schedule best: needs --curve CURVE.toml"),
        (["--curve", "x.toml"], "has no use but for --schedule best"),
        (["--schedule", "best", "--curve", "x.toml"], "x.toml: cannot be read"),
    ],
)
def test_best_and_its_law_belong_together(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*PLAN, *options]) == 2
    assert message in capsys.readouterr().err


def test_plan_at_another_lr_says_so(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = ["--params", "60M", "--tokens", "2B", "--lr", "1e-3", "--batch", "128K"]
    assert main([*wide, "--schedule", "best", "--curve", str(law)]) == 0
    assert "had a peak lr of 0.0003, not 0.001" in capsys.readouterr().err


def test_best_writes_a_schedule_and_says_what_it_saves(
    law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curve", "best", str(law), "--steps", "24000"]) == 0
    shown = capsys.readouterr()
    rows = read(shown.out)
    assert rows[-1]["step"] == "24000"
    lrs = [float(row["lr"]) for row in rows[1:]]
    assert max(lrs) == pytest.approx(3e-4)
    assert lrs == sorted(lrs, reverse=True)
    assert shown.err.count("saves ") == 3
    out = tmp_path / "best.csv"
    assert main(["curve", "best", str(law), "--steps", "24000", "-o", str(out)]) == 0
    assert out.read_text() == shown.out


def test_best_at_another_lr_keeps_the_shape(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", "best", str(law), "--steps", "24000"]) == 0
    own = [float(row["lr"]) for row in read(capsys.readouterr().out)]
    assert main(["curve", "best", str(law), "--steps", "24000", "--lr", "6e-4"]) == 0
    shown = capsys.readouterr()
    twice = [float(row["lr"]) for row in read(shown.out)]
    assert twice == pytest.approx([2 * lr for lr in own], rel=1e-4)
    assert "designed as if it were that" in shown.err


def test_extend_shows_ways_to_go_on_and_the_bound(
    law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_curve(tmp_path / "log.csv", "constant", steps=12_000)
    words = ["curve", "extend", str(law), str(log), "--steps", "24000"]
    assert main([*words, "--warmup-steps", str(WARMUP)]) == 0
    out = capsys.readouterr().out
    for word in ("now ", "decayed now", "lr as it is", "linear to 0", "designed", "bound"):
        assert word in out


def test_extend_to_the_past_is_refused(
    law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_curve(tmp_path / "log.csv", "constant", steps=12_000)
    assert main(["curve", "extend", str(law), str(log), "--steps", "9000"]) == 2
    assert "must be above the 12000 steps of log" in capsys.readouterr().err


def test_law_without_a_curve_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    book = Path(__file__).parents[3] / "data" / "laws" / "step-law.toml"
    assert main(["curve", "best", str(book), "--steps", "100"]) == 2
    assert "has no table [curve]" in capsys.readouterr().err


def test_no_command_writes_over_what_it_reads(
    law: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = law.parent / "cosine.csv"
    for arguments, path in (
        (["fit", str(curve), "--out", str(curve), "--force"], curve),
        (["best", str(law), "--steps", "900", "-o", str(law), "--force"], law),
        (["extend", str(law), str(curve), "--steps", "9000", "-o", str(curve), "--force"], curve),
    ):
        before = path.read_bytes()
        assert main(["curve", *arguments]) == 2
        assert "is read or written by this command already" in capsys.readouterr().err
        assert path.read_bytes() == before


def test_a_figure_that_cannot_be_written_leaves_no_law(
    law: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, curve = tmp_path / "new.toml", law.parent / "cosine.csv"
    figure = str(tmp_path / "none" / "p.png")
    assert main(["curve", "fit", str(curve), "--out", str(out), "--plot", figure]) == 2
    assert "make it first" in capsys.readouterr().err
    assert not out.exists()


def test_an_extension_without_end_is_refused(law: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = str(law.parent / "cosine.csv")
    warmup = ("--warmup-steps", str(WARMUP))
    assert main(["curve", "extend", str(law), curve, "--steps", "100000000", *warmup]) == 2
    assert "--steps 100000000: at most 10,000,000" in capsys.readouterr().err
