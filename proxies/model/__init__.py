"""The model of a proxy: one LLaMA-like transformer, its optimizers and gradients."""
