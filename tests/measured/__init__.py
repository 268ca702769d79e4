"""What the scripts of `tests.benchmarks` compute and tests judge: no script prints here."""
