"""Tests, what they measure, and benchmarks; a package so that they may import each other."""
