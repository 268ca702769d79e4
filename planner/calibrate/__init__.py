"""From a budget to a plan: a family of proxies, its sweep, the laws of its runs, the plan.

Rooms: `family` (which proxies a budget can pay), `folder` (what was asked for and what came of it),
`loop` (design, run, fit, audit, plan, gone on with after a kill).
"""
