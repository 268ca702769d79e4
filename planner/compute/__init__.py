"""Time, memory, layout and cost of a run on given accelerators."""
