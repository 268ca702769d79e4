"""Parameters that share optimizer settings, and which parameter belongs to which.

`param_groups` turns a parametrization and base values into the absolute lr, weight decay, eps and
init of every group: the same list prints a 70B plan and trains a proxy.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fitting.errors import InputError, nearest_name
from proxies.run.parametrization import Multipliers, Optimizer, Parametrization, multipliers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_INIT_STD = 0.02
"""Standard deviation s of the initial weights: GPT-2's, and CompleteP's code."""

MUON_MOMENTUM = 0.95
"""Muon's Nesterov momentum in its original recipe, Moonshot's and nanochat's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamGroup:
    """Parameters that share absolute optimizer settings."""

    name: str
    """embedding, matrices, block_vectors, final_norm or head."""
    pattern: str
    """Regular expression that one parameter name matches from end to end, see `PATTERNS`."""
    optimizer: str
    """adamw, lion or muon. Muon is Moonshot's: orthogonal update times 0.2 sqrt(max(rows,
    columns)), weight decay with the lr as it stands here; torch calls it match_rms_adamw."""
    lr: float
    """Peak lr."""
    weight_decay: float
    betas: tuple[float, ...]
    """(beta1, beta2); for Muon its Nesterov momentum alone."""
    eps: float | None
    """None where the optimizer has none."""
    init_std: float | None
    """None where nothing is drawn: norm gains start at 1, biases at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSettings:
    """How a run of a parametrization starts where nothing is said."""

    init_std: float
    """Base standard deviation of the initial weights."""
    embedding_multiplier: float
    """On the token embedding's output."""
    warmup_fraction: float | None
    """Of a proxy's steps; None for the schedule's own default."""


@dataclass(frozen=True, slots=True)
class DecayFactors:
    """Weight decay over its base value; norm gains and biases never decay, the head at 1."""

    matrices: float
    embedding: float


def param_groups(
    parametrization: Parametrization,
    *,
    optimizer: Optimizer,
    lr: float,
    weight_decay: float,
    init_std: float = DEFAULT_INIT_STD,
    decay_rule: str = "coupled",
    tied_embeddings: bool,
) -> list[ParamGroup]:
    """Absolute lr, weight decay, eps and init of every parameter group.

    Norm gains and biases do not decay. Under the coupled rule embedding and head decay with the
    base value, as in CompleteP's code. (Megatron does the same; OLMo 2 spares the embedding too.)
    Under Muon the hidden matrices are Muon's and the rest AdamW's.

    Args:
        parametrization: the rule at this model's size.
        optimizer: with its constants; eps is the base value.
        lr: base peak lr of `optimizer`, > 0: that of a group whose multiplier is 1.
        weight_decay: base weight decay, >= 0.
        init_std: base standard deviation s of the initial weights, > 0.
        decay_rule: a key of `DECAY_RULES`: how weight decay follows width.
        tied_embeddings: whether the head is the embedding; then there is no head group.

    Raises:
        InputError: a value out of range, an unknown rule, or Muon with a depth multiplier (no
            source gives one).
    """
    _check_positive(lr=lr, init_std=init_std)
    if not 0 <= weight_decay < math.inf:
        raise InputError(f"weight decay {weight_decay}: must be a finite number, 0 or above")
    if decay_rule not in DECAY_RULES:
        raise InputError(
            f"weight decay rule '{decay_rule}': not known{nearest_name(decay_rule, DECAY_RULES)}; "
            f"known: {', '.join(DECAY_RULES)}"
        )
    factors = multipliers(parametrization, optimizer=optimizer)
    decay = DECAY_RULES[decay_rule](parametrization, factors)
    block_eps = outer_eps = None
    if optimizer.eps is not None:
        block_eps = optimizer.eps * factors.block_eps
        outer_eps = optimizer.eps * factors.outer_eps
    embedding = ParamGroup(
        name="embedding",
        pattern=PATTERNS["embedding"],
        optimizer="adamw" if optimizer.name == "muon" else optimizer.name,
        lr=lr,
        weight_decay=weight_decay * decay.embedding,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=outer_eps,
        init_std=init_std,
    )
    head = replace(embedding, name="head", pattern=PATTERNS["head"], weight_decay=weight_decay)
    matrices = replace(
        embedding,
        name="matrices",
        pattern=PATTERNS["matrices"],
        lr=lr * factors.matrix_lr,
        weight_decay=weight_decay * decay.matrices,
        eps=block_eps,
        init_std=init_std * factors.matrix_init,
    )
    if optimizer.name == "muon":
        matrices = replace(matrices, optimizer="muon", betas=(MUON_MOMENTUM,), eps=None)
    final_norm = replace(
        embedding,
        name="final_norm",
        pattern=PATTERNS["final_norm"],
        weight_decay=0.0,
        init_std=None,
    )
    block_vectors = replace(
        final_norm,
        name="block_vectors",
        pattern=PATTERNS["block_vectors"],
        lr=lr * factors.block_vector_lr,
        eps=block_eps,
    )
    groups = [embedding, matrices, block_vectors, final_norm, head]
    return groups[:-1] if tied_embeddings else groups


