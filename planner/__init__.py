"""From laws to a plan a person can act on.

Rooms: `document` (the plan and its JSON), `target`, `choices`, `lawbook`, `recipes`, `shapes`,
`estimate` (law and practice as one number), `surfaces` (moves and prices), `hyperparameters`,
`recommendation`, `assembly`, `cautions`, `explanation`, `compute`, `settings` (a run as trainers
are told it), `expressible` (what a trainer lacks), `exporter`, `export` (the trainers), `cli`; for
anchors `anchors`, `anchor_text`, `anchor_files`, `ground` (the laws at one point), `standing`
(anchors beside them), `anchoring` (carrying them), `elsewhere` (the spread between setups),
`sweeps` (published optima), `comparison` (laws against practice); for pilots `pilots`,
`pilot_logs`, `yardstick` (the surface placed on a plan), `verdict`, `verification`; `experts`
(sparse models), `change` (runs that change), `limited_data`, `batch_tradeoff`, `batch_growth`,
`budget_part`, `stability`, `watch`; `calibration` (from a budget to a plan), `report` (one page).

Public names load on use, so that `import planner` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.facts.anchor import Anchor
    from planner.facts.laws import read_lawbook
    from planner.health.watch import watch_log
    from planner.plan.anchor_text import read_anchors
    from planner.plan.document import Plan
    from planner.plan.export import export_plan
    from planner.plan.file import load_plan, plan_to_json
    from planner.plan.make import recommend
    from planner.request.choices import Choices, Pins
    from planner.request.target import Target
    from planner.review.batch_tradeoff import trade_off
    from planner.review.check import check_run
    from planner.review.diff import compare_plans
    from planner.review.practice import compare_laws
    from planner.review.verify import plan_pilots, verify_plan
    from planner.trainers.files import write_files
    from planner.trainers.import_config import import_config

__all__ = [
    "Anchor",
    "Choices",
    "Pins",
    "Plan",
    "Target",
    "check_run",
    "compare_laws",
    "compare_plans",
    "export_plan",
    "import_config",
    "load_plan",
    "plan_pilots",
    "plan_to_json",
    "read_anchors",
    "read_lawbook",
    "recommend",
    "trade_off",
    "verify_plan",
    "watch_log",
    "write_files",
]

_ROOMS = {
    "Anchor": "facts.anchor",
    "Choices": "request.choices",
    "Pins": "request.choices",
    "Plan": "plan.document",
    "Target": "request.target",
    "check_run": "review.check",
    "compare_laws": "review.practice",
    "compare_plans": "review.diff",
    "export_plan": "plan.export",
    "import_config": "trainers.import_config",
    "load_plan": "plan.file",
    "plan_pilots": "review.verify",
    "plan_to_json": "plan.file",
    "read_anchors": "plan.anchor_text",
    "read_lawbook": "facts.laws",
    "recommend": "plan.make",
    "trade_off": "review.batch_tradeoff",
    "verify_plan": "review.verify",
    "watch_log": "health.watch",
    "write_files": "trainers.files",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its room on first use."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'planner' has no attribute '{name}'")
    return getattr(import_module(f"planner.{_ROOMS[name]}"), name)
