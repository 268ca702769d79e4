"""What a training run is, and running small ones.

Rooms (torch-free): `shape` (counts and FLOPs), `sizing` (a shape for a size), `parametrization`
(rules of width and depth), `groups` (parameters that share settings), `schedule`, `last_iterate`
(what convex theory says of a schedule), `batching` and `noise` (the batch against tokens and
gradient noise), `run` (a run's spec, result and row), `table` (its runs table), `corpus`, `sweep`.
With torch: `model`, `optimizers`, `gradients`, `state` (one update), `train`, `branches` (WSD
budgets from one stable run), `checkpoint`, `evaluation`; `ensemble`, `stack`, `stacked_model`,
`ensemble_timing` (runs of one shape as one model); `activations`, `probes`, and `coordinates`,
`coordinate_check`, `coordinate_plot`, `faults` (the coordinate check). A target is only the
largest member of its family, so what describes a proxy describes it too.
"""
