"""The litgpt export in litgpt's own hands (extra `trainers`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitting.errors import InputError
from planner.trainers.supported.litgpt import TRAINER
from proxies.run.schedule import lr_fraction, make_schedule
from proxies.run.shape import Shape, count_params
from tests.fixtures.plans import SCHEDULES, SMALL, expressible, small_run

COSINE = SCHEDULES["cosine"]


def load(text: str, path: Path) -> Any:
    """The file as litgpt's command line reads it."""
    pytest.importorskip("litgpt", reason="litgpt is not installed (extra `trainers`)")
    from jsonargparse import ActionConfigFile, ArgumentParser
    from litgpt.pretrain import setup

    parser = ArgumentParser()
    parser.add_function_arguments(setup, as_group=False)
    parser.add_argument("--config", action=ActionConfigFile)
    path.write_text(text, encoding="utf-8")
    return parser.instantiate_classes(parser.parse_args(["--config", str(path)]))


@pytest.mark.trainers
@pytest.mark.parametrize("name", SCHEDULES)
def test_its_own_get_lr_gives_our_lr_at_every_step(name: str, tmp_path: Path) -> None:
    settings = expressible(small_run(schedule=SCHEDULES[name]), TRAINER)
    found = load(TRAINER.write(settings, ["a head"])[""], tmp_path / "run.yaml")
    from litgpt.pretrain import get_lr

    train, steps = found.train, settings.schedule.steps
    accumulation = train.gradient_accumulation_iters(found.devices, found.num_nodes)
    per_device = train.max_tokens // (found.devices * found.num_nodes)
    last = per_device // (train.micro_batch_size * train.max_seq_length)
    warmup = train.warmup_iters(found.devices, found.num_nodes, last, None)
    peak = found.optimizer["init_args"]["lr"]
    assert last == steps * accumulation
    for step in range(steps):
        lr = get_lr(peak, (step + 1) * accumulation - 1, warmup, last, train.min_lr)
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert lr / peak == pytest.approx(ours, abs=1e-6)


@pytest.mark.trainers
@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        replace(SMALL, tied_embeddings=True),
        replace(SMALL, head_dim=64, qk_norm="per-head"),
        replace(SMALL, qk_norm="full-width"),
        replace(SMALL, biases="qkv"),
        replace(SMALL, biases="all", norm="layernorm", mlp="gelu"),
        replace(SMALL, mlp="geglu"),
    ],
)
def test_the_model_it_builds_has_the_plans_parameters(shape: Shape, tmp_path: Path) -> None:
    settings = small_run(shape=shape, schedule=COSINE)
    found = load(TRAINER.write(settings, ["a head"])[""], tmp_path / "run.yaml")
    import torch
    from litgpt.model import GPT

    with torch.device("meta"):
        model = GPT(found.model_config)
    if found.train.tie_embeddings:
        model.transformer.wte.weight = model.lm_head.weight
    assert sum(p.numel() for p in model.parameters()) == count_params(shape).total_params


@pytest.mark.trainers
def test_its_own_checks_pass_and_its_optimizer_is_the_plans(tmp_path: Path) -> None:
    settings = small_run(schedule=COSINE)
    found = load(TRAINER.write(settings, ["a head"])[""], tmp_path / "run.yaml")
    import torch
    from litgpt.pretrain import validate_args
    from litgpt.utils import instantiate_torch_optimizer

    validate_args(found.train, found.eval, initial_checkpoint_dir=None, resume=False)
    optimizer = instantiate_torch_optimizer(found.optimizer, [torch.nn.Parameter(torch.zeros(1))])
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (settings.lr, settings.weight_decay)
    assert (tuple(group["betas"]), group["eps"]) == ((0.9, 0.95), 1e-8)


def test_steps_are_what_max_tokens_gives() -> None:
    schedule = make_schedule("cosine", steps=7, warmup_steps=2)
    settings = small_run(schedule=schedule)
    text = TRAINER.write(settings, [])[""]
    assert f"max_tokens: {7 * 24 * 64}" in text
    assert TRAINER.read({"": text}).schedule.steps == 7


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("torch.optim.AdamW", "bnb.optim.Adam8bit", "is not AdamW"),
        ("LLaMAMLP", "LLaMAMoE", "mlp_class_name 'LLaMAMoE'"),
        ("global_batch_size: 24", "global_batch_size: 23", "smaller batch"),
        ("max_tokens:", "max_time:", "max_tokens: not in the file"),
        ("train:", "trian:", "train: not a section"),
        ("train:", "train: [", "not YAML"),
    ],
)
def test_what_cannot_be_read_is_named(old: str, new: str, said: str) -> None:
    text = TRAINER.write(small_run(schedule=COSINE), [])[""]
    with pytest.raises(InputError, match=said):
        TRAINER.read({"": text.replace(old, new, 1)})
