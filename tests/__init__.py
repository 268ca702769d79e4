"""Tests and benchmarks; a package so that tests may import the benchmarks they check."""
