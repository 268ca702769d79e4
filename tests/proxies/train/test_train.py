"""What a training run does and keeps."""

from __future__ import annotations

import math
import os
import random
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from fitting.errors import InputError
from fitting.runs.table import check_runs
from proxies.run.batching import Batching
from proxies.run.result import CurvePoint, RunResult, runs_row
from proxies.run.schedule import lr_fraction, make_schedule
from proxies.train.checkpoint import CHECKPOINT
from proxies.train.loop import train_run
from tests.fixtures.tiny_run import SEQ_LEN, tiny_corpus, tiny_spec, varied

KILLED_RUN = """
import sys
from pathlib import Path
from proxies.train.loop import train_run
from tests.fixtures.tiny_run import tiny_corpus, tiny_spec

def tell(point):
    print(point.step, flush=True)
    return True

train_run(
    tiny_spec(steps=int(sys.argv[2])),
    tiny_corpus(),
    directory=Path(sys.argv[1]),
    on_step=tell,
    checkpoint_seconds=0.0,
)
"""


def stop_at(step: int) -> Callable[[CurvePoint], bool]:
    """What ends a run as pruned after update `step`."""
    return lambda point: point.step < step


def losses(result: RunResult) -> list[float]:
    return [point.loss for point in result.curve]


def test_training_lowers_the_held_out_loss_below_that_of_a_guess() -> None:
    result = train_run(tiny_spec(steps=60), tiny_corpus())
    assert result.status == "finished"
    assert result.curve[0].loss == pytest.approx(math.log(32), rel=0.02)
    assert result.loss < 2.6
    assert 0 < result.loss_se < 0.1
    assert result.bits_per_byte == pytest.approx(result.loss / math.log(2))


def test_a_seed_gives_the_same_losses_and_another_seed_others() -> None:
    corpus = tiny_corpus()
    first, again = (train_run(tiny_spec(), corpus) for _ in range(2))
    assert losses(first) == losses(again)
    assert first.loss == again.loss
    assert losses(train_run(tiny_spec(seed=1), corpus))[0] != losses(first)[0]
    reordered = train_run(varied(tiny_spec(), order_seed=1), corpus)
    assert losses(reordered)[0] != losses(first)[0]


def test_update_k_uses_the_schedule_at_k() -> None:
    spec = tiny_spec(steps=30)
    result = train_run(spec, tiny_corpus())
    assert [point.lr for point in result.curve] == [
        spec.lr * lr_fraction(spec.schedule, k) for k in range(1, 31)
    ]
    assert result.curve[-1].lr == 0.0


def test_micro_batches_change_a_run_by_rounding_only() -> None:
    whole = train_run(tiny_spec(), tiny_corpus())
    for micro in (1, 3, 8):
        cut = train_run(varied(tiny_spec(), micro_batch_sequences=micro), tiny_corpus())
        # Sums of 128 float32 terms in another order, over 20 updates of Adam.
        assert losses(cut) == pytest.approx(losses(whole), rel=1e-4)


def test_a_run_trains_on_exactly_its_tokens_when_its_last_batch_is_short() -> None:
    tokens = 50 * SEQ_LEN
    spec = replace(tiny_spec(), tokens=tokens, schedule=make_schedule("wsd", steps=7))
    result = train_run(spec, tiny_corpus())
    assert result.tokens == result.unique_tokens == tokens
    assert [point.batch_tokens for point in result.curve[-2:]] == [8 * SEQ_LEN, 2 * SEQ_LEN]


def test_a_schedule_of_other_steps_than_the_batch_gives_is_refused() -> None:
    spec = replace(tiny_spec(steps=20), schedule=make_schedule("wsd", steps=19))
    with pytest.raises(InputError, match=r"19 steps, but 2560 tokens .* are 20 \(fixed\)"):
        train_run(spec, tiny_corpus())


def test_a_batch_above_the_run_is_refused() -> None:
    with pytest.raises(InputError, match="batch of 8 sequences, but 50 tokens are 4 of 16"):
        train_run(replace(tiny_spec(), tokens=50), tiny_corpus())


def test_a_corpus_that_is_too_small_is_refused_and_repeats_are_counted() -> None:
    corpus, spec = tiny_corpus(tokens=2400), tiny_spec(steps=20)
    with pytest.raises(InputError, match="2,560 tokens asked for"):
        train_run(spec, corpus)
    result = train_run(varied(spec, epochs=2, eval_sequences=8), corpus)
    assert (result.tokens, result.unique_tokens) == (2560, 112 * SEQ_LEN)


