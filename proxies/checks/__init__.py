"""Coordinate checks and probes of a parametrization."""
