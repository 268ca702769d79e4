"""A plan in the words of a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.trainers.export import export_run

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from planner.trainers.files import Files
    from planner.trainers.trainer import Said


def export_plan(plan: Plan, name: str, *, lossy: bool = False) -> tuple[Files, Said]:
    """A plan in the words of a trainer.

    Args:
        plan: the plan.
        name: a module of `planner/trainers/supported`.
        lossy: write the nearest that the trainer can express where it cannot express the plan.

    Returns:
        The files, and what they cannot say.

    Raises:
        InputError: no such trainer, or a plan that contradicts itself.
        ExportError: something of the plan would be lost and `lossy` is not set.
    """
    made = plan.provenance
    origin = (f"written by windtunnel {made.version}: plan export {name}", f"Plan: {made.command}")
    return export_run(plan.run, name, lossy=lossy, origin=origin)
