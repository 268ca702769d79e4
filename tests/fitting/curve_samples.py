"""Curves for tests: schedules made here, losses from a law, and the files of shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fitting.arrays import Floats
from fitting.curves.forms import CURVE_FORMS, Paths, Reference
from fitting.curves.path import make_path
from fitting.logs.curve_files import Curve, read_curve

PUBLISHED = {
    "25M": {"L0": 3.040, "A": 0.525, "alpha": 0.508, "B": 363.8, "C": 2.066, "beta": 0.583,
            "gamma": 0.641, "q": 1.0, "r": 1.0},
    "100M": {"L0": 2.651, "A": 0.601, "alpha": 0.453, "B": 437.9, "C": 2.132, "beta": 0.598,
             "gamma": 0.655, "q": 1.0, "r": 1.0},
}  # fmt: skip
"""Fits of 2503.12811 at two sizes."""

TRAINED_ON = ("cosine_24000", "constant_24000", "wsdcon_9")
"""What the paper fits on; it predicts the other six."""

WARMUP = 2160


def read_size(shared: Path, size: str) -> dict[str, Curve]:
    """The nine curves of one model size, by name."""
    folder = shared / "data" / f"loss_curves_{size}"
    return {path.stem: read_curve(path) for path in sorted(folder.glob("*.csv"))}


def published_loss(curve: Curve, size: str = "25M") -> Floats:
    """Loss by the published constants at each row."""
    form, reference = CURVE_FORMS["multi-power"].released(), Reference(lr_sum=3.0, peak=3e-4)
    free = form.free(PUBLISHED[size], reference)
    vector = np.array([[free[name] for name in form.names]])
    path = make_path(curve, warmup_steps=WARMUP)
    loss: Floats = np.exp(form.evaluate(Paths([path], reference), vector)[0][0])
    return loss


def simulated(name: str, *, steps: int = 24_000, noise: float = 0.0, rows: int = 80) -> Curve:
    """A curve of the published law under a schedule named `constant`, `cosine` or `drop`."""
    step = np.linspace(WARMUP, steps, rows).round()
    share = (step - WARMUP) / (steps - WARMUP)
    lr = {
        "constant": np.ones(rows),
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * share)) / 2,
        "drop": np.where(share < 0.4, 1.0, 0.3),
    }[name] * 3e-4
    bare = Curve(name=name, step=step, lr=lr, loss=None)
    jitter = np.random.default_rng(len(name)).normal(scale=noise, size=rows)
    return Curve(name=name, step=step, lr=lr, loss=published_loss(bare) * np.exp(jitter))
