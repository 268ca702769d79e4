"""The torchtitan export in torchtitan's own hands (extra `trainers`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fitting.errors import InputError
from planner.trainers.supported.torchtitan import TRAINER
from proxies.run.schedule import lr_fraction
from proxies.run.shape import Shape, count_params
from proxies.run.spec import RunSpec
from tests.fixtures.plans import SCHEDULES, SMALL, expressible, small_run


def load(settings: RunSpec) -> Any:
    """What the exported function returns."""
    pytest.importorskip("torchtitan", reason="torchtitan is not installed (extra `trainers`)")
    module: dict[str, Any] = {}
    exec(compile(TRAINER.write(settings, ["a head"])[""], "exported.py", "exec"), module)
    return module["plan"]()


def build(config: Any) -> Any:
    """Its model on the meta device."""
    import torch

    with torch.device("meta"):
        return config.model_spec.model.build()


@pytest.mark.trainers
@pytest.mark.parametrize("name", SCHEDULES)
def test_its_own_scheduler_gives_our_lr_at_every_step(name: str) -> None:
    settings = expressible(small_run(schedule=SCHEDULES[name]), TRAINER)
    config = load(settings)
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    scheduler = config.lr_scheduler.build(
        optimizers=[optimizer], training_steps=config.training.steps
    )
    for step in range(settings.schedule.steps):
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        theirs = optimizer.param_groups[0]["lr"] / settings.lr
        assert theirs == pytest.approx(ours, abs=1e-6)
        optimizer.step()
        scheduler.step()


@pytest.mark.trainers
@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        replace(SMALL, tied_embeddings=True),
        replace(SMALL, head_dim=64),
        replace(SMALL, qk_norm="per-head"),
    ],
)
def test_the_model_it_builds_has_the_plans_parameters(shape: Shape) -> None:
    model = build(load(small_run(shape=shape)))
    assert sum(p.numel() for p in model.parameters()) == count_params(shape).total_params


@pytest.mark.trainers
def test_its_own_optimizer_decays_all_but_the_norms() -> None:
    settings = small_run(shape=replace(SMALL, qk_norm="per-head"))
    config = load(settings)
    model = build(config)
    config.optimizer.implementation = "for-loop"
    container = config.optimizer.build(model_parts=[model])
    (optimizer,) = container.optimizers
    decays = {
        name: group["weight_decay"]
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert set(decays) == {name for name, _ in model.named_parameters()}
    for name, decay in decays.items():
        assert decay == (0.0 if "norm" in name else settings.weight_decay)
    assert {group["lr"] for group in optimizer.param_groups} == {settings.lr}


@pytest.mark.trainers
def test_the_batch_is_the_plans() -> None:
    config = load(small_run())
    devices = config.parallelism.data_parallel_shard_degree
    assert config.training.global_batch_size == 24
    assert 24 % (config.training.local_batch_size * devices) == 0


def test_a_decay_ratio_is_never_rounded_to_another_step() -> None:
    for steps in range(2, 400):
        for decay in range(1, steps):
            assert round(steps * (decay / steps)) == decay


def test_a_config_that_was_not_exported_is_named() -> None:
    with pytest.raises(InputError, match="no D_MODEL"):
        TRAINER.read({"": "def plan():\n    return Trainer.Config()\n"})
    with pytest.raises(InputError, match="not a Python module"):
        TRAINER.read({"": "def plan(:"})