def test_a_model_that_does_not_know_every_token_is_refused() -> None:
    spec = tiny_spec()
    with pytest.raises(InputError, match=r"32 different tokens, the model knows 31"):
        train_run(replace(spec, shape=replace(spec.shape, vocab_size=31)), tiny_corpus())


def test_held_out_text_of_one_sequence_is_refused_before_training() -> None:
    corpus = tiny_corpus()
    short = replace(corpus, held_out=corpus.held_out[: 2 * SEQ_LEN])
    with pytest.raises(InputError, match="at least 2 are needed for a standard error"):
        train_run(tiny_spec(), short)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="device 'tpu': not known"):
        train_run(tiny_spec(), tiny_corpus(), device="tpu")


def test_an_absurd_lr_ends_the_run_as_diverged() -> None:
    spec = varied(tiny_spec(steps=200, lr=1e4), grad_clip=None)
    result = train_run(spec, tiny_corpus())
    assert result.status == "diverged"
    assert len(result.curve) < 200
    assert math.isnan(result.loss)
    assert result.tokens == result.curve[-1].tokens
    row = runs_row(result)
    assert (row["tokens"], row["tokens_seen"]) == (spec.tokens, result.tokens)
    assert check_runs(pd.DataFrame([row])).report.diverged == 1


def test_a_loss_that_is_not_a_number_ends_the_run_at_once() -> None:
    result = train_run(replace(tiny_spec(), lr=1e38), tiny_corpus())
    assert result.status == "diverged"
    assert math.isnan(result.curve[-1].loss)
    assert len(result.curve) == 2


def test_a_run_is_pruned_where_its_watcher_says_so() -> None:
    result = train_run(tiny_spec(), tiny_corpus(), on_step=stop_at(5))
    assert (result.status, len(result.curve)) == ("pruned", 5)
    assert math.isfinite(result.loss)
    late = train_run(tiny_spec(), tiny_corpus(), on_step=stop_at(20))
    assert late.status == "finished"


def test_a_row_is_one_that_the_runs_table_takes() -> None:
    spec = varied(tiny_spec(), micro_batch_sequences=2, noise_interval=1)
    row = runs_row(train_run(spec, tiny_corpus()))
    table = check_runs(pd.DataFrame([row])).table
    assert table["flops"].item() == 6 * row["params"] * row["tokens"]  # type: ignore[operator]
    assert table["warmup_tokens"].item() == 2 * 8 * SEQ_LEN
    assert table["noise_scale_tokens"].item() > 0
    assert table["batch_trajectory"].item() == "0:128"
    assert table["corpus_fingerprint"].item() == tiny_corpus().fingerprint
    assert table["loss_at_init"].item() == pytest.approx(math.log(32), rel=0.02)


def test_probes_see_the_trained_model() -> None:
    def count(model: torch.nn.Module, sequences: torch.Tensor, _: object) -> dict[str, float]:
        return {"top_singular_value": float(model(sequences[:, :-1]).shape[-1])}

    result = train_run(tiny_spec(), tiny_corpus(), probes=[count])
    assert runs_row(result)["top_singular_value"] == 32.0


def test_bfloat16_is_near_float32() -> None:
    exact = train_run(tiny_spec(), tiny_corpus())
    rough = train_run(varied(tiny_spec(), dtype="bfloat16"), tiny_corpus())
    assert losses(rough) != losses(exact)
    assert rough.loss == pytest.approx(exact.loss, rel=0.02)


@pytest.mark.slow
# torch's own compiler imports what torch deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_a_compiled_run_is_near_an_eager_one() -> None:
    spec = replace(tiny_spec(), tokens=155 * SEQ_LEN)
    eager = train_run(spec, tiny_corpus())
    compiled = train_run(varied(spec, compile=True), tiny_corpus())
    # Fused kernels round differently; the last batch has another shape.
    assert losses(compiled) == pytest.approx(losses(eager), rel=1e-3)


def test_z_loss_is_in_the_training_loss_and_not_in_the_held_out_one() -> None:
    spec = tiny_spec(steps=2)
    plain = train_run(spec, tiny_corpus())
    with_z = train_run(replace(spec, z_loss=1.0), tiny_corpus())
    # log Z of 32 logits near 0 is ln 32.
    assert with_z.curve[0].loss - plain.curve[0].loss == pytest.approx(math.log(32) ** 2, rel=0.05)
    assert with_z.loss == pytest.approx(plain.loss, rel=0.01)


