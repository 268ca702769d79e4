"""A coordinate check from a few numbers: the models, the rule, the verdict and its report."""

from __future__ import annotations

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
from proxies.checks.head import HEAD_STEPS, HeadStart, measure_head
from proxies.run.groups import ParamGroup, base_settings, param_groups, with_head_init
from proxies.run.parametrization import (
    OPTIMIZERS,
    Parametrization,
    make_parametrization,
    with_embedding_multiplier,
)
from proxies.run.shape import Shape, check_shape

WEIGHT_DECAY = 0.1
"""Of every check; in a few steps it leaves no trace."""


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
    n_kv_heads: int | None = None
    """Key and value heads of the smallest model, more with its query heads; None for as many."""
    tied_embeddings: bool = False
    """Whether the head is the embedding."""
    qk_norm: str = "none"
    """One of `shape.QK_NORMS`."""
    base_d_model: int | None = None
    """Width where the base values hold; None for 256."""
    init_std: float | None = None
    """Base standard deviation of the weights; None for `groups.base_settings`."""
    head_init_std: float | None = None
    """That of a head which is not the embedding; None for `init_std`."""
    embedding_multiplier: float | None = None
    """None for `groups.base_settings`."""
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
    head: HeadStart

    def named(self, verdict: str) -> list[Slope]:
        """Tensors of one verdict, the steepest first."""
        found = [slope for slope in self.slopes if slope.verdict == verdict]
        return sorted(found, key=lambda slope: -abs(slope.slope))

    @property
    def passed(self) -> bool:
        """Whether no slope is off and the head lasts."""
        return not self.named("off") and self.head.verdict != "weak"

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
        if self.head.verdict == "weak":
            return f"weak head: {self.describe_head()}; give it a larger init, or a smaller lr"
        if unclear:
            return f"no change is shown to follow {variable}, {len(unclear)} too noisy to tell"
        return f"every change is within {TOLERANCE:g} of flat in {variable}"

    def describe_head(self) -> str:
        """What its first updates make of the head."""
        return (
            f"of init {self.head.init_std:g}, in {HEAD_STEPS} steps it learns "
            f"{self.head.learnt:.2f} times its size"
        )

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
        lines.append(f"head: {self.describe_head()} ({self.head.verdict})")
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
            "passed": self.passed,
            "head": {
                "init_std": self.head.init_std,
                "learnt": self.head.learnt,
                "steps": HEAD_STEPS,
                "verdict": self.head.verdict,
            },
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

    def make_parts(shape: Shape) -> tuple[Parametrization, list[ParamGroup]]:
        return make_check_parts(spec, shape, base=shapes[0])

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
    head = measure_head(shapes[0], recipe, sequences, seeds=spec.seeds, on_model=on_model)
    return CheckResult(spec, measured, judge_coordinates(measured), head)


def make_check_parts(
    spec: CheckSpec, shape: Shape, *, base: Shape
) -> tuple[Parametrization, list[ParamGroup]]:
    """The rule and the groups of a model, as a run of this spec has them.

    Args:
        spec: of the check.
        shape: the model.
        base: the smallest, whose depth and head dim are the base's.

    Raises:
        InputError: a base that the rule has no use for, or a value out of range.
    """
    bases = {"base_d_model": spec.base_d_model}
    if spec.parametrization != "sp":
        bases["base_head_dim"] = base.head_dim
    if spec.parametrization == "completep":
        bases["base_n_layers"] = base.n_layers
    rule = make_parametrization(
        spec.parametrization,
        d_model=shape.d_model,
        n_layers=shape.n_layers,
        head_dim=shape.head_dim,
        **bases,
    )
    usual = base_settings(spec.parametrization, optimizer=spec.optimizer)
    multiplier = spec.embedding_multiplier
    rule = with_embedding_multiplier(
        rule, usual.embedding_multiplier if multiplier is None else multiplier
    )
    groups = param_groups(
        rule,
        optimizer=OPTIMIZERS[spec.optimizer],
        lr=spec.lr,
        weight_decay=WEIGHT_DECAY,
        init_std=usual.init_std if spec.init_std is None else spec.init_std,
        tied_embeddings=spec.tied_embeddings,
    )
    if spec.head_init_std is None:
        return rule, groups
    return rule, with_head_init(groups, init_std=spec.head_init_std)


def make_shapes(spec: CheckSpec, *, vocab_size: int) -> list[Shape]:
    """The models of a check, an MLP 8/3 as wide as the stream.

    Raises:
        InputError: a width that its heads do not divide, or heads that kv heads do not divide.
    """
    if spec.n_heads is not None and spec.n_heads < 1:
        raise InputError(f"coordinate check: {spec.n_heads} heads; at least 1")
    shapes: list[Shape] = []
    for d_model in spec.widths:
        heads = spec.n_heads or d_model // spec.head_dim
        head_dim = d_model // spec.n_heads if spec.n_heads else spec.head_dim
        if heads * head_dim != d_model or not head_dim:
            what = f"{spec.n_heads} heads" if spec.n_heads else f"heads of {spec.head_dim}"
            raise InputError(f"coordinate check: width {d_model} is no multiple of {what}")
        first = shapes[0].n_heads if shapes else heads
        shapes += [
            Shape(
                d_model=d_model,
                n_layers=n_layers,
                n_heads=heads,
                n_kv_heads=heads if spec.n_kv_heads is None else spec.n_kv_heads * heads // first,
                head_dim=head_dim,
                d_ff=d_model * 8 // 3,
                vocab_size=vocab_size,
                tied_embeddings=spec.tied_embeddings,
                qk_norm=spec.qk_norm,
            )
            for n_layers in spec.depths
        ]
    for shape in shapes:
        check_shape(shape, where="coordinate check")
    return shapes
