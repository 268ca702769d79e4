"""The Megatron export: bash reads it, megatron-core's own scheduler runs it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fitting.errors import InputError
from planner.trainers.supported.megatron import TRAINER, read_arguments
from proxies.run.schedule import lr_fraction
from tests.fixtures.plans import SCHEDULES, SMALL, expressible, small_run


def arguments_by_bash(text: str) -> list[str]:
    """The argument list after bash has read the file, up to the start of the run."""
    script = text[: text.index("torchrun")] + 'printf "%s\\n" "${PLAN_ARGS[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.trainers
@pytest.mark.parametrize("name", SCHEDULES)
def test_its_own_scheduler_gives_our_lr_at_every_step(name: str) -> None:
    pytest.importorskip("megatron.core", reason="megatron-core is not installed (`trainers`)")
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    settings = expressible(small_run(schedule=SCHEDULES[name]), TRAINER)
    found = read_arguments(" ".join(arguments_by_bash(TRAINER.write(settings, ["a head"])[""])))
    batch = int(found["--global-batch-size"])
    group = {"lr": 0.0, "weight_decay": 0.0}
    wsd = found.get("--lr-wsd-decay-iters")
    scheduler = OptimizerParamScheduler(
        SimpleNamespace(param_groups=[group]),
        init_lr=0.0,
        max_lr=found["--lr"],
        min_lr=found["--min-lr"],
        lr_warmup_steps=int(found["--lr-warmup-iters"]) * batch,
        lr_decay_steps=int(found["--lr-decay-iters"]) * batch,
        lr_decay_style=found["--lr-decay-style"],
        start_wd=0.1,
        end_wd=0.1,
        wd_incr_steps=0,
        wd_incr_style="constant",
        wsd_decay_steps=None if wsd is None else int(wsd) * batch,
        lr_wsd_decay_style=found.get("--lr-wsd-decay-style"),
    )
    for step in range(settings.schedule.steps):
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert group["lr"] / settings.lr == pytest.approx(ours, abs=1e-6)
        scheduler.step(increment=batch)


def test_bash_reads_what_was_written() -> None:
    text = TRAINER.write(small_run(), ["a head with 'quotes' $(and) `signs`"])[""]
    words = arguments_by_bash(text)
    assert words[:4] == ["--num-layers", "3", "--hidden-size", "128"]
    assert read_arguments(" ".join(words)).items() <= read_arguments(text).items()


def test_defaults_that_are_not_the_plans_are_always_written() -> None:
    words = read_arguments(TRAINER.write(small_run(), [])[""])
    assert (words["--attention-dropout"], words["--hidden-dropout"]) == (0.0, 0.0)
    assert words["--lr-wsd-decay-style"] == "minus_sqrt"
    assert words["--make-vocab-size-divisible-by"] == 1


def test_its_default_decay_is_read_as_what_it_is() -> None:
    text = TRAINER.write(small_run(), [])[""].replace("--lr-wsd-decay-style minus_sqrt", "")
    assert TRAINER.read({"": text}).schedule.decay_shape == "2^(1-p)-1"


def test_learned_positions_keep_their_number() -> None:
    shape = replace(SMALL, positions="learned", n_positions=128)
    text = TRAINER.write(small_run(shape=shape), [])[""]
    assert "--max-position-embeddings 128" in text
    assert "--rotary-base" not in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("--lr-decay-style WSD", "--lr-decay-style stairs", "stairs is not one of WSD"),
        ("--optimizer adam", "--use-mup", "--use-mup is not the muP"),
        ("--global-batch-size 24", "--global-batch-size 25", "not a multiple"),
        ("--num-layers 3", "--num-layers $LAYERS", "--num-layers: '\\$LAYERS' is not a whole"),
    ],
)
def test_what_cannot_be_read_is_named(old: str, new: str, said: str) -> None:
    text = TRAINER.write(small_run(), [])[""]
    with pytest.raises(InputError, match=said):
        TRAINER.read({"": text.replace(old, new, 1)})


def test_a_decay_that_ends_before_the_run_is_a_fault_and_read_to_the_end() -> None:
    run = small_run(schedule=SCHEDULES["linear"])
    text = TRAINER.write(run, [])[""].replace("--lr-decay-iters", "--lr-decay-iters 7 --x", 1)
    assert "the decay ends at step 7 and the run at 100" in TRAINER.faults({"": text})[0]
    assert TRAINER.read({"": text}).schedule == run.schedule
    assert TRAINER.faults(TRAINER.write(run, [])) == ()
