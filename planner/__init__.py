"""From laws to a plan a person can act on.

Rooms: `document` (the plan and its JSON), `target`, `choices`, `lawbook`, `recipes`, `shapes`,
`estimate` (law and practice as one number), `surfaces` (moves and prices), `hyperparameters`,
`recommendation`, `assembly`, `cautions`, `explanation`, `compute`, `settings` (a run as trainers
are told it), `expressible` (what a trainer lacks), `exporter`, `export` (the trainers), `cli`; for
anchors `anchors`, `anchor_text`, `anchor_files`, `ground` (the laws at one point), `standing`
(anchors beside them), `anchoring` (carrying them), `elsewhere` (the spread between setups),
`sweeps` (published optima), `comparison` (laws against practice); `experts` (sparse models) and
`change` (runs that change).

Public names load on use, so that `import planner` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.anchors import Anchor
    from planner.choices import Choices, Pins
    from planner.document import Plan, load_plan
    from planner.recommendation import recommend
    from planner.target import Target

__all__ = ["Anchor", "Choices", "Pins", "Plan", "Target", "load_plan", "recommend"]

_ROOMS = {
    "Anchor": "anchors",
    "Choices": "choices",
    "Pins": "choices",
    "Plan": "document",
    "Target": "target",
    "load_plan": "document",
    "recommend": "recommendation",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its room on first use."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'planner' has no attribute '{name}'")
    return getattr(import_module(f"planner.{_ROOMS[name]}"), name)
