"""The forms that a law's quantity may take, each a function of named inputs.

A form says which inputs it needs, gives the value at a point, and, where its covariance can be
used, the gradient of ln(value) by coefficient name. Only `math` is used. Loss families are the rows
of `fitting.laws.loss`; the three-term surface and the loss against step live in
`fitting.laws.surface` and `fitting.curves`, and their names are listed here so that a law file can
be checked without them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fitting.laws.loss import FAMILIES, LossFamily, loss_log_gradient, predict_loss

if TYPE_CHECKING:
    from fitting.laws.law import Quantity

INPUTS = {
    "params": "N, parameters; non-embedding unless params_meaning says otherwise",
    "active_params": "parameters active for a token, non-embedding, of a sparse model",
    "experts": "experts of a sparse model",
    "tokens": "D, training tokens",
    "unique_tokens": "distinct training tokens",
    "tokens_per_param": "D / N",
    "flops": "6 N D",
    "model_flops": "M D with M = 6 N + 12 n_layers d_model seq_len",
    "model_flops_causal": "M D with M = 6 N + 6 n_layers d_model seq_len",
    "batch_tokens": "B, batch in tokens",
    "lr": "peak learning rate",
    "steps": "optimizer steps",
    "models": "K, models of an ensemble",
    "loss": "L, nats per token",
    "d_model": "width",
    "n_layers": "depth",
    "seq_len": "sequence length in tokens",
    "width_mult": "d_model over the base width",
    "depth_mult": "n_layers over the base depth",
}
"""Every input that a law may use, and what it means."""

MIXED_TERM = re.compile(r"[cabu][1-9]")
"""Coefficient names of the form `mixed-terms`: c1, a1, b1, u1, c2, ..."""

SURFACE_COEFFICIENTS = " ".join(
    f"{term}_{name}"
    for term in ("progress", "noise", "heat")
    for name in ("const", "params", "tokens", "lr", "batch_tokens")
)
"""The weights w of the three-term surface, by term and input."""


Point = Mapping[str, float]
"""Inputs of a law by name, all above 0; `INPUTS` lists them."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form: its coefficients, its inputs and its value."""

    formula: str
    """The equation in plain text, shown by `plan laws show`."""
    required: frozenset[str]
    """Coefficients that must be given."""
    positive: frozenset[str]
    """Those of them that must be above 0."""
    inputs: frozenset[str]
    """Inputs it always needs."""
    evaluate: Callable[[Quantity, Point], float | None]
    log_gradient: Callable[[Quantity, Point], dict[str, float]] | None = None
    """Gradient of ln(value) by the names that `covariance.names` uses."""
    exponents: bool = False
    """Whether further coefficients are exponents, named by their input."""
    numbered: bool = False
    """Whether further coefficients are those of numbered mixed terms."""

    def needs(self, coefficients: Mapping[str, float]) -> set[str]:
        """Inputs needed with these coefficients."""
        if not self.exponents:
            return set(self.inputs)
        return set(self.inputs) | (coefficients.keys() & INPUTS.keys())

    def allows(self, coefficient: str) -> bool:
        """Whether a coefficient of this name means something here."""
        if coefficient in self.required or (self.exponents and coefficient in INPUTS):
            return True
        return self.numbered and MIXED_TERM.fullmatch(coefficient) is not None


def evaluate_power(quantity: Quantity, point: Point) -> float:
    """scale * product of (x / x_ref)^exponent over the named inputs x."""
    return quantity.coefficients["scale"] * math.exp(log_relative(quantity, point))


def power_log_gradient(quantity: Quantity, point: Point) -> dict[str, float]:
    """Gradient of ln(value): 1 by `log_scale`, ln(x / x_ref) by each exponent."""
    gradient = {
        name: math.log(point[name] / quantity.reference.get(name, 1.0))
        for name in quantity.coefficients
        if name in INPUTS
    }
    return {"log_scale": 1.0} | gradient


def log_relative(quantity: Quantity, point: Point) -> float:
    """Sum of exponent * ln(x / x_ref): what exponents alone say of a move between two points."""
    return sum(
        exponent * math.log(point[name] / quantity.reference.get(name, 1.0))
        for name, exponent in quantity.coefficients.items()
        if name in INPUTS
    )


def evaluate_log_linear(quantity: Quantity, point: Point) -> float | None:
    """intercept + slope ln(params); None where that is not above 0."""
    c = quantity.coefficients
    value = c["intercept"] + c["slope"] * math.log(point["params"])
    return value if value > 0 else None


def evaluate_saturating(quantity: Quantity, point: Point) -> float:
    """Scale N^a D^b (1 + c B*/B)^-p with B* = batch_scale D^batch_exponent; N, D over references.

    Far below B* the value grows as B^p, far above it tends to a constant.
    """
    c = quantity.coefficients
    optimal_batch = c["batch_scale"] * point["tokens"] ** c["batch_exponent"]
    saturation = (1 + c["c"] * optimal_batch / point["batch_tokens"]) ** -c["p"]
    level = c["scale"] * math.exp(log_relative(quantity, point))
    return float(level * saturation)


def evaluate_ema_timescale(quantity: Quantity, point: Point) -> float:
    """Weight decay B / (lr D tau) with tau = scale (D/N)^tokens_per_param.

    tau is the fraction of the run that AdamW's weights average over.
    """
    tau = ema_fraction(quantity, point)
    return point["batch_tokens"] / (point["lr"] * point["tokens"] * tau)


