"""Muon's and Lion's laws from Fantastic Optimizers' optima."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tomli_w

from fitting.laws.file import part_to_dict
from fitting.laws.forms import evaluate_saturating
from fitting.laws.law import Covariance, Quantity, Range, Source
from planner.facts.laws import read_lawbook
from planner.facts.optima import Tuned, read_tuned

REFERENCE = {"params": 3e8, "tokens": 1e10}
"""Near the middle of the optima, so that level and slopes are nearly independent."""

LAB = "Stanford"

FORM_LOG_SD = 0.53
"""`planner.recommendation.estimate.FORM_LOG_SD` of lr: that of Step Law, assumed here too."""

TITLES = {
    "muon": "Best lr and weight decay of Muon, fitted to the optima of Fantastic Optimizers",
    "lion": "Best lr and weight decay of Lion, fitted to the optima of Fantastic Optimizers",
}


def optima(optimizer: str) -> list[Tuned]:
    """The sweep's optima with one optimizer."""
    found = read_tuned(read_lawbook())
    return [one for one in found if one.lab == LAB and one.optimizer == optimizer]


def point_of(one: Tuned) -> dict[str, float]:
    """An optimum's inputs of a law."""
    assert one.batch_tokens is not None
    return {"params": one.params, "tokens": one.tokens, "batch_tokens": one.batch_tokens}


def fit_lr(rows: Sequence[Tuned]) -> Quantity:
    """The saturating law with a level and slopes of its own."""
    shared = read_lawbook()["step-law-saturating"].quantities["lr"].coefficients
    flat = Quantity(
        form="saturating", coefficients=shared | {"scale": 1.0, "params": 0.0, "tokens": 0.0}
    )
    features, targets = [], []
    for one in rows:
        assert one.lr is not None
        point = point_of(one)
        features.append([1.0, *(math.log(point[name] / REFERENCE[name]) for name in REFERENCE)])
        targets.append(math.log(one.lr / evaluate_saturating(flat, point)))
    x, y = np.array(features), np.array(targets)
    found, scatter, covariance = least_squares(x, y)
    return Quantity(
        form="saturating",
        coefficients=shared
        | {
            "scale": digits(math.exp(found[0])),
            "params": digits(found[1]),
            "tokens": digits(found[2]),
        },
        reference=REFERENCE,
        covariance=Covariance(names=["log_scale", *REFERENCE], matrix=covariance),
        scatter=digits(scatter),
        form_log_sd=FORM_LOG_SD,
        n=len(rows),
        text="c, p and B* are AdamW's, measured on Step Law's runs; assumed to hold here.",
    )


def fit_weight_decay(rows: Sequence[Tuned]) -> Quantity:
    """The EMA timescale against tokens per param."""
    features, targets = [], []
    for one in rows:
        assert one.lr is not None
        assert one.weight_decay is not None
        batch = point_of(one)["batch_tokens"]
        features.append([1.0, math.log(one.tokens / one.params)])
        targets.append(math.log(batch / (one.lr * one.weight_decay * one.tokens)))
    found, scatter, _ = least_squares(np.array(features), np.array(targets))
    return Quantity(
        form="ema-timescale",
        coefficients={"scale": digits(math.exp(found[0])), "tokens_per_param": digits(found[1])},
        scatter=digits(scatter),
        n=len(rows),
    )


def least_squares(x: np.ndarray, y: np.ndarray) -> tuple[list[float], float, list[list[float]]]:
    """Coefficients, standard deviation of the residuals, and the coefficients' covariance."""
    found, *_ = np.linalg.lstsq(x, y, rcond=None)
    left = y - x @ found
    scatter = math.sqrt(float(left @ left) / (len(y) - x.shape[1]))
    covariance = scatter**2 * np.linalg.inv(x.T @ x)
    rounded = [[digits(value) for value in row] for row in (covariance + covariance.T) / 2]
    return [float(value) for value in found], scatter, rounded


def digits(value: float) -> float:
    """Six significant digits, those of the file."""
    return float(f"{value:.6g}")


def outward(values: Sequence[float]) -> list[float]:
    """Lowest and highest value in two digits, rounded outward: 134M is the model called 130M."""
    low, high = min(values), max(values)
    units = [10.0 ** (math.floor(math.log10(value)) - 1) for value in (low, high)]
    return [math.floor(low / units[0]) * units[0], math.ceil(high / units[1]) * units[1]]


def law_text(optimizer: str, rows: Sequence[Tuned]) -> str:
    """The law file's content."""
    lr, decay = fit_lr(rows), fit_weight_decay(rows)
    source = Source(
        key=f"windtunnel2026{optimizer}",
        title=TITLES[optimizer],
        year=2026,
        evidence="fitted",
        note=f"{len(rows)} optima of arXiv 2509.02046 (rows of data/optima.csv); its lr grid goes "
        "by factors of 2 and its batches of 0.52M tokens are the grid's edge. N counts matrices "
        "alone. "
        + (
            "lr in Moonshot's update, 0.2 sqrt(max(rows, columns)): the original's divided by "
            "0.2 sqrt(width), its weight decay times it; embeddings and head had Adam at 0.2 to "
            "0.3 of the original's lr."
            if optimizer == "muon"
            else "Six optima for three numbers: the slopes are weak. betas 0.9 and 0.95 to 0.98."
        ),
        caution=f"{optimizer}-tuned rests on {len(rows)} optima of one sweep to a factor of 2 in "
        "lr; how lr moves with batch is AdamW's, assumed",
        command="python -m tests.benchmarks.fit_optimizers data/laws",
    )
    measured = Range(
        params=outward([one.params for one in rows]),
        tokens_per_param=outward([one.tokens / one.params for one in rows]),
        batch_tokens=[524288.0, max(point_of(one)["batch_tokens"] for one in rows)],
        optimizer=optimizer,
        parametrization="sp",
        schedule="linear over the last 80 to 100% to 0"
        if optimizer == "muon"
        else "cosine to 0, warmup 2,000 steps",
        seq_len=4096,
        params_meaning="matrices only",
    )
    return tomli_w.dumps(
        {
            # `part_to_dict` leaves out what is empty, and a source must have a url.
            "source": {"url": ""} | part_to_dict(source),
            "range": part_to_dict(measured),
            "lr": part_to_dict(lr),
            "weight_decay": part_to_dict(decay),
        }
    )
