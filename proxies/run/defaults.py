"""What a run has where nobody says it, and the bounds outside which a value is taken for a slip.

A default is written here and nowhere else; what it is from stands beside it.
"""

from __future__ import annotations

SEQ_LEN = 2048
"""Tokens of a sequence."""

VOCAB_SIZE = 32_000
"""Rows of the embedding: LLaMA's."""

SCHEDULE = "wsd"
"""Kind of a plan's and a proxy's schedule, whose stable phase any longer run shares."""

SCHEDULE_OF_BUDGETS = "wsd-s"
"""Kind where there are several budgets."""

BETAS = (0.9, 0.95)
"""AdamW's: those of most published recipes."""

LION_BETAS = (0.9, 0.99)
"""Lion's: its paper's (arXiv 2302.06675)."""

EPS = 1e-8
"""Adam's."""

GRAD_CLIP = 1.0
"""Of the gradient's global norm: that of Step Law and nearly every published recipe."""

DECAY_SHARE = 1 / 5
"""Share of the steps that WSD decays over: the long end of MiniCPM's 10% to 20%."""

DECAY_SHAPE = "1-sqrt"
"""Of WSD's decay (arXiv 2405.18392)."""

FINAL_LR_FRACTION = 0.1
"""Final lr over peak of what cannot end at 0 and of cosine: GPT-3's (arXiv 2005.14165)."""

MAX_WARMUP_STEPS = 2_000
"""Cap of the warmup: Step Law (arXiv 2503.04715) and most published recipes use 2,000."""

LR_BOUNDS = (1e-12, 1.0)
"""A pinned lr outside this is taken for a slip: no published run of these optimizers used one."""

WEIGHT_DECAY_BOUNDS = (0.0, 100.0)
"""The same for the weight decay."""

PARAMS_BOUNDS, TOKENS_BOUNDS = (1e3, 1e15), (1e3, 1e18)
"""Params and tokens that a target may have."""

AGREEMENT = 0.02
"""Largest relative disagreement between params, tokens and FLOPs given together."""
