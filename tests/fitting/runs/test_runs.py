from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitting.errors import InputError
from fitting.runs.outcomes import RunOutcome
from fitting.runs.setting import find_settings, require_one_setting
from fitting.runs.table import Runs, check_runs, read_runs, write_runs

HEADER = "params,tokens,lr,batch_tokens,loss\n"
GOOD = "60000000,2000000000,0.001,65536,2.9\n"
NEAR = GOOD.replace("2.9", "2.91").replace("0.001", "0.002")


def write(folder: Path, content: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def grid(losses: list[float], **columns: object) -> pd.DataFrame:
    lr = [0.001 * (1 + k) for k in range(len(losses))]
    base = {"params": 6e7, "tokens": 2e9, "loss": losses, "lr": lr, "batch_tokens": 65536.0}
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "runs.csv: is empty"),
        (",,\n,,\n", "runs.csv: is empty"),
        (HEADER, "runs.csv: has a header and no runs"),
        ("params,tokens,lr\n6e7,2e9,0.1\n", "runs.csv: column loss missing"),
        (HEADER + GOOD + "60000000,2000000000,-0.002,65536,2\n", "row 3, column lr: -0.002 is not"),
        (HEADER + GOOD + "\n60000000,2000000000,0.1,65536,-2\n", "row 4, column loss: -2 is not"),
        (HEADER + GOOD.replace("2.9", "0"), "column loss: 0 is not above 0"),
        (HEADER + GOOD.replace("2.9", "-inf"), "column loss: -inf is not above 0"),
        (HEADER + GOOD.replace("60000000", "60M"), "row 2, column params: '60M' is not a number"),
        (HEADER + GOOD.replace("60000000", ""), "row 2, column params: is empty or NaN"),
        (HEADER + GOOD.replace("60000000", "0.06"), "column params: 0.06 is too few"),
        (HEADER + GOOD.replace("65536", "inf"), "column batch_tokens: inf is not finite"),
        (HEADER + "1,2,3\n", "runs.csv row 2: 3 cells, the header has 5 columns"),
        (HEADER + "6e7,2e10,1e-3,736,2.9\n", "it counts sequences"),
        (HEADER + "6e7,2e9,1e-3,1e10,2.9\n", "column batch_tokens: 1e+10 is above tokens 2e+09"),
        ("params,params,tokens,loss\n1,1,1,1\n", "column params appears twice"),
        (b"\xff\xfe\x00\x01", "neither text in UTF-8 nor Parquet"),
        (b"PAR1 and then nothing", "truncated or damaged Parquet"),
        ('params,tokens,loss\n"1"2,3,4\n', "not a CSV file"),
    ],
)
def test_a_bad_table_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, said: str
) -> None:
    write(tmp_path, content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        read_runs("runs.csv")
    message = str(caught.value)
    assert message.startswith("runs.csv")
    assert said in message
    assert "\n" not in message


def test_three_problems_are_spelt_out_and_the_rest_counted(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + GOOD.replace("2.9", "x") * 5)
    with pytest.raises(InputError, match=r"row 2,.*row 3,.*row 4,.*; and 2 more problems$"):
        read_runs(path)


def test_a_batch_below_one_sequence_is_refused() -> None:
    with pytest.raises(InputError, match="736 is less than one sequence of 2048 tokens"):
        check_runs(grid([2.9], batch_tokens=736.0, seq_len=2048.0))


def test_a_status_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'finishd' is none of .*; nearest is 'finished'"):
        check_runs(grid([2.9], status="finishd"))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        read_runs(tmp_path / "none.csv")


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    write_runs(grid([2.9, 2.8, 2.7]), path)
    content = path.read_bytes()
    for length in (5, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="truncated or damaged Parquet"):
            read_runs(path)


def test_integer_counts_whose_product_overflows_are_float64(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    counts = {"params": [4_000_000_000_000] * 2, "tokens": [2_000_000_000_000_000] * 2}
    pd.DataFrame(counts | {"loss": [1.5, 1.6]}).to_parquet(path)
    table = read_runs(path).table
    assert (table.dtypes == "float64").all()
    flops = 6 * table["params"] * table["tokens"]
    assert flops.to_list() == [4.8e28, 4.8e28]


def test_duplicates_are_named_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + GOOD + NEAR + GOOD)
    runs = read_runs(path)
    assert runs.report.to_dict() == {
        "used": 2,
        "diverged": 0,
        "rejected": 1,
        "reasons": {"duplicate": 1},
    }
    assert f"{path} row 4 repeats {path} row 2" in runs.summary()


def test_the_same_table_twice_is_the_table_once(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + GOOD + NEAR)
    assert len(read_runs([path, path]).table) == len(read_runs(path).table) == 2


def test_one_run_id_for_two_runs_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path, "run_id," + HEADER + "a," + GOOD, "one.csv")
    two = write(tmp_path, "run_id," + HEADER + "a," + NEAR, "two.csv")
    with pytest.raises(InputError, match=r"two.csv row 2, column run_id: 'a' is also .*one.csv"):
        read_runs([one, two])