def base_settings(parametrization: str, *, optimizer: str) -> BaseSettings:
    """How a run starts where nothing is said.

    muP and CompleteP move a base point's optimum to other sizes, so the base point must be a good
    one: from `PLAIN` at base width 64 the first ten updates overwrite the head, as `plan proxy
    coord-check --base-width 64 --init-std 0.02` shows, and the best lr rose as width^0.16. `TUNED`
    was published with AdamW only, so that other optimizers keep the plain start.
    """
    return TUNED if parametrization != "sp" and optimizer == "adamw" else PLAIN


def with_head_init(groups: Sequence[ParamGroup], *, init_std: float) -> list[ParamGroup]:
    """The same groups with an init of its own for the output head.

    Raises:
        InputError: the head is the embedding, or a standard deviation that is not above 0.
    """
    if groups[-1].name != "head":
        raise InputError(
            f"head init std {init_std:g}: the head is the embedding; give init std alone, or untie"
        )
    _check_positive(head_init_std=init_std)
    return [*groups[:-1], replace(groups[-1], init_std=init_std)]


def group_of(name: str, groups: Sequence[ParamGroup]) -> ParamGroup:
    """The only group whose pattern the parameter's name matches from end to end."""
    (found,) = (group for group in groups if re.fullmatch(group.pattern, name))
    return found


def _check_positive(**values: float) -> None:
    """Refuse what is not a finite number above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            what = name.replace("_", " ")
            raise InputError(f"{what} {value}: must be a finite number above 0")


PLAIN = BaseSettings(init_std=DEFAULT_INIT_STD, embedding_multiplier=1.0, warmup_fraction=None)
"""SP's usual start."""

TUNED = BaseSettings(init_std=0.08, embedding_multiplier=10.0, warmup_fraction=0.1)
"""Cerebras-GPT's under muP, tuned at width 256 (Dey et al. 2023, arXiv 2304.03208, with the
configs of its code: Cerebras modelzoo, gpt3 `*_mup.yaml`)."""

PATTERNS: Mapping[str, str] = {
    "embedding": r"(.*\.)?embed_(tokens|positions)\.weight",
    "matrices": r"(.*\.)?layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight",
    "block_vectors": r"(.*\.)?layers\.\d+\.(\w+\.)*(\w*norm\.(weight|bias)|\w+_proj\.bias)",
    "final_norm": r"((?!layers\.)\w+\.)*norm\.(weight|bias)",
    "head": r"(.*\.)?lm_head\.weight",
}
"""Group to parameter names, to be matched from end to end.

The names are those of transformers' LLaMA-like models: model.embed_tokens,
model.layers.N.self_attn.{q,k,v,o}_proj, model.layers.N.mlp.{gate,up,down}_proj,
model.layers.N.{input,post_attention}_layernorm, q_norm and k_norm, model.norm, lm_head; learned
positions are embed_positions. Every such name matches one pattern and only one.
"""


DECAY_RULES: Mapping[str, Callable[[Parametrization, Multipliers], DecayFactors]] = {
    "coupled": lambda _rule, factors: DecayFactors(factors.matrix_weight_decay, 1.0),
    "layerwise": lambda rule, _factors: DecayFactors(math.sqrt(rule.width_mult), 0.0),
}
"""How weight decay follows width. Coupled: lr times weight decay of a matrix does not change.

Layerwise: matrices' weight decay grows as sqrt(m) at lr / m, so that their top singular values
match across widths, and what the paper calls vectors, embeddings among them, do not decay (arXiv
2510.15262). It says nothing of the head, which keeps the base value here (assumed).
"""
