from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from fitting import read_runs
from planner.cli import main
from planner.cli.options import read_tokens
from planner.cli.proxies.batch_options import TypedBatch, make_batching
from planner.cli.proxies.train import EXAMPLES

QUICK = [
    *("proxy", "train", "--lr", "0.01", "--batch", "128", "--tokens", "1024"),
    *("--d-model", "32", "--layers", "1", "--seq-len", "32"),
    *("--corpus", "zipf:vocab=16,states=16", "--out", "runs"),
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    return main([*QUICK, *arguments])


def test_a_run_is_a_row_of_a_table_that_plan_fit_can_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--json") == 0
    row = json.loads(capsys.readouterr().out)
    runs = read_runs("runs/runs.csv")
    assert len(runs.table) == 1
    assert runs.table["loss"][0] == pytest.approx(row["loss"])
    curve = pd.read_csv(Path("runs", row["run_id"], "curve.csv"))
    assert list(curve["step"]) == list(range(1, 9))
    assert curve["loss"][0] == pytest.approx(row["loss_at_init"])


BASE = ("base_d_model", "init_std", "embedding_multiplier", "warmup_tokens")


@pytest.mark.parametrize(
    ("arguments", "base"),
    [
        ([], (32, 0.02, 1, 128)),
        (["--parametrization", "mup"], (256, 0.08, 10, 128)),
        (["--parametrization", "completep", "--base-layers", "2"], (256, 0.08, 10, 128)),
        (["--parametrization", "mup", "--optimizer", "lion"], (256, 0.02, 1, 128)),
        (
            ["--parametrization", "mup", "--init-std", "0.03", "--embedding-multiplier", "2"],
            (256, 0.03, 2, 128),
        ),
        (["--parametrization", "mup", "--warmup-steps", "3"], (256, 0.08, 10, 384)),
    ],
)
def test_a_row_has_the_base_that_its_run_started_from(
    arguments: list[str], base: tuple[float, ...]
) -> None:
    assert run(*arguments) == 0
    row = read_runs("runs/runs.csv").table.iloc[0]
    assert tuple(row[name] for name in BASE) == base
    assert (row["base_head_dim"], row["base_n_layers"]) == (
        32,
        2 if "--base-layers" in arguments else 1,
    )
    assert pd.isna(row["head_init_std"])


def test_a_head_of_its_own_init_starts_from_another_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses = []
    for std in ("0.08", "0.8"):
        assert run("--parametrization", "mup", "--head-init-std", std, "--json") == 0
        losses.append(json.loads(capsys.readouterr().out)["loss_at_init"])
    assert losses[1] > losses[0] + 0.1
    assert list(read_runs("runs/runs.csv").table["head_init_std"]) == [0.08, 0.8]


def test_the_same_run_again_keeps_one_row_and_another_seed_adds_one() -> None:
    assert run() == run() == run("--seed", "1") == 0
    table = read_runs("runs/runs.csv").table
    assert len(table) == 2
    assert table["run_id"].nunique() == 2


def test_probes_fill_their_columns_only_when_asked() -> None:
    assert run() == 0
    assert "grad_rms" not in read_runs("runs/runs.csv").table.columns
    assert run("--seed", "1", "--probes", "grad_rms,output_log_z") == 0
    table = read_runs("runs/runs.csv").table
    assert list(table["grad_rms"].notna()) == [False, True]
    assert table["output_log_z"].notna()[1]


def test_a_result_names_loss_and_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--qk-norm", "--tied", "--parametrization", "mup", "--base-width", "16") == 0
    out = capsys.readouterr().out
    assert "nats a token, held out" in out
    assert "1,024 in 8 steps" in out
    assert "zipf:vocab=16" in out


def test_a_run_that_diverges_is_recorded_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--lr", "1e6", "--warmup-steps", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "diverged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "0"], "lr 0.0: must be a finite number above 0"),
        (["--lr", "x"], "Invalid value for '--lr'"),
        (["--batch", "100"], "--batch 100: is no multiple of --seq-len 32; give 96 or 128"),
        (["--batch", "8"], "--batch 8: is no multiple of --seq-len 32; give 32"),
        (["--batch", "2048"], "--batch 2048: more than --tokens 1024; give at most that"),
        (["--batch", "1Q"], "--batch '1Q': 'Q' is not a unit"),
        (["--tokens", "0"], "--tokens '0': must be above 0"),
        (["--tokens", "1.5"], "1.5 is not a whole number of tokens"),
        (["--d-model", "0"], "--d-model 0 is not a whole number from 1"),
        (["--d-model", "40"], "--d-model 40: is no multiple of heads of 32; give --heads"),
        (["--heads", "3"], "--d-model 32: is no multiple of 3 heads"),
        (["--heads", "0"], "--d-model 32: is no multiple of 0 heads"),
        (["--heads", "32"], "head_dim 1 is odd"),
        (["--kv-heads", "3"], "3 kv heads do not divide 1 heads"),
        (["--layers", "0"], "n_layers 0 is not a whole number from 1"),
        (["--seq-len", "0"], "--seq-len 0 is not a whole number from 1"),
        (["--vocab", "8"], "16 different tokens, the model knows 8"),
        (["--weight-decay", "-1"], "weight decay -1.0"),
        (["--schedule", "wds"], "schedule 'wds': no such schedule; nearest is 'wsd'"),
        (["--warmup-steps", "9"], "warmup 9"),
        (["--optimizer", "adam"], "--optimizer 'adam': not known; nearest is 'adamw'"),
        (["--parametrization", "mp"], "parametrization 'mp': not known"),
        (["--base-width", "16"], "base width 16 has no effect"),
        (["--parametrization", "completep"], "completep: is mup where no base depth is given; giv"),
        (["--init-std", "0"], "init std 0.0: must be a finite number above 0"),
        (["--head-init-std", "nan"], "head init std nan: must be a finite number above 0"),
        (["--head-init-std", "0.1", "--tied"], "head init std 0.1: the head is the embedding"),
        (["--embedding-multiplier", "-1"], "embedding multiplier -1.0: must be a finite number"),
        (["--decay-rule", "none"], "weight decay rule 'none': not known"),
        (["--corpus", "nowhere"], "nowhere"),
        (["--tokenizer", "bpe:0"], "bpe:0"),
        (["--z-loss", "-1"], "z_loss -1.0"),
        (["--dtype", "float16"], "dtype 'float16'"),
        (["--device", "tpu"], "device 'tpu': not known"),
        (["--device", "cpu:x"], "device 'cpu:x': not known"),
        (["--device", "cpu:3"], "device 'cpu:3': there is none of that number"),
        (["--seed", "-1"], "seed -1; from 0"),
        (["--seed", "9" * 30], "from 0 to 2^63 - 1"),
        (["--corpus", ""], "corpus '': no name"),
        (["--epochs", "0"], "epochs 0; at least 1"),
        (["--probes", "grad_rm"], "nearest is 'grad_rms'"),
        (["--probes", ","], "probe '': not known"),
        (["--out", "/proc/none"], "/proc/none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_no_row(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("runs/runs.csv").exists()


@pytest.mark.parametrize("example", EXAMPLES.split("\n\n")[1:])
def test_the_batch_of_an_example_is_whole_sequences(example: str) -> None:
    words = example.split()
    given = dict(pairwise(words))
    tokens = read_tokens(given["--tokens"], where="--tokens")
    typed = TypedBatch(batch=int(given["--batch"]), batching="fixed")
    batching = make_batching(typed, seq_len=256, tokens=tokens)
    assert batching.sequences * 256 == int(given["--batch"])


def test_a_run_says_where_it_goes_on_and_where_its_files_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run() == 0
    out, err = capsys.readouterr()
    name = out.split()[1]
    assert f"a row of runs/runs.csv, and runs/{name}/curve.csv" in out
    assert Path("runs", name, "curve.csv").exists()
    assert not err
    assert run() == 0
    again, err = capsys.readouterr()
    assert again == out
    assert err == "plan: was trained before: measured again, not trained again\n"


def test_a_table_without_run_ids_is_not_touched(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    Path("runs/runs.csv").write_text("params,tokens,loss\n1e6,1e7,3.0\n")
    assert run() == 2
    assert "has no column run_id" in capsys.readouterr().err
    assert Path("runs/runs.csv").read_text().startswith("params,tokens,loss\n1e6")


@pytest.mark.parametrize("command", ["train", "coord-check"])
def test_without_torch_one_line_names_the_extra(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    required = QUICK[2:10] if command == "train" else []
    assert main(["proxy", command, *required, *(["--out", "x"] if required else [])]) == 2
    assert capsys.readouterr().err == (
        "plan: training: needs torch; pip install '.[proxies]' in the checkout\n"
    )


def test_budgets_add_a_row_each_and_the_largest_is_the_plain_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert run("--budgets", "512,768", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["tokens"] for row in rows] == [512, 768, 1024]
    assert rows[-1]["loss"] == plain["loss"]
    assert len(pd.read_csv("runs/runs.csv")) == 3


def test_a_ramp_grows_the_batch_and_says_so_in_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    ramp = ("--batching", "ramp", "--max-batch", "512", "--ramp-tokens", "600")
    assert run(*ramp, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    sizes = [int(part.split(":")[1]) for part in row["batch_trajectory"].split()]
    assert sizes[0] == 128
    assert max(sizes) > 256


@pytest.mark.parametrize("kind", ["norm-test", "adadagrad", "noise-scale"])
def test_adaptive_batches_train_and_record_the_noise(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--batching", kind, "--max-batch", "512", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["batching"] == kind
    assert row["tokens_seen"] == 1024


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--batching", "ramp"), "--batching ramp: grows to what? give --max-batch TOKENS"),
        (("--max-batch", "512"), "largest batch 16, but it never grows"),
        (("--batching", "norm-tst"), "nearest is 'norm-test'"),
        (("--batching", "norm-test", "--max-batch", "512", "--theta", "2"), "theta 2.0"),
        (("--budgets", "2k"), "--budgets 2000: not below --tokens 1024"),
        (("--budgets", "512", "--schedule", "cosine"), "no stable phase; use wsd"),
        (("--noise-every", "2"), "give micro_batch_sequences of at most half the batch"),
    ],
)
def test_batch_options_that_cannot_be_are_one_line(
    arguments: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()
