"""A run's health: its stability foretold from probes, its log watched while it trains.

Rooms: `stability` (what the probes of smaller runs say, and the report), `mitigations` (what a
forecast calls for) and `watch` (a log held against its noise, plan and curve law).
"""
