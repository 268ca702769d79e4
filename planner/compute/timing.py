"""Wall time, energy and cost of a run on given accelerators.

hours = flops_per_token tokens / (devices peak mfu) / 3600
energy_kwh = devices hours power PUE / 1000
cost = devices hours price
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fitting.units import format_count, format_small
from planner.compute.utilisation import Setting, Utilisation, expected_utilisation
from planner.facts.accelerators import Gpus
from proxies.run.layout import Layout
from proxies.run.spec import RunSpec

PUE = 1.1
"""Power of the building over that of its devices: published are 1.08 (PaLM, arXiv 2204.02311) and
1.12 to 1.2 (OLMo 2, arXiv 2501.00656). Devices are counted at their rated power: an upper bound,
since OLMo 3's runs drew 0.62 to 0.65 kW a GPU of 0.7 kW with everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How fast a run goes; low and high hold 80% of published whole runs."""

    mfu: float
    """Share of the dense bf16 peak, idle hours included."""
    mfu_low: float
    mfu_high: float
    mfu_basis: str
    """Where the utilisation comes from, in words."""
    uptime: float
    """Whole-run throughput over steady throughput."""
    peak_flops: float
    """Dense bf16 peak of one device, FLOP/s."""
    tokens_per_second: float
    """Of all devices together, a mean over the run."""
    hours: float
    """Wall time of the run at `mfu`."""
    hours_low: float
    """Wall time at `mfu_high`."""
    hours_high: float
    """Wall time at `mfu_low`."""
    gpu_hours: float
    """Of all devices that are paid for, idle ones included."""
    energy_kwh: float | None
    """At the rated power times `PUE`; None where the power is not known."""
    cost: float | None
    """In the unit of the price; None without a price."""


def run_timing(run: RunSpec, gpus: Gpus, layout: Layout) -> Timing | None:
    """Speed and wall time in a layout; None for a bare count.

    Args:
        run: the run.
        gpus: what `--gpus` named; all its devices are paid for.
        layout: over at most `gpus.count` devices.
    """
    device = gpus.accelerator
    if device is None:
        return None
    shape = run.shape
    attention = 6 * shape.n_layers * shape.n_heads * shape.head_dim * run.seq_len
    setting = Setting(
        total_params=run.active.total_params,
        peak_tflops=device.bf16_tflops,
        bandwidth_tbs=device.bandwidth_tbs,
        tpu=device.name.startswith("tpu"),
        devices=layout.devices,
        tensor=layout.tensor,
        pipeline=layout.pipeline,
        recompute=layout.recompute,
        attention_share=attention / run.flops_per_token,
    )
    return time_at(run, gpus, expected_utilisation(device, setting), layout.devices)


def time_at(run: RunSpec, gpus: Gpus, rate: Utilisation, devices: int) -> Timing:
    """Speed, wall time and energy at a given utilisation."""
    assert gpus.accelerator is not None
    peak = gpus.accelerator.bf16_tflops * 1e12
    speed = devices * peak * rate.value / run.flops_per_token
    hours = run.tokens / speed / 3600
    power = gpus.accelerator.power_watts
    return Timing(
        mfu=rate.value,
        mfu_low=rate.low,
        mfu_high=rate.high,
        mfu_basis=rate.basis,
        uptime=rate.uptime,
        peak_flops=peak,
        tokens_per_second=speed,
        hours=hours,
        hours_low=hours * rate.value / rate.high,
        hours_high=hours * rate.value / rate.low,
        gpu_hours=hours * gpus.count,
        energy_kwh=None if power is None else gpus.count * hours * power * PUE / 1000,
        cost=None,
    )


def priced(timing: Timing, price: float | None) -> Timing:
    """The same with its cost, where a price of a device-hour is given."""
    return timing if price is None else replace(timing, cost=timing.gpu_hours * price)


def explain_timing(run: RunSpec, timing: Timing, devices: int) -> list[str]:
    """The arithmetic of the hours, utilisation and energy."""
    lines = [
        f"hours {timing.hours:,.2f} = {format_small(run.flops_per_token)} FLOP/token x "
        f"{format_count(run.tokens)} tokens / ({devices} x "
        f"{format_small(timing.peak_flops)} FLOP/s x {timing.mfu:.3f}) / 3600",
        f"mfu {timing.mfu:.3f} ({timing.mfu_low:.3f} to {timing.mfu_high:.3f}): "
        f"{timing.mfu_basis} (data/utilisation.toml)",
        f"mfu includes the idle hours of whole runs; steady {timing.mfu / timing.uptime:.3f} = mfu "
        f"/ {timing.uptime:.2f}, the median uptime of published runs (data/throughput.toml)",
    ]
    if timing.energy_kwh is not None:
        lines.append(
            f"energy {format_small(timing.energy_kwh)} kWh = {timing.gpu_hours:,.1f} GPU-hours x "
            f"rated power x PUE {PUE:g}, assumed: an upper bound"
        )
    if timing.cost is not None:
        lines.append(
            f"cost {timing.cost:,.2f} = {timing.gpu_hours:,.1f} GPU-hours x "
            f"{timing.cost / timing.gpu_hours:g}"
        )
    return lines
