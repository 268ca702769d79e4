"""From the lr that a law gives to the lr that is planned: optimizers and parametrizations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError
from fitting.intervals import Z80
from fitting.laws.law import Law
from proxies.run.parametrization import (
    OPTIMIZERS,
    Parametrization,
    make_parametrization,
    multipliers,
)

if TYPE_CHECKING:
    from planner.facts.anchor import Anchor
    from planner.request.choices import Choices
    from proxies.run.shape import Shape

CONVERTED = {
    "lion": "lion takes a fifth of its lr and five times its weight decay",
    "muon": "muon takes its lr and weight decay, with the update times 0.2 sqrt(max(rows, columns))"
    " as Moonshot's (torch: match_rms_adamw); other muons want another lr",
}
"""How AdamW's numbers become another optimizer's, in words."""

CONVERSION_LOG_SD = math.log(2) / 2
"""Of an lr carried from AdamW under SP to muP, CompleteP or Muon: half a factor of two; assumed."""

LION_LR_LOG_SD = math.log(10 / 3) / 2 / Z80
"""Of ln(AdamW's lr / Lion's), so that the published 3 to 10 is an 80% interval; assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """From the lr that a law gives to the lr that is planned."""

    factor: float
    """Planned lr over the law's."""
    log_sd: float
    """Uncertainty of ln(factor); 0 where it is a rule of the parametrization."""
    reasons: tuple[str, ...]
    """One sentence for each part of the factor; empty when there is none."""


def convert_lr(law: Law, choices: Choices, parametrization: Parametrization) -> Conversion:
    """Factor from a law's lr to the planned optimizer and parametrization.

    A law of one parametrization serves another only through SP, whose lr the hidden matrices
    keep; a law of the planned optimizer and parametrization is used as it is.

    Raises:
        InputError: the law was measured under muP or CompleteP, and the plan is not.
    """
    factor, log_sd, reasons = 1.0, 0.0, []
    optimizer = OPTIMIZERS[choices.optimizer]
    measured_with = measured_optimizer(law)
    if choices.optimizer != measured_with:
        if measured_with != "adamw":
            raise InputError(
                f"law {law.name}: measured with {measured_with}, the plan is for "
                f"{choices.optimizer}; add --optimizer {measured_with} or choose another law"
            )
        factor /= optimizer.adamw_factor
        log_sd = conversion_log_sd(choices.optimizer)
        reasons.append(
            f"{law.name} was measured with adamw; {CONVERTED[choices.optimizer]} (assumed); "
            "tune it at a small size"
        )
    measured_in = law.range.parametrization or "sp"
    if choices.parametrization != measured_in:
        if measured_in != "sp":
            raise InputError(
                f"law {law.name}: measured under {measured_in}, the plan is under "
                f"{choices.parametrization}; add --parametrization {measured_in} or choose another"
            )
        log_sd = math.hypot(log_sd, CONVERSION_LOG_SD)
        width = 1 / multipliers(parametrization, optimizer=optimizer).matrix_lr
        factor *= width
        reasons.append(
            f"{law.name} was measured under sp; hidden matrices keep its lr under "
            f"{choices.parametrization}, so the base lr is {width:g} times it (assumed); "
            "check it with a small model"
        )
    return Conversion(factor=factor, log_sd=log_sd, reasons=tuple(reasons))


def converted_law(law: Law, optimizer: str) -> Law:
    """A law of AdamW's lr as another optimizer's, its scatter wider by what that may be off."""
    part = law.quantities["lr"]
    factor = OPTIMIZERS[optimizer].adamw_factor
    moved = replace(
        part,
        coefficients=part.coefficients | {"scale": part.coefficients["scale"] / factor},
        scatter=math.hypot(part.scatter or 0.0, conversion_log_sd(optimizer)),
    )
    return replace(law, quantities={**law.quantities, "lr": moved})


def conversion_log_sd(optimizer: str) -> float:
    """Of ln(lr) carried from AdamW to another optimizer."""
    return LION_LR_LOG_SD if optimizer == "lion" else CONVERSION_LOG_SD


def measured_optimizer(law: Law) -> str:
    """The optimizer of a law's runs; Adam's lr is taken as AdamW's."""
    return {None: "adamw", "adam": "adamw"}.get(law.range.optimizer, law.range.optimizer or "")


def convert_anchor(law: Law, anchor: Anchor, choices: Choices, shape: Shape) -> Conversion:
    """From a law's lr to the lr of an anchor, so that dividing by the factor compares the two.

    An anchor of the plan's own parametrization has passed the same rule as the plan, whose error
    therefore cancels; one of another parametrization comes over by the width rule.

    Args:
        law: the lr law.
        anchor: what was tuned.
        choices: the plan's optimizer, parametrization and base sizes.
        shape: the anchor's, or a usual one of its params.

    Raises:
        InputError: the anchor was tuned with another optimizer.
    """
    optimizer = OPTIMIZERS[choices.optimizer]
    if anchor.optimizer not in (None, choices.optimizer):
        raise InputError(
            f"--anchor {anchor.name}: tuned with {anchor.optimizer}, the plan is for "
            f"{choices.optimizer}; add --optimizer {anchor.optimizer} or leave the anchor out"
        )
    factor = 1.0
    if measured_optimizer(law) != choices.optimizer:
        factor /= optimizer.adamw_factor
    tuned_in = anchor.parametrization or choices.parametrization
    base = anchor.base_d_model or choices.base_d_model
    d_model = anchor.d_model or shape.d_model

    def matrix_lr(name: str) -> float:
        rule = make_parametrization(
            name,
            d_model=d_model,
            n_layers=shape.n_layers,
            head_dim=shape.head_dim,
            base_d_model=None if name == "sp" else base,
            base_n_layers=choices.base_n_layers if name == "completep" else None,
        )
        return multipliers(rule, optimizer=optimizer).matrix_lr

    factor *= matrix_lr(law.range.parametrization or "sp") / matrix_lr(tuned_in)
    if tuned_in == choices.parametrization:
        return Conversion(factor=factor, log_sd=0.0, reasons=())
    return Conversion(
        factor=factor,
        log_sd=CONVERSION_LOG_SD,
        reasons=(
            f"{anchor.name}: tuned under {tuned_in} at width {d_model}, its hidden matrices keep "
            f"their lr under {choices.parametrization} by the width rule (assumed)",
        ),
    )
