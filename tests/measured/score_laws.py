"""What a law is given of one cell of Step Law's runs."""

from __future__ import annotations


def cell_inputs(params: float, tokens: float) -> dict[str, float]:
    flops = 6 * params * tokens
    return {
        "params": params,
        "tokens": tokens,
        "tokens_per_param": tokens / params,
        "flops": flops,
        "model_flops": flops,
        "model_flops_causal": flops,
    }
