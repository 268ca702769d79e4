"""Every way of reading a schedule gives the same numbers, and so do torch and transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.schedule import (
    KINDS,
    SHAPES,
    Schedule,
    lr_fraction,
    lr_fractions,
    make_schedule,
    update_fractions,
)
from proxies.run.schedule.extend import join_schedules
from proxies.run.schedule.kinds import build_schedule
from proxies.run.schedule.request import ScheduleRequest
from tests.fixtures.schedules import make_any

PEAK = 3e-4


def lambda_factor(schedule: Schedule, *, offset: int = 1) -> Callable[[int], float]:
    """A schedule as torch's `LambdaLR` takes it; torch asks once more after the last update."""
    return lambda step: lr_fraction(schedule, min(step + offset, schedule.steps))


@given(
    kind=st.sampled_from(sorted(KINDS)),
    steps=st.integers(8, 10**6),
    shares=st.lists(st.floats(0, 1), max_size=30),
)
def test_an_array_agrees_with_single_points_to_the_last_bit(
    kind: str, steps: int, shares: list[float]
) -> None:
    schedule = make_any(kind, steps=steps)
    points = [share * steps for share in shares]
    assert lr_fractions(schedule, points).tolist() == [lr_fraction(schedule, s) for s in points]


@given(shape=st.sampled_from(sorted(SHAPES)), steps=st.integers(8, 300))
def test_updates_the_torch_factor_and_single_points_agree_for_every_shape(
    shape: str, steps: int
) -> None:
    schedule = make_schedule("wsd", steps=steps, decay_shape=shape, final_lr_fraction=0.2)
    factor = lambda_factor(schedule)
    one_by_one = [lr_fraction(schedule, s) for s in range(1, steps + 1)]
    assert update_fractions(schedule).tolist() == one_by_one
    assert [factor(k) for k in range(steps)] == one_by_one
    assert factor(steps) == one_by_one[-1]


def test_an_array_keeps_its_shape() -> None:
    schedule = make_schedule("wsd", steps=10)
    assert lr_fractions(schedule, [[1, 2], [9, 10]]).shape == (2, 2)
    assert lr_fractions(schedule, 1.0).shape == ()
    assert lr_fractions(schedule, []).shape == (0,)


def test_a_point_outside_the_run_is_refused_in_an_array_too() -> None:
    schedule = make_schedule("wsd", steps=10)
    for s in (-1, 10.5, math.nan):
        with pytest.raises(InputError, match=r"outside 0\.\.10"):
            lr_fractions(schedule, [1, s])


def test_a_million_updates_take_no_time_worth_a_thought() -> None:
    fractions = update_fractions(make_schedule("cosine", steps=10**6))
    assert (fractions[-1], len(fractions)) == (0.1, 10**6)


def ours(schedule: Schedule, *, offset: int = 0) -> list[float]:
    """The lr at s = k + offset for k = 0..S - 1."""
    factor = lambda_factor(schedule, offset=offset)
    return [PEAK * factor(k) for k in range(schedule.steps)]


def theirs(make: Callable[[Any], Any], steps: int) -> list[float]:
    """The lr that a torch scheduler uses for each of its steps."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(optimizer)
    lrs = []
    for _ in range(steps):
        lrs.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return lrs


def test_as_a_torch_lambda_the_lr_is_the_peak_times_the_fraction_exactly() -> None:
    scheduling = pytest.importorskip("torch").optim.lr_scheduler
    for kind in KINDS:
        schedule = make_any(kind, steps=40)
        used = theirs(partial(scheduling.LambdaLR, lr_lambda=lambda_factor(schedule)), 40)
        assert used == [PEAK * lr_fraction(schedule, s) for s in range(1, 41)], kind


def sequence(optimizer: Any, second: Any, warmup: int) -> Any:
    """Torch's linear warmup from (almost) 0, then another scheduler."""
    scheduling = pytest.importorskip("torch").optim.lr_scheduler
    # LinearLR refuses a start of 0.
    first = scheduling.LinearLR(optimizer, start_factor=1e-30, total_iters=warmup)
    return scheduling.SequentialLR(optimizer, [first, second(optimizer)], milestones=[warmup])


@pytest.mark.parametrize("warmup", [1, 7, 20])
def test_linear_is_torchs_linear_after_a_linear_warmup(warmup: int) -> None:
    scheduling = pytest.importorskip("torch").optim.lr_scheduler
    schedule = make_schedule("linear", steps=60, warmup_steps=warmup, final_lr_fraction=0.05)
    used = theirs(
        lambda optimizer: sequence(
            optimizer,
            lambda o: scheduling.LinearLR(
                o, start_factor=1.0, end_factor=0.05, total_iters=60 - warmup
            ),
            warmup,
        ),
        60,
    )
    assert used == pytest.approx(ours(schedule), abs=1e-12 * PEAK)


@pytest.mark.parametrize("warmup", [1, 7, 20])
def test_cosine_is_torchs_cosine_annealing_after_a_linear_warmup(warmup: int) -> None:
    scheduling = pytest.importorskip("torch").optim.lr_scheduler
    schedule = make_schedule("cosine", steps=60, warmup_steps=warmup, final_lr_fraction=0.1)
    used = theirs(
        lambda optimizer: sequence(
            optimizer,
            lambda o: scheduling.CosineAnnealingLR(o, T_max=60 - warmup, eta_min=0.1 * PEAK),
            warmup,
        ),
        60,
    )
    assert used == pytest.approx(ours(schedule), abs=1e-12 * PEAK)


