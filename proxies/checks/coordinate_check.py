"""A coordinate check from a few numbers: the models, the rule, the verdict and its report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fitting.errors import InputError
from proxies.checks.broken_rules import leave_out
from proxies.checks.coordinates import (
    TOLERANCE,
    Coordinates,
    Slope,
    judge_coordinates,
    measure_coordinates,
)
from proxies.run.groups import ParamGroup, param_groups
from proxies.run.parametrization import OPTIMIZERS, Parametrization, make_parametrization
from proxies.run.shape import Shape

WEIGHT_DECAY = 0.1
"""Of every check; in a few steps it leaves no trace."""

INIT_SCALE = 0.5
"""Initial weights have this over sqrt(base width), so that a matrix halves what it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSpec:
    """What is checked, and on which models."""

    parametrization: str
    """A key of `parametrization.RULES`."""
    optimizer: str = "adamw"
    """A key of `parametrization.OPTIMIZERS`."""
    lr: float
    """Base peak lr, > 0, of every step."""
    widths: tuple[int, ...]
    """d_model; one where depths differ."""
    depths: tuple[int, ...]
    """Layers; one where widths differ."""
    n_heads: int | None = None
    """Query heads, so that head_dim grows with width; None for heads of `head_dim`."""
    head_dim: int = 16
    """Features a head, unless `n_heads` is given; even."""
    qk_norm: str = "none"
    """One of `shape.QK_NORMS`."""
    base_d_model: int | None = None
    """Width where the base values hold; None for the smallest."""
    without: str | None = None
    """A key of `faults.FAULTS`: a rule left out to see it caught."""
    steps: int = 3
    """Updates, at least `coordinates.LEAST_STEPS`."""
    seeds: int = 6
    """Models a size, at least 1."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a coordinate check found."""

    spec: CheckSpec
    coordinates: Coordinates
    slopes: list[Slope]

    def named(self, verdict: str) -> list[Slope]:
        """Tensors of one verdict, the steepest first."""
        found = [slope for slope in self.slopes if slope.verdict == verdict]
        return sorted(found, key=lambda slope: -abs(slope.slope))

    @property
    def rule(self) -> str:
        """What was checked, with the rule that was left out."""
        spec = self.spec
        left_out = "" if spec.without is None else f" without {spec.without}"
        return f"{spec.parametrization}{left_out}"

    def headline(self) -> str:
        """The finding in a sentence."""
        variable, off, unclear = self.coordinates.variable, self.named("off"), self.named("unclear")
        if off:
            worst = max(off, key=lambda slope: slope.slope)
            others = f", and {len(off) - 1} more" if len(off) > 1 else ""
            return (
                f"{worst.tensor} changes as {variable}^{worst.slope:+.2f} "
                f"(± {worst.standard_error:.2f}){others}"
            )
        if unclear:
            return f"no change is shown to follow {variable}, {len(unclear)} too noisy to tell"
        return f"every change is within {TOLERANCE:g} of flat in {variable}"

    def summary(self) -> str:
        """Verdict, then one line a tensor, as plain text."""
        spec, sizes = self.spec, ", ".join(map(str, self.coordinates.sizes))
        width = max(len(name) for name in self.coordinates.tensors)
        variable = self.coordinates.variable
        lines = [
            f"{self.rule}: {self.headline()}",
            f"{variable} {sizes}; {spec.seeds} seeds; {spec.steps} steps of {spec.optimizer} at "
            f"lr {spec.lr:g}",
            "",
            f"{'':{width}}  {f'change after {spec.steps} steps':<20}  at start",
            f"{'tensor':{width}}  {f'as {variable}^':<20}  {f'as {variable}^':<11}  verdict",
        ]
        for slope in self.slopes:
            start = "starts at 0" if slope.start_slope is None else f"{slope.start_slope:+.2f}"
            change = f"{slope.slope:+.3f} ± {slope.standard_error:.3f}"
            lines.append(f"{slope.tensor:{width}}  {change:<20}  {start:<11}  {slope.verdict}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; `sizes` by tensor are means over the seeds."""
        coordinates = self.coordinates
        return {
            "parametrization": self.spec.parametrization,
            "without": self.spec.without,
            "optimizer": self.spec.optimizer,
            "lr": self.spec.lr,
            "steps": self.spec.steps,
            "seeds": self.spec.seeds,
            "variable": coordinates.variable,
            "sizes": list(coordinates.sizes),
            "tolerance": TOLERANCE,
            "passed": not self.named("off"),
            "tensors": [
                {
                    "tensor": slope.tensor,
                    "slope": slope.slope,
                    "standard_error": slope.standard_error,
                    "start_slope": slope.start_slope,
                    "verdict": slope.verdict,
                    "rms_at_start": coordinates.rms[:, :, 0, number].mean(axis=1).tolist(),
                    "change": coordinates.change[:, :, -1, number].mean(axis=1).tolist(),
                }
                for number, slope in enumerate(self.slopes)
            ],
        }


def run_check(
    spec: CheckSpec,
    sequences: Tensor,
    *,
    vocab_size: int,
    on_model: Callable[[], None] | None = None,
) -> CheckResult:
    """Train the models of a check and judge what moved.

    Args:
        spec: what to check.
        sequences: the one batch, token ids (B, T + 1).
        vocab_size: tokens are below it.
        on_model: called after each model.

    Raises:
        InputError: shapes that cannot be, an unknown name, a rule whose absence changes nothing.
        FitError: an activation that is not finite.
    """
    shapes = make_shapes(spec, vocab_size=vocab_size)
    base_width = shapes[0].d_model if spec.base_d_model is None else spec.base_d_model
    bases = {
        "base_d_model": base_width,
        "base_head_dim": shapes[0].head_dim,
    }
    if spec.parametrization == "sp":
        bases = {} if spec.base_d_model is None else {"base_d_model": spec.base_d_model}
    elif spec.parametrization == "completep":
        bases["base_n_layers"] = shapes[0].n_layers

    def make_parts(shape: Shape) -> tuple[Parametrization, list[ParamGroup]]:
        parametrization = make_parametrization(
            spec.parametrization,
            d_model=shape.d_model,
            n_layers=shape.n_layers,
            head_dim=shape.head_dim,
            **bases,
        )
        return parametrization, param_groups(
            parametrization,
            optimizer=OPTIMIZERS[spec.optimizer],
            lr=spec.lr,
            weight_decay=WEIGHT_DECAY,
            init_std=INIT_SCALE / math.sqrt(base_width),
            tied_embeddings=False,
        )

    def recipe(shape: Shape) -> tuple[Parametrization, list[ParamGroup]]:
        parts = make_parts(shape)
        return parts if spec.without is None else leave_out(spec.without, *parts, shape)

    if all(recipe(shape) == make_parts(shape) for shape in shapes) and spec.without is not None:
        raise InputError(
            f"coordinate check: {spec.parametrization} without {spec.without} is no other rule "
            "for these models; vary heads for attention, depth under completep for residual"
        )
    measured = measure_coordinates(
        shapes, recipe, sequences, steps=spec.steps, seeds=spec.seeds, on_model=on_model
    )
    return CheckResult(spec, measured, judge_coordinates(measured))


def make_shapes(spec: CheckSpec, *, vocab_size: int) -> list[Shape]:
    """The models of a check, an MLP 8/3 as wide as the stream.

    Raises:
        InputError: a width that its heads do not divide.
    """
    if spec.n_heads is not None and spec.n_heads < 1:
        raise InputError(f"coordinate check: {spec.n_heads} heads; at least 1")
    shapes = []
    for d_model in spec.widths:
        heads = spec.n_heads or d_model // spec.head_dim
        head_dim = d_model // spec.n_heads if spec.n_heads else spec.head_dim
        if heads * head_dim != d_model or not head_dim:
            what = f"{spec.n_heads} heads" if spec.n_heads else f"heads of {spec.head_dim}"
            raise InputError(f"coordinate check: width {d_model} is no multiple of {what}")
        shapes += [
            Shape(
                d_model=d_model,
                n_layers=n_layers,
                n_heads=heads,
                n_kv_heads=heads,
                head_dim=head_dim,
                d_ff=d_model * 8 // 3,
                vocab_size=vocab_size,
                qk_norm=spec.qk_norm,
            )
            for n_layers in spec.depths
        ]
    return shapes