def test_diverged_runs_are_kept_apart_by_each_part_of_the_rule() -> None:
    runs = check_runs(
        grid(
            [2.9, 2.95, math.nan, math.inf, 2.9 * 1.51, 2.9 * 1.49, 3.0, 3.1],
            status=[None, "finished", None, None, None, None, "diverged", "failed"],
        )
    )
    assert runs.outcome.to_list() == [
        "finished", "finished", "diverged", "diverged", "diverged", "finished", "diverged",
        "failed",
    ]  # fmt: skip
    report = runs.report
    assert (report.used, report.diverged, report.rejected) == (3, 4, 1)
    assert report.reasons == {"status failed": 1}
    assert len(runs.table) == 8


def test_one_mistyped_low_loss_does_not_make_its_cell_diverge() -> None:
    runs = check_runs(grid([2.9, 2.91, 2.92, 2.95, 3.0, 0.29]))
    assert runs.outcome.to_list() == ["finished"] * 5 + ["implausible"]
    assert runs.report.reasons == {"loss far below the rest of its cell": 1}


def test_every_row_is_used_diverged_or_rejected(shared: Path) -> None:
    dense = pd.read_csv(shared / "data" / "steplaw_dense_to_537M.csv")
    named = dense.drop(columns="loss").rename(
        columns={"N": "params", "D": "tokens", "smooth loss": "loss"}
    )
    report = check_runs(named.assign(batch_tokens=2048.0 * named["bs"])).report
    # shared/data/README.md: 167 rows are above 1.5 times their cell's best.
    assert (report.used, report.diverged, report.rejected) == (1746 - 167, 167, 0)


def test_runs_of_one_size_whose_tokens_round_to_batches_are_one_cell() -> None:
    tokens = [2e9, 2e9 + 4e6, 4e9, 2e9]
    assert check_runs(grid([2.9, 2.8, 2.7, 3.0], tokens=tokens)).cell.to_list() == [0, 0, 1, 0]


def test_runs_that_repeat_other_amounts_of_data_are_other_cells() -> None:
    runs = check_runs(grid([2.9, 8.0], unique_tokens=[2e9, 1e7]))
    assert runs.report.diverged == 0


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "all runs share one cell (60M params, 2B tokens)"),
        ({"lr": 0.001, "seed": [0, 1, 2]}, "all runs share one lr, 0.001"),
        ({"lr": [0.001, 0.002, None]}, "1 runs have no lr or batch_tokens"),
        ({"batch_tokens": 1024.0}, "every batch is below 2048"),
        ({"batch_tokens": 1e8}, "median run has 20 steps"),
        ({"batch_tokens": [1e3, 1e5, 1.1e6]}, "batches of one cell differ by a factor 1100"),
        ({"flops": 1e18}, "3 runs have flops over 2% off 6 params tokens"),
        ({"lr": [0.1, 0.2, 3.0]}, "1 runs have lr of 1 or more"),
        ({"loss": [18.0, 18.1, 18.2]}, "a perplexity needs its log"),
        ({"loss": [2.9, 2.8, None]}, "1 runs have no loss and no status"),
        ({"loss": [None, None, None]}, "no run finished"),
    ],
)
def test_what_looks_odd_is_said(columns: dict[str, object], said: str) -> None:
    assert any(
        said in caution for caution in check_runs(grid([2.9, 2.91, 2.92], **columns)).cautions
    )


def test_a_table_without_lr_serves_the_loss_alone() -> None:
    runs = check_runs(pd.DataFrame({"params": [6e7, 1e8], "tokens": 2e9, "loss": [3.0, 2.9]}))
    assert len(runs.finished) == 2
    assert len(runs.tuned) == 0


def test_a_mixed_table_is_refused_with_its_groups_named() -> None:
    runs = check_runs(
        grid([2.9, 2.8, 2.7], parametrization=["SP", "mup", None], base_d_model=[None, 256, None])
    )
    sizes = {str(group): int(rows.sum()) for group, rows in find_settings(runs).items()}
    assert sizes == {"mup of base width 256 with adamw": 1, "sp with adamw": 2}
    with pytest.raises(InputError, match=r"mup of base width 256 with adamw \(1 runs\), sp with"):
        require_one_setting(runs)


