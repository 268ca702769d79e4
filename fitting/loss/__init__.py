"""The loss against params and tokens."""
