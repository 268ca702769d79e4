"""The law of utilisation, fitted to whole runs and measured throughputs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from planner.compute.utilisation import Setting, features
from planner.facts.accelerators import accelerators

DATA = Path(__file__).parents[2] / "data"

PRIORS = {
    "one": (-0.8, 2.0),
    "intensity": (0.0, 1.0),
    "size": (0.0, 0.1),
    "small": (0.0, 0.3),
    "devices": (0.0, 0.1),
    "tensor": (0.0, 0.1),
    "pipeline": (0.0, 0.1),
    # A second forward pass makes 8 N D of 6 N D: ln(3/4).
    "full_recompute": (-0.29, 0.3),
    "selective_recompute": (0.0, 0.2),
    "unstated_recompute": (0.0, 0.2),
    "attention": (0.0, 1.5),
    "attention_recomputed": (0.0, 1.0),
    "fp8": (0.0, 0.3),
    "tpu": (0.0, 0.3),
    "years": (0.0, 0.1),
    "whole": (0.0, 0.5),
    "whole_size": (0.0, 0.1),
    "whole_small": (0.0, 0.3),
    "whole_devices": (0.0, 0.1),
    "whole_tpu": (0.0, 0.3),
}
"""Mean and standard deviation of each coefficient before any row is seen; assumed."""


NOT_FITTED = ("frontier",)
"""Tables that only test the law: the one table of AMD devices would move the slope of intensity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published run or benchmark step."""

    project: str
    name: str
    setting: Setting
    mfu: float
    """Share of the dense peak, FLOPs as `shape.flops_per_token` counts them."""
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Coefficients and spreads, with what a prediction needs."""

    mean: np.ndarray
    covariance: np.ndarray
    spreads: np.ndarray
    """Between tables, between projects, within a table, within a project."""


def read_rows() -> list[Row]:
    """The rows of throughput.toml and whole_runs.toml that the law is fitted to."""
    return [
        make_row(table, raw, whole=key == "run")
        for file, key in (("throughput.toml", "table"), ("whole_runs.toml", "run"))
        for table in tomllib.loads((DATA / file).read_text("utf-8"))[key]
        if table["project"] not in NOT_FITTED
        for raw in table["rows"]
    ]


def make_row(table: dict[str, Any], raw: dict[str, Any], *, whole: bool) -> Row:
    """A row with its utilisation in the plan's own count of FLOPs."""
    device = accelerators()[raw["accelerator"]]
    fp8 = raw.get("dtype") == "fp8"
    peak = device.fp8_tflops if fp8 else device.bf16_tflops
    assert peak is not None
    counted = count_flops(raw)
    # What the model FLOPs of a source without a shape say of its size.
    size = raw.get("total") or raw["flops"] / raw["tokens"] / 6
    setting = Setting(
        total_params=size,
        peak_tflops=peak,
        bandwidth_tbs=raw.get("bandwidth_tbs", device.bandwidth_tbs),
        tpu=device.name.startswith("tpu"),
        devices=raw.get("devices"),
        tensor=raw.get("tensor", 1),
        pipeline=raw.get("pipeline", 1),
        recompute=raw.get("recompute"),
        attention_share=None if counted is None else counted[1] / counted[0],
        fp8=fp8,
        whole_run=whole,
        year=table["year"],
    )
    return Row(
        project=table["project"] if whole else f"table {table['project']}",
        name=raw["name"],
        setting=setting,
        mfu=row_flops_per_second(raw, counted) / (peak * 1e12),
        raw=raw,
    )


def count_flops(raw: dict[str, Any]) -> tuple[float, float] | None:
    """Model FLOPs a token, attention halved for causality, and attention's; None unstated."""
    if "d" not in raw:
        return None
    matmul = raw["total"] - (0 if raw["tied"] else raw["vocab"] * raw["d"])
    attention = raw["layers"] * raw.get("heads_width", raw["d"]) * raw["seq"]
    return 6.0 * (matmul + attention), 6.0 * attention


def row_flops_per_second(raw: dict[str, Any], counted: tuple[float, float] | None) -> float:
    """Model FLOP/s of one device from whatever measure the source gives."""
    device = accelerators()[raw["accelerator"]]
    if "hours" in raw:
        flops = raw["flops"] if counted is None else counted[0] * raw["tokens"]
        return float(flops / (raw["hours"] * 3600))
    if "mfu" in raw:
        return float(raw["mfu"] * device.bf16_tflops * 1e12)
    assert counted is not None
    if "tokens_per_second" in raw:
        return float(raw["tokens_per_second"] * counted[0])
    halved = counted[0] / (counted[0] + counted[1])
    if "mfu_uncausal" in raw:
        return float(raw["mfu_uncausal"] * device.bf16_tflops * 1e12 * halved)
    if "tflops" in raw:
        return float(raw["tflops"] * 1e12 * halved)
    return float(raw["hardware_tflops"] * 1e12 * halved * 3 / 4)


def design(rows: list[Row]) -> np.ndarray:
    """Features of each row, columns as `PRIORS`."""
    inputs = [features(row.setting) for row in rows]
    return np.array([[one[name] for name in PRIORS] for one in inputs])


def fit(rows: list[Row], spreads: np.ndarray | None = None) -> Fitted:
    """The law of these rows; spreads are found where they are not given."""
    x, y = design(rows), np.log([row.mfu for row in rows])
    prior_mean = np.array([mean for mean, _ in PRIORS.values()])
    prior = np.diag([sd**2 for _, sd in PRIORS.values()])
    whole = np.array([row.setting.whole_run for row in rows])
    names = np.array([row.project for row in rows])
    same = names[:, None] == names[None, :]
    rest = y - x @ prior_mean

    def noise(s: np.ndarray) -> np.ndarray:
        between = np.where(whole, s[1], s[0])
        within = np.where(whole, s[3], s[2])
        return np.asarray(same * np.outer(between, between) + np.diag(within**2))

    def cost(log_s: np.ndarray) -> float:
        chol = np.linalg.cholesky(x @ prior @ x.T + noise(np.exp(log_s)))
        z = np.linalg.solve(chol, rest)
        # A wide prior of each spread about 0.2, so that none runs to zero.
        return float(np.log(np.diag(chol)).sum() + z @ z / 2 + ((log_s + 1.6) ** 2).sum() / 4)

    if spreads is None:
        start = np.log([0.2, 0.2, 0.1, 0.1])
        spreads = np.exp(minimize(cost, start, method="Nelder-Mead").x)
    weight = np.linalg.inv(noise(spreads))
    covariance = np.linalg.inv(np.linalg.inv(prior) + x.T @ weight @ x)
    mean = prior_mean + covariance @ (x.T @ weight @ rest)
    return Fitted(mean=mean, covariance=covariance, spreads=spreads)
