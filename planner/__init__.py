"""From laws to a plan a person can act on.

Rooms: `document`, `target`, `lawbook`, `recommendation`, `compute`, `cli`.
"""
