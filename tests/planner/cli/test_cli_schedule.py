from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from planner.cli import main
from proxies.run.schedule import KINDS, lr_fraction, make_schedule
from proxies.run.schedule.from_file import read_schedule


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of `plan schedule ARGUMENTS`."""
    code = main(["schedule", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


NEEDED = {
    "wsd-s": ("--checkpoints", "50,100"),
    "two-stage": ("--decay", "30", "--final-fraction", "0.3"),
}
"""What a kind cannot do without, beside steps and lr."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_csv_has_one_line_an_update_and_reads_back_as_the_same_schedule(
    kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ("--steps", "100", "--lr", "3e-4", *NEEDED.get(kind, ()))
    code, out, err = run(capsys, kind, *options, "--csv")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "step,lr"
    assert [line.split(",")[0] for line in lines[1:]] == [str(s) for s in range(1, 101)]
    assert max(float(line.split(",")[1]) for line in lines[1:]) == 3e-4
    path = tmp_path / "lr.csv"
    path.write_text(out)
    code, again, err = run(capsys, "csv", "--file", str(path), "--csv")
    assert (code, err) == (0, "")
    found = [float(line.split(",")[1]) for line in again.splitlines()[1:]]
    assert found == pytest.approx([float(line.split(",")[1]) for line in lines[1:]], rel=1e-15)


def test_the_csv_is_the_schedule_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, "cosine", "--steps", "50", "--lr", "1e-3", "--final-lr", "1e-5", "--csv"
    )
    schedule = make_schedule("cosine", steps=50, final_lr_fraction=1e-5 / 1e-3)
    expected = [1e-3 * lr_fraction(schedule, s) for s in range(1, 51)]
    assert [float(line.split(",")[1]) for line in out.splitlines()[1:]] == expected
    assert expected[-1] == pytest.approx(1e-5, rel=1e-15)


def test_without_csv_the_stages_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "wsd", "--steps", "1000", "--lr", "1e-3")
    assert code == 0
    assert "wsd: 100 warmup + 700 stable + 200 decay = 1,000 steps" in out
    assert "1-sqrt" in out


def test_a_rewarmed_run_starts_at_the_lr_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys,
        *("wsd", "--steps", "100", "--lr", "1e-3", "--start-lr", "1e-4", "--warmup", "9", "--csv"),
    )
    assert float(out.splitlines()[1].split(",")[1]) == pytest.approx(2e-4)


def test_an_extension_says_where_it_goes_on_and_where_the_lr_would_move(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, "wsd", "--steps", "1000", "--lr", "1e-3", "--extend", "2000")
    assert code == 0
    assert "goes on from the finished run's checkpoint of step 800" in out
    assert "convex last-iterate bound" in out
    assert "100 warmup + 1,500 stable + 400 decay = 2,000 steps" in out


def test_refined_norms_become_a_schedule_that_is_explained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [f"{s},{1 + 100 / s}" for s in range(1, 201)]
    norms = tmp_path / "norms.csv"
    norms.write_text("\n".join(["step,grad_norm", *rows]))
    code, out, err = run(capsys, "refined", "--norms", str(norms))
    assert code == 0
    assert "gradients are still large" in out
    assert "fraction of the peak" in out
    code, out, err = run(capsys, "refined", "--norms", str(norms), "--lr", "2e-3", "--csv")
    assert "gradients are still large" in err
    lrs = [float(line.split(",")[1]) for line in out.splitlines()[1:]]
    assert (len(lrs), max(lrs), lrs[-1]) == (200, 2e-3, 0)


def test_a_published_curve_is_printed_at_its_own_peak(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "data/loss_curves_25M/cosine_24000.csv"
    code, out, _ = run(capsys, "csv", "--file", str(path), "--warmup", "2160")
    assert code == 0
    assert "2,160 warmup" in out
    assert f"= {read_schedule(path).schedule.steps:,} steps" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cosin", "--steps", "10", "--lr", "1"), "nearest is 'cosine'"),
        (("wsd", "--lr", "1"), "schedule wsd: needs --steps"),
        (("wsd", "--steps", "10"), "schedule wsd: needs --lr"),
        (("csv",), "schedule csv: needs --file"),
        (("refined", "--lr", "1"), "schedule refined: needs --norms"),
        (
            ("wsd", "--steps", "100000000000", "--lr", "1", "--csv"),
            "--csv: 100,000,000,000 steps; at most 10,000,000",
        ),
        (
            ("wsd", "--steps", "10", "--lr", "1", "--extend", "100000000000"),
            "--extend: 100,000,000,000 steps; at most 10,000,000",
        ),
        (("csv", "--file", "x.csv", "--steps", "5"), "--steps 5: schedule csv has no use for it"),
        (("wsd", "--norm", "l1"), "--norm l1: schedule wsd has no use for it"),
        (
            ("wsd", "--steps", "1000", "--lr", "1", "--warmup", "500", "--decay", "800"),
            "warmup 500 + decay 800 > steps 1000; 300 too many",
        ),
        (("wsd", "--steps", "10", "--lr", "-1"), "--lr -1: must be 1e-12 to 1"),
        (
            ("wsd", "--steps", "10", "--lr", "1e-3", "--final-lr", "1"),
            "--final-lr 1: must be from 0 to the peak lr of 0.001",
        ),
        (
            ("wsd", "--steps", "9", "--lr", "1", "--final-lr", "0", "--final-fraction", "0"),
            "--final-lr: --final-fraction is given too",
        ),
        (
            ("wsd-s", "--steps", "9", "--lr", "1", "--checkpoints", "3,x"),
            "--checkpoints 3,x: whole steps",
        ),
        (
            ("cosine", "--steps", "10", "--lr", "1", "--extend", "20"),
            "warm it up again with --start-lr",
        ),
        (("csv", "--file", "none.csv"), "none.csv: cannot be read"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", ["two-stage", "csv", "refined"])
def test_a_plan_names_plan_schedule_for_kinds_that_need_more(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--params", "1B", "--tokens", "20B", "--schedule", kind])
    assert code == 2
    assert "plan schedule makes it" in capsys.readouterr().err


def test_a_plan_may_fall_by_the_inverse_square_root(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--params", "1B", "--tokens", "20B", "--schedule", "inverse-sqrt"])
    assert code == 0
    assert "inverse-sqrt" in capsys.readouterr().out


def test_an_lr_out_of_bounds_in_a_file_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "lr.csv"
    path.write_text("step,lr\n1,1e300\n10,1e-4\n")
    code, out, err = run(capsys, "csv", "--file", str(path))
    assert (code, out) == (2, "")
    assert err == f"plan: {path}: peak lr 1e+300: must be 1e-12 to 1\n"


@pytest.mark.parametrize("norm", ["1e-200", "1e200"])
def test_norms_whose_squares_overflow_are_refused(
    norm: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "norms.csv"
    path.write_text("step,grad_norm\n" + "".join(f"{step},{norm}\n" for step in range(1, 21)))
    code, _, err = run(capsys, "refined", "--norms", str(path))
    assert code == 2
    assert "row 2: norm" in err
    assert len(err.splitlines()) == 1


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = "import sys; from planner.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["schedule", "wsd", "--steps", "100000", "--lr", "1e-3", "--csv"]
    with subprocess.Popen(
        [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"step,lr\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