def ema_fraction(quantity: Quantity, point: Point) -> float:
    """EMA timescale as a fraction of the run: scale (D/N)^tokens_per_param."""
    c = quantity.coefficients
    return float(c["scale"] * (point["tokens"] / point["params"]) ** c["tokens_per_param"])


def evaluate_stacking(quantity: Quantity, point: Point) -> float:
    """Tokens of a small model before it is stacked: 10^(params log10 N + flops / log10 C + c).

    N and C = 6 N D are those of the model that it grows into.
    """
    c = quantity.coefficients
    exponent = c["params"] * math.log10(point["params"]) + c["flops"] / math.log10(point["flops"])
    return float(10 ** (exponent + c["intercept"]))


def evaluate_table(quantity: Quantity, point: Point) -> float | None:
    """Rows by params, interpolated in log-log; None outside the rows."""
    rows = sorted((row["params"], row["value"]) for row in quantity.rows)
    params = point["params"]
    for (low, at_low), (high, at_high) in itertools.pairwise(rows):
        if low <= params <= high:
            share = math.log(params / low) / math.log(high / low)
            return math.exp((1 - share) * math.log(at_low) + share * math.log(at_high))
    return None


def evaluate_ensemble(quantity: Quantity, point: Point) -> float:
    """Loss of K models' mean prediction: E + c / K^a (arXiv 2509.14786)."""
    c = quantity.coefficients
    return float(c["E"] + c["c"] * point["models"] ** -c["a"])


def stay_silent(quantity: Quantity, point: Point) -> None:
    """No absolute value."""


def form(
    formula: str,
    evaluate: Callable[[Quantity, Point], float | None],
    *,
    required: str = "",
    positive: str = "",
    inputs: str = "",
    further: Literal["none", "exponents", "mixed terms"] = "none",
    log_gradient: Callable[[Quantity, Point], dict[str, float]] | None = None,
) -> Form:
    """A form whose names are given as words."""
    return Form(
        formula=formula,
        required=frozenset(required.split()),
        positive=frozenset(positive.split()),
        inputs=frozenset(inputs.split()),
        evaluate=evaluate,
        log_gradient=log_gradient,
        exponents=further == "exponents",
        numbered=further == "mixed terms",
    )


def loss_form(name: str, family: LossFamily) -> Form:
    """A family of the loss as a form."""

    def inputs(point: Point) -> dict[str, float]:
        return {key: point[key] for key in ("params", "tokens", "unique_tokens") if key in point}

    return form(
        family.formula,
        lambda quantity, point: predict_loss(name, quantity.coefficients, **inputs(point)),
        required=family.required,
        positive=family.positive,
        inputs="params tokens",
        further="mixed terms" if family.numbered else "none",
        log_gradient=lambda quantity, point: loss_log_gradient(
            name, quantity.coefficients, **inputs(point)
        ),
    )


FORMS: dict[str, Form] = {
    "power": form(
        "scale * product of (x / x_ref)^exponent",
        evaluate_power,
        required="scale",
        positive="scale",
        further="exponents",
        log_gradient=power_log_gradient,
    ),
    "exponents": form(
        "only the exponents are used, to move a tuned value",
        stay_silent,
        further="exponents",
        log_gradient=power_log_gradient,
    ),
    "log-linear": form(
        "intercept + slope ln N", evaluate_log_linear, required="intercept slope", inputs="params"
    ),
    "saturating": form(
        "scale N^params D^tokens (1 + c B*/B)^-p, B* = batch_scale D^batch_exponent",
        evaluate_saturating,
        required="scale params tokens c p batch_scale batch_exponent",
        positive="scale c batch_scale",
        inputs="params tokens batch_tokens",
        log_gradient=power_log_gradient,
    ),
    "ema-timescale": form(
        "B / (lr D tau), tau = scale (D/N)^tokens_per_param",
        evaluate_ema_timescale,
        required="scale tokens_per_param",
        positive="scale",
        inputs="params tokens batch_tokens lr",
    ),
    "stacking": form(
        "10^(params log10 N + flops / log10 C + intercept), N and C of the grown model",
        evaluate_stacking,
        required="params flops intercept",
        inputs="params flops",
    ),
    "table": form("rows by params, interpolated in log-log", evaluate_table, inputs="params"),
    "ensemble": form(
        "E + c / K^a", evaluate_ensemble, required="E c a", positive="c a", inputs="models"
    ),
    "text": form("in words", stay_silent),
    "three-term": form(
        "level (1 + sum of three exp(w . (1, ln N, ln D, ln lr, ln B))), see fitting.laws.surface",
        stay_silent,
        required=SURFACE_COEFFICIENTS,
        inputs="params tokens lr batch_tokens",
    ),
    "multi-power": form(
        "L0 + A S1^-alpha - B (S1/3)^(r-1) sum of D_k G(lr_k^-gamma S_k), see fitting.curves",
        stay_silent,
        required="L0 A alpha B C beta gamma q r",
        positive="L0 A alpha B C beta gamma q r",
    ),
    "annealing": form(
        "L0 + A S1^-alpha - C S2, loss against step, see fitting.curves",
        stay_silent,
        required="L0 A alpha C",
        positive="L0 A alpha C",
    ),
    "power-in-lr-sum": form(
        "L0 + A S1^-alpha, loss against step, see fitting.curves",
        stay_silent,
        required="L0 A alpha",
        positive="L0 A alpha",
    ),
} | {name: loss_form(name, family) for name, family in FAMILIES.items()}
"""Every form that a law file may name."""
