"""Laws of the stability probes: logits, norms, gradient noise, sensitivity to lr."""
