"""What a training run is: shape, parametrization, schedule.

Rooms (torch-free): `shape` (counts and FLOPs), `sizing` (a shape for a size), `parametrization`,
`schedule`, `last_iterate` (what convex theory says of a schedule). A target is only the largest
member of its family, so what describes a proxy describes it too.
"""
