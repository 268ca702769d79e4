"""A sweep: many small runs of one model family, from one file.

Rooms (torch-free): `spec` (what SPEC.toml says), `spec_file` (how it is read), `axes` (the values a
search may take), `cells` (the runs it asks for), `samplers` (which run next), `pruning` (which run
to stop).
"""
