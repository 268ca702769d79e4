"""How lr, weight decay, init and forward multipliers change with width and depth.

With m = d_model / base width and r = n_layers / base layers (CompleteP's table 1, alpha = 1):

    tensor                      SP           muP                    CompleteP
    embedding, final norm,
      output head               init s, lr   same                   same
    hidden matrix               init s       s / sqrt(m)            s / sqrt(m)
                                lr, wd       lr / m, wd m           lr r^(alpha-1) / m, wd m
    block norms, hidden biases  lr           lr                     lr r^(alpha-1)
    eps inside blocks           eps          eps / m                eps r^-alpha / m
    eps of the others           eps          eps / m                eps / m
    attention logits            1/sqrt(h)    sqrt(base h) / h       sqrt(base h) / h
    residual branches           1            1                      r^-alpha
    output logits               1            1 / m                  1 / m

At m = r = 1 with the base's head dim h all three are one model, number for number. Weight decay
is torch's coupled AdamW (decay by lr times wd), so lr times wd of a hidden matrix is width-free.

Sources: Yang et al. 2022 (arXiv 2203.03466, muP); Dey et al. 2025 (arXiv 2505.01618, CompleteP)
and its code, EleutherAI/nanoGPT-mup, branch completep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.run.defaults import BETAS, EPS, GRAD_CLIP, LION_BETAS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_BASE_D_MODEL = 256
"""Base width where none is given: CompleteP's, Cerebras-GPT's and MiniCPM's."""

