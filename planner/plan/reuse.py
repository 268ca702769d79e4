"""What a plan says for a new one: its request, its law book, the surface that priced it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError
from planner.facts.laws import read_lawbook
from planner.recommendation.place import PlacedSurface, Tuning, place_surface
from planner.request.choices import Pins
from planner.request.shape import ShapeRequest
from planner.request.target import Scale

if TYPE_CHECKING:
    from fitting.laws.law import Law
    from planner.plan.document import Plan
    from planner.request.request import Request
    from proxies.run.shape import Shape

AGAIN = "its file does not say what was asked of it, as those of before did not: plan again"
"""Why a plan of before plans kept their requests can be shown and no more."""

NO_SURFACE = "no measured surface reaches this plan"


def asked_of(plan: Plan, where: str) -> Request:
    """What was asked of a plan.

    Args:
        plan: the plan.
        where: its file, or what it is wanted for.

    Raises:
        InputError: a plan of before plans kept it.
    """
    if plan.request is None:
        command = plan.provenance.command
        raise InputError(f"{where}: {AGAIN}{f' ({command} --json)' if command else ''}")
    return plan.request


def ask_again(
    plan: Plan,
    *,
    pins: Pins,
    tokens: float | None = None,
    params: float | None = None,
    shape: Shape | None = None,
    **choices: Any,
) -> Request:
    """The request of a run like a plan's but for what is given; its batch does not grow.

    Args:
        plan: the plan.
        pins: what stays fixed.
        tokens: of the new run; None for the plan's.
        params: of the new model; None for the same.
        shape: the new model; None for the same.
        choices: fields of `Choices`.

    Raises:
        InputError: a plan that does not say what was asked of it.
    """
    asked, target = asked_of(plan, "plan"), plan.target
    blank = {"curve": None, "checkpoint_tokens": (), "batch_growth": None}
    return replace(
        asked,
        target=Scale(
            params=params or target.params, tokens=tokens or target.tokens, seq_len=target.seq_len
        ),
        shape=ShapeRequest(whole=shape or plan.run.shape, reason="that of the plan"),
        choices=replace(asked.choices, pins=pins, **blank | choices),
        budget=None,
    )


def known_laws(plan: Plan, where: Path) -> Mapping[str, Law]:
    """The shipped laws, and those of a plan's own law files that are still what they were.

    Args:
        plan: the plan.
        where: its file, beside which its law files may lie.
    """
    found = []
    for law in () if plan.request is None else plan.request.laws:
        for path in (Path(law.path), where.parent / law.path):
            if path.is_file():
                found.append((path, law.sha256))
                break
    book = read_lawbook([path for path, _ in found])
    changed = {path.stem for path, sha256 in found if book[path.stem].sha256 != sha256}
    return {name: law for name, law in book.items() if name not in changed}


def book_of(plan: Plan, where: Path) -> Mapping[str, Law]:
    """The law book that a plan was made by.

    Args:
        plan: the plan.
        where: its file, beside which its law files may lie.

    Raises:
        InputError: a law file of its own is gone, or another now.
    """
    book = known_laws(plan, where)
    for law in () if plan.request is None else plan.request.laws:
        if law.name not in book:
            raise InputError(
                f"{where}: was made by --laws {law.path}, which is gone or another now; plan again"
            )
    return book


def surface_of(plan: Plan, book: Mapping[str, Law]) -> PlacedSurface | None:
    """The surface that priced a plan; None where none did, or its law file is another now."""
    kept = plan.surface
    if kept is None or kept.law not in book or book[kept.law].sha256 != kept.sha256:
        return None
    return place_surface(
        book[kept.law],
        params=plan.target.params,
        tokens=plan.target.tokens,
        lr_shift=kept.lr_shift,
        batch_shift=kept.batch_shift,
    )


def why_unpriced(plan: Plan, book: Mapping[str, Law]) -> str:
    """Why there is no surface of a plan."""
    if plan.surface is not None:
        law = plan.surface.law
        gone = "is another now" if law in book else "is not at hand"
        return f"the surface that priced it, of {law}, {gone}: plan again"
    return AGAIN if plan.request is None else NO_SURFACE


def tuning_of(plan: Plan) -> Tuning:
    """The plan's lr and batch."""
    return Tuning(plan.lr.value, plan.batch_tokens.value)


def is_priced(plan: Plan, placed: PlacedSurface, batch_tokens: float) -> bool:
    """Whether a batch is near enough to the one that the laws recommend.

    That is the plan's where nothing was pinned, else the surface's own best.
    """
    pins = None if plan.request is None else plan.request.choices.pins
    free = pins is not None and pins.lr is pins.batch_tokens is pins.steps is None
    best = plan.batch_tokens.value if free else placed.best().batch_tokens
    return placed.reaches(batch_tokens, about=best)
