"""The OLMo-core export in OLMo-core's own hands (extra `trainers`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fitting.errors import InputError
from planner.trainers.supported.olmo_core import TRAINER
from planner.trainers.trainer import nearest_run
from proxies.run.schedule import Checkpoint, lr_fraction, make_schedule
from proxies.run.shape import Shape, count_params
from proxies.run.spec import RunSpec
from tests.fixtures.plans import SCHEDULES, SMALL, STEPS, expressible, small_run

LINEAR = SCHEDULES["linear"]

UNEVEN = make_schedule(
    "wsd-s",
    steps=STEPS,
    warmup_steps=5,
    decay_shape="linear",
    checkpoints=[Checkpoint(40, 8), Checkpoint(STEPS, 30)],
)
"""Decays of a fifth and a half of their periods."""

EVEN = make_schedule(
    "wsd-s",
    steps=STEPS,
    warmup_steps=5,
    decay_shape="linear",
    final_lr_fraction=0.1,
    checkpoints=[Checkpoint(40, 8), Checkpoint(STEPS, 8)],
)

OURS = {**SCHEDULES, "wsd-s with one decay": EVEN}


def load(settings: RunSpec) -> dict[str, Any]:
    """The exported module's names."""
    pytest.importorskip("olmo_core", reason="ai2-olmo-core is not installed (`trainers`)")
    module: dict[str, Any] = {}
    exec(compile(TRAINER.write(settings, ["a head"])[""], "exported.py", "exec"), module)
    return module


@pytest.mark.trainers
@pytest.mark.parametrize("name", OURS)
def test_its_own_scheduler_gives_our_lr_at_every_step(name: str) -> None:
    settings = expressible(small_run(schedule=OURS[name]), TRAINER)
    module = load(settings)
    train, steps = module["train_module"], module["duration"].value
    assert steps == settings.schedule.steps
    for step in range(steps):
        # The trainer raises its counter before the scheduler is asked.
        lr = train.scheduler.get_lr(train.optim.lr, step + 1, steps)
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert lr / settings.lr == pytest.approx(ours, abs=1e-6)


@pytest.mark.trainers
@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        replace(SMALL, tied_embeddings=True),
        replace(SMALL, head_dim=64, qk_norm="per-head"),
        replace(SMALL, qk_norm="full-width"),
    ],
)
def test_the_model_it_builds_has_the_plans_parameters(shape: Shape) -> None:
    module = load(small_run(shape=shape, schedule=LINEAR))
    model = module["model"].build(init_device="meta")
    assert sum(p.numel() for p in model.parameters()) == count_params(shape).total_params


@pytest.mark.trainers
def test_its_own_optimizer_decays_all_but_the_norms() -> None:
    settings = small_run(schedule=LINEAR)
    module = load(settings)
    model = module["model"].build(init_device="cpu")
    optimizer = module["train_module"].optim.build(model)
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        for p in group["params"]:
            spared = "norm" in names[id(p)]
            assert group["weight_decay"] == (0.0 if spared else settings.weight_decay)


@pytest.mark.trainers
def test_batches_are_in_tokens_and_z_loss_is_kept() -> None:
    module = load(replace(small_run(schedule=LINEAR), z_loss=1e-4))
    assert module["data_loader"].global_batch_size == 24 * 64
    assert module["train_module"].rank_microbatch_size % 64 == 0
    assert module["train_module"].z_loss_multiplier == 1e-4


def test_decays_that_no_one_number_gives_are_named_as_lost() -> None:
    said = nearest_run(small_run(schedule=UNEVEN), TRAINER)
    assert [loss.what for loss in said.losses] == ["schedule"]
    assert [point.decay_steps for point in said.run.schedule.checkpoints] == [8, 8]
    assert not nearest_run(small_run(schedule=EVEN), TRAINER).losses
    assert not nearest_run(small_run(schedule=SCHEDULES["wsd-s linear"]), TRAINER).losses


def test_reading_gives_periods_and_z_loss_back() -> None:
    settings = replace(small_run(schedule=EVEN), z_loss=1e-4)
    read = TRAINER.read(TRAINER.write(settings, []))
    assert read.schedule.checkpoints == EVEN.checkpoints
    assert read.z_loss == 1e-4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TransformerConfig.llama_like", "TransformerConfig.olmo2_7B", "no TransformerConfig"),
        ("AdamWConfig", "DionConfig", "none of AdamWConfig"),
        ("LinearWithWarmup", "PowerLR", "no scheduler"),
    ],
)
def test_what_cannot_be_read_is_named(old: str, new: str, said: str) -> None:
    text = TRAINER.write(small_run(schedule=LINEAR), [])[""]
    with pytest.raises(InputError, match=said):
        TRAINER.read({"": text.replace(old, new)})