def test_constant_and_exponential_are_torchs() -> None:
    scheduling = pytest.importorskip("torch").optim.lr_scheduler
    constant = make_schedule("constant", steps=30, warmup_steps=10)
    used = theirs(
        lambda optimizer: sequence(
            optimizer,
            lambda o: scheduling.ConstantLR(o, factor=1.0, total_iters=1),
            10,
        ),
        30,
    )
    assert used == pytest.approx(ours(constant), abs=1e-12 * PEAK)
    decay = make_schedule(
        "wsd",
        steps=30,
        warmup_steps=0,
        decay_steps=30,
        decay_shape="exponential",
        final_lr_fraction=0.01,
    )
    used = theirs(lambda o: scheduling.ExponentialLR(o, gamma=0.01 ** (1 / 30)), 30)
    assert used == pytest.approx(ours(decay), abs=1e-12 * PEAK)


def test_two_stage_is_torchs_multi_step() -> None:
    """Torch drops at its step 20, counted from 0: our update 21, the first after the joint."""
    scheduling = pytest.importorskip("torch").optim.lr_scheduler
    schedule = make_schedule(
        "two-stage", steps=30, warmup_steps=0, decay_steps=10, final_lr_fraction=0.3
    )
    used = theirs(lambda o: scheduling.MultiStepLR(o, milestones=[20], gamma=0.3), 30)
    assert used == pytest.approx(ours(schedule, offset=1), abs=1e-12 * PEAK)


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_wsd_is_that_of_transformers(shape: str, floor: float) -> None:
    """Its min_lr_ratio lifts the start of the warmup too."""
    hf = pytest.importorskip("transformers", reason="the extra `trainers` is not installed")
    schedule = build_schedule(
        ScheduleRequest(
            kind="wsd",
            steps=100,
            warmup_steps=10,
            decay_steps=30,
            decay_shape=shape,
            final_lr_fraction=floor,
            start_lr_fraction=floor,
        )
    )
    used = theirs(
        lambda optimizer: hf.get_wsd_schedule(
            optimizer,
            num_warmup_steps=10,
            num_decay_steps=30,
            num_training_steps=100,
            decay_type=shape,
            min_lr_ratio=floor,
        ),
        100,
    )
    assert used == pytest.approx(ours(schedule), abs=1e-12 * PEAK)


@pytest.mark.parametrize(
    ("name", "options", "kind", "ours_options"),
    [
        ("get_linear_schedule_with_warmup", {}, "linear", {}),
        ("get_cosine_schedule_with_warmup", {}, "cosine", {"final_lr_fraction": 0.0}),
        (
            "get_cosine_with_min_lr_schedule_with_warmup",
            {"min_lr_rate": 0.1},
            "cosine",
            {"final_lr_fraction": 0.1},
        ),
        (
            "get_cosine_with_min_lr_schedule_with_warmup",
            {"min_lr": 1e-5},
            "cosine",
            {"final_lr_fraction": 1e-5 / PEAK},
        ),
        (
            "get_polynomial_decay_schedule_with_warmup",
            {"lr_end": 1e-5, "power": 1.0},
            "linear",
            {"final_lr_fraction": 1e-5 / PEAK},
        ),
    ],
)
@pytest.mark.parametrize("warmup", [1, 8])
def test_linear_and_cosine_are_those_of_transformers(
    name: str, options: dict[str, float], kind: str, ours_options: dict[str, float], warmup: int
) -> None:
    hf = pytest.importorskip("transformers", reason="the extra `trainers` is not installed")
    schedule = make_schedule(kind, steps=80, warmup_steps=warmup, **ours_options)  # type: ignore[arg-type]
    used = theirs(
        lambda optimizer: getattr(hf, name)(
            optimizer, num_warmup_steps=warmup, num_training_steps=80, **options
        ),
        80,
    )
    assert used == pytest.approx(ours(schedule), abs=1e-12 * PEAK)


@pytest.mark.parametrize("warmup", [1, 8])
def test_constant_and_inverse_sqrt_are_those_of_transformers(warmup: int) -> None:
    hf = pytest.importorskip("transformers", reason="the extra `trainers` is not installed")
    constant = make_schedule("constant", steps=80, warmup_steps=warmup)
    used = theirs(lambda o: hf.get_constant_schedule_with_warmup(o, num_warmup_steps=warmup), 80)
    assert used == pytest.approx(ours(constant), abs=1e-12 * PEAK)
    falling = make_schedule("inverse-sqrt", steps=80, warmup_steps=warmup)
    used = theirs(lambda o: hf.get_inverse_sqrt_schedule(o, num_warmup_steps=warmup), 80)
    assert used == pytest.approx(ours(falling), abs=1e-12 * PEAK)


def test_a_joined_schedule_reads_the_same_in_every_way() -> None:
    whole = join_schedules(
        make_schedule("cosine", steps=50), make_schedule("wsd", steps=30), peak_ratio=0.5
    )
    points = np.linspace(0, 80, 321)
    assert lr_fractions(whole, points).tolist() == [lr_fraction(whole, s) for s in points.tolist()]