COMPLETEP_ALPHA = 1.0
"""Depth exponent alpha that CompleteP recommends; its table also allows 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrization:
    """A rule of width and depth, applied to one model: its forward multipliers."""

    name: str
    """A key of `RULES`: sp, mup or completep."""
    base_d_model: int
    base_n_layers: int
    base_head_dim: int
    width_mult: float
    """m = d_model / base_d_model."""
    depth_mult: float
    """r = n_layers / base_n_layers."""
    embedding_multiplier: float
    """On the token embedding's output."""
    attention_scale: float
    """On query times key, before the softmax."""
    residual_multiplier: float
    """On the output of every attention and MLP branch before it is added."""
    logits_multiplier: float
    """On the output head's logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """An optimizer and its constants; `OPTIMIZERS` has each with its usual ones."""

    name: str
    """adamw, lion or muon."""
    beta1: float
    """In [0, 1); under Muon that of the AdamW groups, like beta2 and eps."""
    beta2: float
    eps: float | None
    """Base eps; None for Lion, which has none."""
    grad_clip: float | None = GRAD_CLIP
    """Largest norm of the whole gradient, > 0; None for no limit."""

    @property
    def adamw_factor(self) -> float:
        """AdamW's lr over its own, and its weight decay over AdamW's, for the same run."""
        return ADAMW_FACTORS.get(self.name, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """One column of the table, as factors on the base values; all 1 is SP."""

    matrix_init: float = 1.0
    matrix_lr: float = 1.0
    matrix_weight_decay: float = 1.0
    block_vector_lr: float = 1.0
    block_eps: float = 1.0
    outer_eps: float = 1.0
    """On the eps of embedding, final norm and head: their gradients, too, shrink as 1/m."""
    residual: float = 1.0
    logits: float = 1.0


def make_parametrization(
    name: str,
    *,
    d_model: int,
    n_layers: int,
    head_dim: int,
    base_d_model: int | None = None,
    base_n_layers: int | None = None,
    base_head_dim: int | None = None,
) -> Parametrization:
    """The forward multipliers of one model under SP, muP or CompleteP.

    Args:
        name: a key of `RULES`.
        d_model: width of the model, at least 1.
        n_layers: depth of the model, at least 1.
        head_dim: width of a head, at least 1.
        base_d_model: width at which the base values hold; None for 256, under SP the model's.
        base_n_layers: depth at which they hold: CompleteP's, which is muP without it.
        base_head_dim: head width at which attention is 1/sqrt(head_dim); None for the model's.

    Raises:
        InputError: an unknown name, a size below 1, a base that the rule has no use for, or
            CompleteP without its base depth.

    Example:
        >>> mup = make_parametrization("mup", d_model=1024, n_layers=16, head_dim=64)
        >>> mup.width_mult, mup.attention_scale, mup.logits_multiplier
        (4.0, 0.125, 0.25)
    """
    if name not in RULES:
        raise InputError(
            f"parametrization '{name}': not known{nearest_name(name, RULES)}; "
            f"known: {', '.join(RULES)}"
        )
    _check_base(name, "base width", base_d_model, d_model, used=name != "sp")
    _check_base(name, "base layers", base_n_layers, n_layers, used=name == "completep")
    _check_base(name, "base head dim", base_head_dim, head_dim, used=name != "sp")
    if name == "completep" and base_n_layers is None:
        raise InputError(
            "parametrization completep: is mup where no base depth is given; "
            "give --base-layers (base_n_layers), or say mup"
        )
    if base_d_model is None:
        base_d_model = d_model if name == "sp" else DEFAULT_BASE_D_MODEL
    base_n_layers = n_layers if base_n_layers is None else base_n_layers
    base_head_dim = head_dim if base_head_dim is None else base_head_dim
    width_mult, depth_mult = d_model / base_d_model, n_layers / base_n_layers
    factors = RULES[name](width_mult, depth_mult)
    return Parametrization(
        name=name,
        base_d_model=base_d_model,
        base_n_layers=base_n_layers,
        base_head_dim=base_head_dim,
        width_mult=width_mult,
        depth_mult=depth_mult,
        embedding_multiplier=1.0,
        # sqrt(base) / h, in this order so that the base is exactly 1/sqrt(h).
        attention_scale=1 / math.sqrt(head_dim) * math.sqrt(base_head_dim / head_dim),
        residual_multiplier=factors.residual,
        logits_multiplier=factors.logits,
    )


def with_embedding_multiplier(parametrization: Parametrization, value: float) -> Parametrization:
    """The same rule with a multiplier on the token embedding's output, one for every size.

    Raises:
        InputError: it is not a finite number above 0.
    """
    if not 0 < value < math.inf:
        raise InputError(f"embedding multiplier {value}: must be a finite number above 0")
    return replace(parametrization, embedding_multiplier=value)


def multipliers(parametrization: Parametrization, *, optimizer: Optimizer) -> Multipliers:
    """The table's factors at this model's size, with what the optimizer changes in them.

    Lion's update, like Adam's, has entries near 1 whatever the gradient's size, so it follows
    Adam's column (assumed). Muon's has all singular values alike: scaled to AdamW's size of
    entries, 0.2 sqrt(max(rows, columns)), its spectral norm grows with sqrt(m). The spectral
    condition (update norm as sqrt(fan_out / fan_in), constant here) then asks for lr / sqrt(m),
    and weight decay times sqrt(m) keeps their product (assumed).

    Raises:
        InputError: Muon with a depth multiplier, for which no source gives the rule.

    Source:
        Yang et al. 2023 (arXiv 2310.17813), spectral condition; Liu et al. 2025 (arXiv
        2502.16982), Muon's scale. arXiv 2512.05620 reports that weight decay as 1/width is
        better for Muon: not followed, because it counts another lr.
    """
    factors = RULES[parametrization.name](parametrization.width_mult, parametrization.depth_mult)
    if optimizer.name != "muon" or parametrization.name == "sp":
        return factors
    if parametrization.name == "completep" and parametrization.depth_mult != 1:
        raise InputError(
            f"optimizer muon: no source gives its rule at depth multiplier "
            f"{parametrization.depth_mult:g} under completep; "
            "leave out --base-layers, or use mup or adamw"
        )
    growth = math.sqrt(parametrization.width_mult)
    return replace(factors, matrix_lr=1 / growth, matrix_weight_decay=growth)


def convert_adamw_law(
    *, lr: float, weight_decay: float, optimizer: Optimizer
) -> tuple[float, float]:
    """lr and weight decay for `optimizer` from those that a law gives for AdamW.

    Lion: lr / 5 and weight decay times 5, so that their product is kept (assumed: reports range
    from 3 to 10). Muon at Moonshot's scale shares AdamW's values.

    Example:
        >>> convert_adamw_law(lr=1e-3, weight_decay=0.1, optimizer=OPTIMIZERS["lion"])
        (0.0002, 0.5)

    Source:
        Chen et al. 2023 (arXiv 2302.06675), Lion; Liu et al. 2025 (arXiv 2502.16982), Muon.
    """
    return lr / optimizer.adamw_factor, weight_decay * optimizer.adamw_factor


def convert_sp_law(
    *, lr: float, weight_decay: float, parametrization: Parametrization, optimizer: Optimizer
) -> tuple[float, float]:
    """Base lr and weight decay that give hidden matrices what an SP law says at this size.

    For AdamW base lr = lr times m and base weight decay = weight decay / m, so the matrices get
    the law's own two values and every group keeps their product. Assumed: the law was fitted with
    all groups at one lr, and here embedding, norms and head get m times that (Muon: sqrt(m)).

    Example:
        >>> mup = make_parametrization("mup", d_model=1024, n_layers=16, head_dim=64)
        >>> convert_sp_law(
        ...     lr=1e-3, weight_decay=0.1, parametrization=mup, optimizer=OPTIMIZERS["adamw"]
        ... )
        (0.004, 0.025)
    """
    factors = multipliers(parametrization, optimizer=optimizer)
    return lr / factors.matrix_lr, weight_decay / factors.matrix_weight_decay


def _check_base(name: str, what: str, base: int | None, own: int, *, used: bool) -> None:
    """Refuse a size below 1, and a base that changes nothing."""
    if own < 1:
        raise InputError(f"parametrization {name}: {what} for a model of {own}; at least 1")
    if base is None:
        return
    if base < 1:
        raise InputError(f"parametrization {name}: {what} {base}; at least 1")
    if base != own and not used:
        raise InputError(
            f"parametrization {name}: {what} {base} has no effect; "
            f"leave it out, or use {'completep' if name == 'mup' else 'mup or completep'}"
        )


def _completep(m: float, r: float) -> Multipliers:
    return Multipliers(
        matrix_init=1 / math.sqrt(m),
        matrix_lr=r ** (COMPLETEP_ALPHA - 1) / m,
        matrix_weight_decay=m,
        block_vector_lr=r ** (COMPLETEP_ALPHA - 1),
        block_eps=r**-COMPLETEP_ALPHA / m,
        outer_eps=1 / m,
        residual=r**-COMPLETEP_ALPHA,
        logits=1 / m,
    )


OPTIMIZERS: Mapping[str, Optimizer] = {
    "adamw": Optimizer(name="adamw", beta1=BETAS[0], beta2=BETAS[1], eps=EPS),
    "lion": Optimizer(name="lion", beta1=LION_BETAS[0], beta2=LION_BETAS[1], eps=None),
    "muon": Optimizer(name="muon", beta1=BETAS[0], beta2=BETAS[1], eps=EPS),
}
"""An optimizer by name with its default constants; Lion's betas are its paper's."""

ADAMW_FACTORS: Mapping[str, float] = {"lion": 5.0}
"""AdamW's lr over an optimizer's own, where they differ; see `convert_adamw_law`."""

RULES: Mapping[str, Callable[[float, float], Multipliers]] = {
    "sp": lambda _m, _r: Multipliers(),
    "mup": lambda m, _r: _completep(m, 1.0),
    "completep": _completep,
}
"""A parametrization by name: its column of the table at multipliers m and r. CompleteP at r = 1
is muP."""
