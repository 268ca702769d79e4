"""Coordinate check: do activations move by the same amount whatever the width or the depth?

Small models that differ in one size only take a few optimizer steps on one batch. A rule that
carries an lr from size to size keeps the change of every activation since the start, so the slope
of ln(root mean square change) on ln(size) is 0. A size itself may shrink and be right: muP's
logits start as 1 / sqrt(m), and a residual branch of depth r adds 1 / r. So changes are judged.

What is random at the start, and adds up to nothing at infinite size, is started at zero: the
head and the queries, in a check of depth also what the branches put out. It would show as a slope
of up to -1/2 at the small sizes that a check can afford.

Source: Yang et al. 2022 (arXiv 2203.03466), appendix D: check, zero head and queries; Dey et al.
2025 (arXiv 2505.01618) for depth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fitting.errors import FitError, InputError
from proxies.model.activations import read_activations
from proxies.model.optimizers import make_optimizers
from proxies.model.transformer import ProxyModel, make_model
from proxies.run.groups import ParamGroup
from proxies.run.parametrization import Parametrization
from proxies.run.shape import Shape

TOLERANCE = 0.05
"""Slope that still counts as flat (this project's bar): 15% over widths a factor of 16 apart."""

LEAST_STEPS = 3
"""From zero the head moves first, then what writes to the stream, then queries and keys."""

SURE = 3.0
"""Standard errors outside the tolerance that make a slope off: a dozen are judged at once."""

LEAST_CHANGE = 1e-4
"""Change over size of the residual stream below which float32's rounding would be measured."""

Recipe = Callable[[Shape], tuple[Parametrization, Sequence[ParamGroup]]]
"""How a model of a shape is parametrized: the thing that is checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """What was measured; arrays have axes (size, seed, step, tensor), step 0 is the start."""

    variable: str
    """The size that differs: width or depth."""
    sizes: tuple[int, ...]
    """d_model or layers, rising."""
    heads_widen: bool
    """Whether head_dim differs too; then attention logits may shrink, see `judge_coordinates`."""
    tied: bool
    """Whether the head is the embedding; then logits may shrink, as it cannot start at zero."""
    tensors: tuple[str, ...]
    """Names: a kind of `activations.KINDS` with its layer before it."""
    rms: npt.NDArray[np.float64]
    """Root mean square of the activation."""
    change: npt.NDArray[np.float64]
    """Root mean square of its difference from step 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How the change of one tensor follows size."""

    tensor: str
    slope: float
    """d ln(change) / d ln(size) after the last step, all seeds together."""
    standard_error: float
    """Of the slope."""
    start_slope: float | None
    """d ln(rms) / d ln(size) at the start; None where the tensor starts at zero."""
    verdict: str
    """flat: within `TOLERANCE`; off: outside by more than 3 standard errors; else unclear. shrinks:
    attention logits below -`TOLERANCE` where heads widen, or logits where the head is the
    embedding, which is no fault."""


def measure_coordinates(
    shapes: Sequence[Shape],
    recipe: Recipe,
    sequences: Tensor,
    *,
    steps: int,
    seeds: int,
    on_model: Callable[[], None] | None = None,
) -> Coordinates:
    """Train every shape for a few steps, from several seeds, and measure its activations.

    Args:
        shapes: three or more that differ in width or in depth, not both, in rising order.
        recipe: gives each shape its parametrization and groups.
        sequences: the one batch, token ids (B, T + 1), the last of each a target only.
        steps: updates, at least `LEAST_STEPS`, each at the groups' peak lr.
        seeds: models a shape, at least 1.
        on_model: called after each model.

    Raises:
        InputError: shapes that do not differ as said, too few steps or seeds, or an lr too small
            to move anything.
        FitError: an activation that is not finite.
    """
    variable, sizes = differing_size(shapes)
    if steps < LEAST_STEPS:
        raise InputError(f"coordinate check: {steps} steps; at least {LEAST_STEPS} move everything")
    if seeds < 1:
        raise InputError(f"coordinate check: {seeds} seeds; at least 1")
    measured = []
    for shape, size in zip(shapes, sizes, strict=True):
        for seed in range(seeds):
            model = start_model(shape, recipe, variable=variable, seed=seed, sequences=sequences)
            rows = train_model(model, recipe(shape)[1], sequences, variable=variable, steps=steps)
            check_rows(rows, where=f"coordinate check at {variable} {size}")
            measured.append(rows)
            if on_model is not None:
                on_model()
    tensors = tuple(measured[0][0])
    values = np.array([[[row[name] for name in tensors] for row in rows] for rows in measured])
    values = values.reshape(len(shapes), seeds, steps + 1, len(tensors), 2)
    return Coordinates(
        variable=variable,
        sizes=sizes,
        heads_widen=len({shape.head_dim for shape in shapes}) > 1,
        tied=shapes[0].tied_embeddings,
        tensors=tensors,
        rms=values[..., 0],
        change=values[..., 1],
    )


def judge_coordinates(coordinates: Coordinates) -> list[Slope]:
    """The slope of every tensor's change after the last step, with its verdict.

    Attention logits are query times key over head_dim: what is learnt in common adds up to the
    same whatever head_dim, and what is learnt of other tokens is noise that shrinks as
    1 / sqrt(head_dim). In a few steps noise is most of it, so where heads widen only growth is off.
    The same holds of logits by a head that is the embedding: its random part times what the stream
    learns adds up to nothing at infinite width.
    """
    found = []
    for number, tensor in enumerate(coordinates.tensors):
        slope, error = fit_slope(coordinates.sizes, coordinates.change[:, :, -1, number])
        start = coordinates.rms[:, :, 0, number]
        found.append(
            Slope(
                tensor=tensor,
                slope=slope,
                standard_error=error,
                start_slope=fit_slope(coordinates.sizes, start)[0] if start.all() else None,
                verdict=judge_slope(
                    slope,
                    error,
                    may_shrink=(coordinates.heads_widen and tensor.endswith("attention logits"))
                    or (coordinates.tied and tensor == "logits"),
                ),
            )
        )
    return found


def judge_slope(slope: float, standard_error: float, *, may_shrink: bool) -> str:
    """The verdict of `Slope`."""
    if may_shrink and slope < -TOLERANCE:
        return "shrinks"
    excess = abs(slope) - TOLERANCE
    return "flat" if excess <= 0 else "off" if excess > SURE * standard_error else "unclear"


def fit_slope(sizes: Sequence[int], values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Least-squares slope of ln(value) on ln(size), and its standard error.

    Args:
        sizes: two or more, > 0.
        values: (size, seed), > 0, three or more in all.

    Example:
        >>> slope, error = fit_slope([1, 2, 4], np.array([[1.0], [4.0], [16.0]]))
        >>> round(slope, 12), round(error, 12)
        (2.0, 0.0)
    """
    log_size = np.repeat(np.log(sizes), values.shape[1])
    log_value = np.log(values).ravel()
    x, y = log_size - log_size.mean(), log_value - log_value.mean()
    slope = float(x @ y / (x @ x))
    variance = float(np.square(y - slope * x).sum()) / (len(x) - 2)
    return slope, math.sqrt(variance / float(x @ x))


def differing_size(shapes: Sequence[Shape]) -> tuple[str, tuple[int, ...]]:
    """Whether width or depth differs, and its values.

    Raises:
        InputError: fewer than three shapes, both sizes differ, or sizes that do not rise.
    """
    widths = tuple(shape.d_model for shape in shapes)
    depths = tuple(shape.n_layers for shape in shapes)
    variable, sizes, other = ("width", widths, depths)
    if len(set(widths)) == 1:
        variable, sizes, other = ("depth", depths, widths)
    if len(set(other)) != 1:
        raise InputError("coordinate check: widths and depths both differ; vary one of them")
    if len(sizes) < 3 or any(a >= b for a, b in pairwise(sizes)):
        raise InputError(
            f"coordinate check: {variable}s {', '.join(map(str, sizes))}; "
            "a slope needs three or more, in rising order"
        )
    return variable, sizes


def start_model(
    shape: Shape, recipe: Recipe, *, variable: str, seed: int, sequences: Tensor
) -> ProxyModel:
    """A fresh model with the weights of `STARTS_AT_ZERO` set to zero."""
    parametrization, groups = recipe(shape)
    length = sequences.shape[1] - 1
    model = make_model(shape, parametrization, groups, seq_len=length, seed=seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if re.fullmatch(STARTS_AT_ZERO[variable], name):
                parameter.zero_()
    return model


def train_model(
    model: ProxyModel,
    groups: Sequence[ParamGroup],
    sequences: Tensor,
    *,
    variable: str,
    steps: int,
) -> list[dict[str, tuple[float, float]]]:
    """Each step's (rms, rms of the change) by tensor; row 0 is before the first update."""
    tokens, targets = sequences[:, :-1], sequences[:, 1:]
    last = model.shape.n_layers - 1
    places = {number: f"layer {number}" for number in range(last + 1)}
    if variable == "depth":
        places = {0: "first layer", last: "last layer"}
    optimizers = make_optimizers(model, groups)
    start = read_activations(model, tokens, places=places)
    if variable == "depth" and last > 0:
        # One layer of r adds 1 / r of what all add: this stream is meant to stand still.
        del start["first layer residual stream"]
    rows = [{name: (rms(value), 0.0) for name, value in start.items()}]
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        # torch's Tensor.backward has no types.
        torch.autograd.backward(model.loss(tokens, targets))
        for optimizer in optimizers:
            optimizer.step()
        now = read_activations(model, tokens, places=places)
        rows.append({name: (rms(now[name]), rms(now[name] - old)) for name, old in start.items()})
    return rows


def check_rows(rows: Sequence[dict[str, tuple[float, float]]], *, where: str) -> None:
    """Refuse activations that are not finite, or that hardly moved.

    Raises:
        InputError: the residual stream moved by less than `LEAST_CHANGE` of itself.
        FitError: an activation that is not finite.
    """
    for step, row in enumerate(rows):
        for name, values in row.items():
            if not all(map(math.isfinite, values)):
                raise FitError(f"{where}: {name} is not finite after step {step}; lower the lr")
    stream = next(name for name in reversed(rows[0]) if name.endswith("residual stream"))
    size, change = rows[0][stream][0], rows[-1][stream][1]
    if not change > LEAST_CHANGE * size or not all(change for _, change in rows[-1].values()):
        raise InputError(
            f"{where}: the {stream} moved by {change / size:.1e} of its size; raise the lr"
        )


def rms(values: Tensor) -> float:
    """Root mean square."""
    return values.square().mean().sqrt().item()


STARTS_AT_ZERO = {
    "width": r"lm_head\.weight|.*\.q_proj\.weight",
    "depth": r"lm_head\.weight|.*\.(q|o|down)_proj\.weight",
}
"""Parameters that start at zero, by the size that is checked; tied, the head is the embedding."""