def test_mup_runs_that_do_not_say_their_init_are_never_pooled_with_the_new_base() -> None:
    said = {"init_std": [None, 0.02, 0.08], "embedding_multiplier": [None, 1, 10]}
    columns = {"parametrization": "mup", "base_d_model": 256.0}
    runs = check_runs(grid([2.9, 2.8, 2.7], **columns, **said))
    with pytest.raises(
        InputError,
        match=r"mup of base width 256 with adamw \(2 runs\), "
        r"mup of base width 256, init 0\.08, embedding x10 with adamw \(1 runs\)",
    ):
        require_one_setting(runs)
    old = require_one_setting(check_runs(grid([2.9, 2.8, 2.7], **columns)))
    assert (old.init_std, old.embedding_multiplier) == (0.02, 1)
    head = check_runs(grid([2.9, 2.8], **columns, head_init_std=[None, 0.08]))
    assert len(find_settings(head)) == 2
    plain = check_runs(grid([2.9, 2.8, 2.7], parametrization="sp", **said))
    assert str(require_one_setting(plain)) == "sp with adamw"


def test_runs_on_two_corpora_are_not_pooled() -> None:
    runs = check_runs(grid([2.9, 2.8, 2.7], corpus=["python@1f", "python@1f", None]))
    with pytest.raises(InputError, match=r"sp with adamw on python@1f \(2 runs\)"):
        require_one_setting(runs)
    one = check_runs(grid([2.9, 2.8, 2.7], corpus="Python@1F"))
    assert require_one_setting(one).corpus == "python@1f"


def test_cells_come_with_their_runs_in_rising_order() -> None:
    runs = check_runs(grid([2.9, 2.8, 2.7], params=[2e8, 1e8, 2e8]))
    assert [(key, len(cell.table)) for key, cell in runs.by_cell()] == [
        ((1e8, 2e9), 1),
        ((2e8, 2e9), 2),
    ]


FINITE = st.floats(1e-6, 1e6, allow_nan=False)
COUNT = st.floats(1e3, 1e15) | st.integers(1000, 10**15).map(float)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "params": COUNT,
            "tokens": COUNT,
            "loss": FINITE | st.just(math.nan) | st.just(math.inf),
            "lr": FINITE | st.just(math.nan),
            "group": st.sampled_from([None, "a", 'quoted "b", c', "1"]),
            "note": st.sampled_from(["x", "y, z"]),
        }
    ),
    min_size=1,
    max_size=8,
)


def table_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(run_id=[f"r{k}" for k in range(len(rows))])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS)
def test_roundtrip_of_a_written_table(
    tmp_path: Path, suffix: str, rows: list[dict[str, object]]
) -> None:
    path = tmp_path / f"runs{suffix}"
    runs = check_runs(table_of(rows))
    write_runs(runs, path, overwrite=True)
    again = read_runs(path)
    pd.testing.assert_frame_equal(again.table, runs.table, check_exact=True, check_dtype=False)
    assert again.outcome.to_list() == runs.outcome.to_list()


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 2**32 - 1))
def test_outcomes_do_not_depend_on_the_order_of_rows(
    rows: list[dict[str, object]], seed: int
) -> None:
    table = table_of(rows)
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]

    def outcomes(runs: Runs) -> dict[str, str]:
        return dict(zip(runs.table["run_id"], runs.outcome, strict=True))

    assert outcomes(check_runs(shuffled)) == outcomes(check_runs(table))


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    write_runs(grid([2.9]), path)
    with pytest.raises(InputError, match="exists already"):
        write_runs(grid([2.8]), path)
    assert read_runs(path).table["loss"].to_list() == [2.9]


@pytest.mark.parametrize("name", ["runs.txt", "none/runs.csv"])
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        write_runs(grid([2.9]), tmp_path / name)


KILLED_WRITER = """
import os, signal, sys
import pandas as pd
import fitting.files as files
real = os.fsync
def die(handle):
    real(handle)
    os.kill(os.getpid(), signal.SIGKILL)
files.os.fsync = die
table = pd.DataFrame({"params": [6e7], "tokens": [2e9], "loss": [1.0]})
files.write_table(table, files.Path(sys.argv[1]), overwrite=True)
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_writer_killed_with_everything_written_leaves_the_old_file(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"runs{suffix}"
    write_runs(grid([2.9]), path)
    before = path.read_bytes()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(path)], env=dict(os.environ), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == before


def test_outcomes_are_what_the_table_may_say() -> None:
    assert {outcome.value for outcome in RunOutcome} >= {"finished", "diverged", "failed", "pruned"}
