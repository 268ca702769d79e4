"""From runs to laws: the runs table, laws, surfaces, fits and their audit.

Rooms: `errors`, `units`, `laws`, `surface`. Nothing here imports `proxies` or `planner`, and
nothing here needs torch.
"""
