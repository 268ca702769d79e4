"""A sweep: many small runs of one model family, from one file.

Rooms (torch-free): `spec` (what SPEC.toml says), `spec_file` (how it is read), `cells` (what it
expands to), `axes` (the values a search may take), `runs` (one run), `starts` (where a cell's
search begins), `samplers` (which run comes next), `pruning` (which run stops early).
"""
