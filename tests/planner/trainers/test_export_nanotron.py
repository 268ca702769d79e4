"""The nanotron export in nanotron's own hands, beside a stand-in for its logging.

The package on PyPI (0.4) cannot be imported as it is: `nanotron.config` and `nanotron.logging`
import each other. The stand-in holds names only; config classes and scheduler are nanotron's.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from fitting.errors import InputError
from planner.trainers.supported.nanotron import TRAINER
from planner.trainers.trainer import nearest_run
from proxies.run.schedule import lr_fraction
from proxies.run.spec import RunSpec
from tests.fixtures.plans import SCHEDULES, SMALL, expressible, small_run

LINEAR = SCHEDULES["linear"]

QUIET = ("LogItem", "LoggerWriter", "human_format", "log_memory", "log_rank", "warn_once")
"""What its modules import from its logging."""


@pytest.fixture
def nanotron(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Its config loader and its scheduler."""
    if importlib.util.find_spec("nanotron") is None:
        pytest.skip("nanotron is not installed (pip install --no-deps nanotron==0.4 dacite)")
    quiet = ModuleType("nanotron.logging")
    vars(quiet).update(
        {name: value for name, value in vars(logging).items() if name.isupper()},
        get_logger=logging.getLogger,
        **dict.fromkeys(QUIET, object),
    )
    monkeypatch.setitem(sys.modules, "nanotron.logging", quiet)
    from nanotron.config import get_config_from_file
    from nanotron.helpers import lr_scheduler_builder

    return SimpleNamespace(load=get_config_from_file, schedule=lr_scheduler_builder)


def load(nanotron: SimpleNamespace, settings: RunSpec, path: Path) -> Any:
    """The file as nanotron reads it, strictly."""
    path.write_text(TRAINER.write(settings, ["a head"])[""], encoding="utf-8")
    return nanotron.load(str(path))


@pytest.mark.trainers
@pytest.mark.parametrize("name", SCHEDULES)
def test_its_own_scheduler_gives_our_lr_at_every_step(
    name: str, nanotron: SimpleNamespace, tmp_path: Path
) -> None:
    import torch

    settings = expressible(small_run(schedule=SCHEDULES[name]), TRAINER)
    config = load(nanotron, settings, tmp_path / "run.yaml")
    rate = config.optimizer.learning_rate_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate.learning_rate)
    base = SimpleNamespace(get_base_optimizer=lambda: optimizer)
    scheduler = nanotron.schedule(base, rate, config.tokens.train_steps)
    for step in range(settings.schedule.steps):
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert scheduler.get_last_lr()[0] / settings.lr == pytest.approx(ours, abs=1e-6)
        optimizer.step()
        scheduler.step()


@pytest.mark.trainers
def test_its_own_config_has_the_plans_batch_and_shape(
    nanotron: SimpleNamespace, tmp_path: Path
) -> None:
    config = load(nanotron, small_run(schedule=LINEAR), tmp_path / "run.yaml")
    assert config.global_batch_size == 24
    model = config.model.model_config
    assert (model.hidden_size, model.num_key_value_heads) == (128, 2)
    assert (model.intermediate_size, model.vocab_size) == (320, 512)


def lr_by_the_formula(rate: Mapping[str, Any], step: int) -> Any:
    """The formula of trainers.md: warmup, stay, decay, then the lowest lr."""
    peak, low = rate["learning_rate"], rate["min_decay_lr"]
    if step <= rate["lr_warmup_steps"]:
        return peak * step / max(rate["lr_warmup_steps"], 1)
    if step < rate["lr_decay_starting_step"]:
        return peak
    done = step - rate["lr_decay_starting_step"]
    if done >= rate["lr_decay_steps"]:
        return low
    left = 1 - done / rate["lr_decay_steps"]
    if rate["lr_decay_style"] == "linear":
        return low + (peak - low) * left
    return low + (peak - low) * (1 + math.cos(math.pi * (1 - left))) / 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_formula_of_its_scheduler_gives_our_lr_at_every_step(name: str) -> None:
    settings = expressible(small_run(schedule=SCHEDULES[name]), TRAINER)
    text = TRAINER.write(settings, ["a head"])[""]
    rate = yaml.safe_load(text)["optimizer"]["learning_rate_scheduler"]
    for step in range(settings.schedule.steps):
        ours = lr_fraction(settings.schedule, TRAINER.sample_point(settings, step))
        assert lr_by_the_formula(rate, step) / settings.lr == pytest.approx(ours, abs=1e-6)


def test_a_rotary_base_that_it_cannot_set_is_named_as_lost() -> None:
    said = nearest_run(small_run(shape=replace(SMALL, rope_theta=5e5), schedule=LINEAR), TRAINER)
    assert [loss.what for loss in said.losses] == ["rope_theta"]


def test_a_missing_warmup_is_named_as_lost() -> None:
    schedule = SCHEDULES["cosine without warmup"]
    said = nearest_run(small_run(schedule=schedule), TRAINER)
    assert [loss.what for loss in said.losses] == ["lr of the first step"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("is_llama_config: true", "is_llama_config: false", "not a Llama"),
        ("weight_decay:", "wd:", "weight_decay: not in the file"),
        ("zero_stage: 0", "name: lion", "'lion' is not adamW"),
    ],
)
def test_what_cannot_be_read_is_named(old: str, new: str, said: str) -> None:
    text = TRAINER.write(small_run(schedule=LINEAR), [])[""]
    with pytest.raises(InputError, match=said):
        TRAINER.read({"": text.replace(old, new, 1)})


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("lr_decay_steps: 7", "the decay ends at step 14 and the run at 100"),
        ("lr_decay_starting_step: 50", "the decay is made to end at step 143"),
    ],
)
def test_a_decay_that_does_not_end_with_the_run_is_a_fault(lines: str, said: str) -> None:
    run = small_run(schedule=SCHEDULES["linear"])
    document = yaml.safe_load(TRAINER.write(run, [])[""])
    rate = document["optimizer"]["learning_rate_scheduler"]
    del rate["lr_decay_steps"], rate["lr_decay_starting_step"]
    rate |= yaml.safe_load(lines)
    files = {"": yaml.safe_dump(document)}
    assert said in TRAINER.faults(files)[0]
    assert TRAINER.read(files).schedule.steps == 100
    assert TRAINER.faults(TRAINER.write(run, [])) == ()
