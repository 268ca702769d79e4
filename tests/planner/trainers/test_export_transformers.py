"""The transformers export in transformers' own hands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from planner.trainers.files import write_files
from planner.trainers.supported.transformers import TRAINER, adjust
from proxies.run.schedule import lr_fraction
from proxies.run.shape import Shape, count_params
from tests.fixtures.plans import SCHEDULES, SMALL, expressible, small_run

if TYPE_CHECKING:
    from proxies.run.spec import RunSpec

transformers = pytest.importorskip("transformers", reason="not installed (extra `trainers`)")
torch = pytest.importorskip("torch", reason="not installed (extra `trainers`)")

pytestmark = pytest.mark.trainers


def load(settings: RunSpec, folder: Path) -> tuple[Any, Any]:
    """Training arguments and configuration as transformers reads them."""
    write_files(TRAINER.write(settings, ["a head"]), folder)
    parser = transformers.HfArgumentParser(transformers.TrainingArguments)
    (arguments,) = parser.parse_json_file(str(folder / "training_args.json"))
    return arguments, transformers.AutoConfig.from_pretrained(folder)


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_scheduler_gives_our_lr_at_every_step(name: str, tmp_path: Path) -> None:
    settings = expressible(small_run(schedule=SCHEDULES[name]), TRAINER)
    arguments, _ = load(settings, tmp_path / "run")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    scheduler = transformers.get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.get_warmup_steps(arguments.max_steps),
        num_training_steps=arguments.max_steps,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )
    for step in range(settings.schedule.steps):
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert scheduler.get_last_lr()[0] / settings.lr == pytest.approx(ours, abs=1e-6)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        replace(SMALL, tied_embeddings=True),
        replace(SMALL, qk_norm="per-head", head_dim=64),
        replace(SMALL, biases="qkv"),
        replace(SMALL, biases="all"),
        replace(SMALL, mlp="geglu"),
    ],
)
def test_the_model_it_builds_has_the_plans_parameters(shape: Shape, tmp_path: Path) -> None:
    _, config = load(small_run(shape=shape), tmp_path / "run")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == count_params(shape).total_params


def test_it_decays_what_the_plan_decays(tmp_path: Path) -> None:
    arguments, config = load(small_run(), tmp_path / "run")
    model = transformers.AutoModelForCausalLM.from_config(config)
    trainer = transformers.Trainer(model=model, args=arguments)
    decayed = set(trainer.get_decay_parameter_names(model))
    spared = {name for name, _ in model.named_parameters()} - decayed
    assert spared == {name for name in spared if "norm" in name}
    assert any("embed" in name for name in decayed)


def test_arguments_are_the_plans(tmp_path: Path) -> None:
    settings = small_run()
    arguments, _ = load(settings, tmp_path / "run")
    assert arguments.learning_rate == settings.lr
    assert arguments.weight_decay == settings.weight_decay
    assert (arguments.adam_beta1, arguments.adam_beta2) == (0.9, 0.95)
    assert arguments.train_batch_size * arguments.gradient_accumulation_steps * 4 == 24


def test_a_wsd_that_ends_above_zero_lifts_the_start_of_the_warmup() -> None:
    _, lost = adjust(small_run(schedule=SCHEDULES["wsd linear to 0.1"]))
    assert [loss.what for loss in lost] == ["warmup"]
    _, lost = adjust(small_run(schedule=SCHEDULES["wsd without warmup"]))
    assert not lost
