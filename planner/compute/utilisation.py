"""Expected utilisation of a training run: a law of size, accelerator, device count and layout.

    ln mfu = sum over features f of coefficient_f x f

`data/utilisation.toml` holds the coefficients, their covariance and the spread between runs. They
are fitted to published throughput tables and whole runs by `python -m
tests.benchmarks.fit_utilisation`; `python -m tests.benchmarks.utilisation` leaves each run and each
table out in turn. Whole runs lie below tables; how far they were idle is `Uptime`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fitting.intervals import Z80
from planner.facts.accelerators import Accelerator, accelerators

UNSEEN_LOG_SD = 0.25
"""Added in square for an accelerator of which no whole run is known; assumed."""

CEILING = 0.8
"""Upper bound of an interval: no published step reached 0.72."""

HIGHEST = {False: 0.625, True: 0.715}
"""Highest published step of GPUs in bf16 (fms-fsdp, 7B on A100) and of TPUs (MaxText, 32B on v5p),
both rows of `data/throughput.toml`: no run is expected above them."""

LOWEST_INTENSITY = 156.0
"""FLOP a byte of the A100 80GB: nothing below it has a published run, so no gain is assumed."""

UNKNOWN_ATTENTION = 0.05
"""Share of attention in the FLOPs where the shape is not stated."""


LATEST_YEAR = 2024
"""Software of later years counts as of this one: what was published gained from 2020 to 2024 (fused
attention, compilation, sequence parallelism), and runs of 2025 lie no higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the utilisation of a run depends on; None where it is not stated."""

    total_params: float
    """All parameters."""
    peak_tflops: float
    """Dense peak of one device in the type computed in, 1e12 FLOP/s."""
    bandwidth_tbs: float
    """Memory bandwidth of one device, TB/s."""
    tpu: bool = False
    devices: int | None = None
    tensor: int = 1
    """Devices over which each matrix is divided."""
    pipeline: int = 1
    """Stages into which the layers are divided."""
    recompute: str | None = "none"
    """`none`, `selective` or `full`."""
    attention_share: float | None = None
    """Share of the two causal attention products in the model FLOPs, 0 to 1."""
    fp8: bool = False
    whole_run: bool = True
    """A run from its first hour to its last, not a benchmark of steps."""
    year: int = LATEST_YEAR
    """Of the software."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """Model FLOP utilisation of a whole run, idle hours included: a share of the dense peak."""

    value: float
    low: float
    """80% of runs in such a setting lie between low and high."""
    high: float
    measured: bool
    """Whether published whole runs used this very device."""
    basis: str
    """Where the value comes from, in words."""
    uptime: float
    """Whole-run throughput over steady throughput: the median of published runs."""


def features(setting: Setting) -> dict[str, float]:
    """Inputs of the law by name.

    intensity: ln(peak / bandwidth / 200); size: ln(params / 1e10); small: max(0, ln(3.7e9 /
    params)), since small matrices fill no device; devices: ln(devices / 64); tensor, pipeline: ln
    of the degree; years: before 2024, negative.

    Where the devices are not stated, 64 (params / 1e9)^0.6, at least 8, stands for them.
    """
    intensity = setting.peak_tflops / setting.bandwidth_tbs
    size = math.log(setting.total_params / 1e10)
    devices = setting.devices or max(8.0, 64 * (setting.total_params / 1e9) ** 0.6)
    spread = math.log(devices / 64)
    attention = setting.attention_share
    attention = UNKNOWN_ATTENTION if attention is None else attention
    small = max(0.0, -size - 1)
    whole, full = float(setting.whole_run), float(setting.recompute == "full")
    return {
        "one": 1.0,
        "intensity": math.log(max(intensity, LOWEST_INTENSITY) / 200),
        "size": size,
        "small": small,
        "devices": spread,
        "tensor": math.log(setting.tensor),
        "pipeline": math.log(setting.pipeline),
        "full_recompute": full,
        "selective_recompute": float(setting.recompute == "selective"),
        "unstated_recompute": float(setting.recompute is None),
        "attention": attention - UNKNOWN_ATTENTION,
        "attention_recomputed": attention * full,
        "fp8": float(setting.fp8),
        "tpu": float(setting.tpu),
        "years": float(min(setting.year, LATEST_YEAR) - LATEST_YEAR),
        "whole": whole,
        "whole_size": whole * size,
        "whole_small": whole * small,
        "whole_devices": whole * spread,
        "whole_tpu": whole * setting.tpu,
    }


def expected_utilisation(accelerator: Accelerator, setting: Setting) -> Utilisation:
    """The utilisation to expect of a whole run in a setting.

    Interval: exp(+-1.2816 sd) with sd^2 = x' V x + between^2 + within^2: the coefficients, the
    spread between projects, that between runs of one. Where no whole run on the device is known,
    `UNSEEN_LOG_SD`^2 is added and the value is multiplied by `matmul_scale`.

    Source:
        `data/throughput.toml` and `data/whole_runs.toml`, each row with its own source.
    """
    law = read_law()
    log_value, variance = evaluate(law, features(setting))
    measured = accelerator.name in law["measured_on"]
    basis = f"a law of {law['runs']} published whole runs and {law['rows']} benchmark rows"
    if not measured:
        variance += UNSEEN_LOG_SD**2
        scale = matmul_scale(accelerator)
        log_value += math.log(scale)
        basis += f", none of the runs on {accelerator.name}"
        if scale < 1:
            basis += f", times {scale:.2f} for its lower best matmul share"
    half = math.exp(Z80 * math.sqrt(variance))
    value = math.exp(log_value)
    highest = HIGHEST[setting.tpu] * law["uptime"]
    if value > highest:
        value = highest
        basis += ", held at the highest published step and the median uptime"
    return Utilisation(
        value=value,
        low=value / half,
        high=min(value * half, CEILING),
        measured=measured,
        basis=basis,
        uptime=law["uptime"],
    )


def evaluate(law: Mapping[str, Any], inputs: Mapping[str, float]) -> tuple[float, float]:
    """ln(mfu) of a whole run and its variance: that of the coefficients and between runs."""
    x = [inputs[name] for name in law["features"]]
    value = math.fsum(c * f for c, f in zip(law["coefficients"], x, strict=True))
    variance = law["between_projects"] ** 2 + law["within_project"] ** 2
    for i, row in enumerate(law["covariance"]):
        for j, entry in enumerate(row):
            variance += (1 if i == j else 2) * entry * x[i] * x[j]
    return value, variance


def matmul_scale(accelerator: Accelerator) -> float:
    """Best matmul share of the peak over the H100's, at most 1.

    Where it is not measured: that of the MI300X for AMD's devices, which puts Frontier's MI250X
    where it was (a test compares), else 1.
    """
    known = accelerators()
    if accelerator.best_matmul_tflops is None:
        accelerator = known["mi300x" if accelerator.name.startswith("mi") else "h100"]
    reference = known["h100"]
    assert accelerator.best_matmul_tflops is not None
    assert reference.best_matmul_tflops is not None
    share = accelerator.best_matmul_tflops / accelerator.bf16_tflops
    return min(1.0, share * reference.bf16_tflops / reference.best_matmul_tflops)


@cache
def read_law() -> Mapping[str, Any]:
    """`data/utilisation.toml` as parsed; covariance is its lower triangle, row by row."""
    path = resources.files("planner.data") / "utilisation.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
