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
    from planner.anchor_text import read_anchors
    from planner.anchors import Anchor
    from planner.batch_tradeoff import trade_off
    from planner.check import check_run
    from planner.choices import Choices, Pins
    from planner.comparison import compare_laws
    from planner.differences import compare_plans
    from planner.document import Plan, load_plan, plan_to_json
    from planner.exporter import export_plan, write_files
    from planner.importer import import_config
    from planner.lawbook import read_lawbook
    from planner.recommendation import recommend
    from planner.target import Target
    from planner.verification import plan_pilots, verify_plan
    from planner.watch import watch_log

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
    "Anchor": "anchors",
    "Choices": "choices",
    "Pins": "choices",
    "Plan": "document",
    "Target": "target",
    "check_run": "check",
    "compare_laws": "comparison",
    "compare_plans": "differences",
    "export_plan": "exporter",
    "import_config": "importer",
    "load_plan": "document",
    "plan_pilots": "verification",
    "plan_to_json": "document",
    "read_anchors": "anchor_text",
    "read_lawbook": "lawbook",
    "recommend": "recommendation",
    "trade_off": "batch_tradeoff",
    "verify_plan": "verification",
    "watch_log": "watch",
    "write_files": "exporter",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its room on first use."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'planner' has no attribute '{name}'")
    return getattr(import_module(f"planner.{_ROOMS[name]}"), name)