@pytest.mark.parametrize("kind", ["fixed", "noise-scale"])
def test_a_run_goes_on_from_each_of_its_checkpoints(tmp_path: Path, kind: str) -> None:
    spec, corpus = tiny_spec(steps=12), tiny_corpus()
    if kind != "fixed":
        spec = replace(spec, batching=Batching(kind=kind, sequences=4, max_sequences=16))
    unbroken = train_run(spec, corpus)
    for stop in (1, 5, len(unbroken.curve)):
        folder = tmp_path / str(stop)
        train_run(spec, corpus, directory=folder, on_step=stop_at(stop))
        resumed = train_run(spec, corpus, directory=folder)
        assert resumed.curve == unbroken.curve
        assert resumed.loss == unbroken.loss


def run_until_killed(folder: Path, *, steps: int, at_step: int) -> None:
    """Train in another process, and kill it with SIGKILL once it has told of `at_step`."""
    command = [sys.executable, "-c", KILLED_RUN, str(folder), str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= at_step:
                process.kill()
                break


def check_kills(folder: Path, *, steps: int, kills: int, seed: int) -> None:
    """Kill a run at random steps, and compare what it comes to with an unbroken one."""
    rng = random.Random(seed)
    for at_step in sorted(rng.sample(range(1, steps), kills)):
        run_until_killed(folder, steps=steps, at_step=at_step)
        assert (folder / CHECKPOINT).exists()
    unbroken = train_run(tiny_spec(steps=steps), tiny_corpus())
    resumed = train_run(tiny_spec(steps=steps), tiny_corpus(), directory=folder)
    assert losses(resumed) == losses(unbroken)
    assert resumed.loss == unbroken.loss
    assert list(folder.glob(f".{CHECKPOINT}.*")) == []


def test_a_run_killed_at_a_random_step_comes_to_the_same_losses(tmp_path: Path) -> None:
    check_kills(tmp_path, steps=12, kills=2, seed=0)


@pytest.mark.slow
def test_a_run_killed_at_many_random_steps_comes_to_the_same_losses(tmp_path: Path) -> None:
    check_kills(tmp_path, steps=60, kills=12, seed=1)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    train_run(tiny_spec(steps=2), tiny_corpus(), directory=tmp_path)
    with pytest.raises(InputError, match=r"belongs to another run \(lr 0.01, not 0.02\)"):
        train_run(tiny_spec(steps=2, lr=2e-2), tiny_corpus(), directory=tmp_path)
    with pytest.raises(InputError, match=r"belongs to another run \(corpus "):
        train_run(tiny_spec(steps=2), tiny_corpus(seed=1), directory=tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    train_run(tiny_spec(steps=2), tiny_corpus(), directory=tmp_path)
    path = tmp_path / CHECKPOINT
    for content in (path.read_bytes()[:-100], b"", b"not a checkpoint"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged, or no checkpoint of a run; delete it"):
            train_run(tiny_spec(steps=2), tiny_corpus(), directory=tmp_path)


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written \(File exists\)"):
        train_run(tiny_spec(steps=2), tiny_corpus(), directory=tmp_path / "file")


def test_a_directory_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match=r"/proc/runs: cannot be written \("):
        train_run(tiny_spec(steps=2), tiny_corpus(), directory=Path("/proc/runs"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(InputError, match="cannot be written"):
        train_run(tiny_spec(steps=2), tiny_corpus(), directory=tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: a write fails in the middle."""
    spec, corpus = tiny_spec(steps=4), tiny_corpus()
    train_run(spec, corpus, directory=tmp_path, on_step=stop_at(2))
    before = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large\)"):
            train_run(spec, corpus, directory=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before_signal)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert losses(train_run(spec, corpus, directory=tmp_path)) == losses(train_run(spec, corpus))


def test_a_curve_is_written_with_the_columns_of_a_curve_file(tmp_path: Path) -> None:
    result = train_run(tiny_spec(), tiny_corpus(), directory=tmp_path)
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert list(curve["step"]) == list(range(1, 21))
    assert list(curve["loss"]) == losses(result)
    assert list(curve["lr"]) == [point.lr for point in result.curve]
