"""Loss over lr and batch as the page draws it, and the loss curve that a schedule foretells.

The page evaluates the surface itself, by the formula of `fitting.laws.surface` with lr and batch
alone left free: ln(1 + sum of exp(a + g ln(lr/lr0) + h ln(B/B0))) over its three terms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fitting.laws.surface import surface_from
from fitting.text import Figure
from fitting.units import format_count, format_small
from planner.plan.reuse import surface_of, tuning_of
from planner.recommendation.place import PlacedSurface, Tuning

if TYPE_CHECKING:
    from fitting.fit.figure_data import CellPanel
    from planner.plan.document import Plan
    from planner.report.evidence import Evidence

LR_REACH = 8.0
"""Factor about the recommended lr that contours and sliders span."""

BATCH_REACH = 16.0
"""The same for the batch: the surface was measured over a factor of 20."""

LEAST_PAID = 0.005
"""Percent of the loss that two decimals show as nothing."""

CURVE_ROWS = 800
"""Rows of a schedule that are drawn, besides its corners."""


def find_place(found: Evidence) -> PlacedSurface | None:
    """The surface that priced the plan; None where its law is not at hand as it was."""
    if found.plan is None or found.plan.plateau is None:
        return None
    return surface_of(found.plan, found.book)


def largest_place(found: Evidence) -> PlacedSurface | None:
    """The user's own surface at the largest size of its runs; None without one."""
    if found.fit is not None and found.fit.surface is not None:
        sizes: list[list[float]] = found.fit.surface.cells.tolist()
        params, tokens = max(sizes, key=lambda size: size[0] * size[1])
        surface = found.fit.surface.surface
        return PlacedSurface(law="runs", surface=surface, params=params, tokens=tokens)
    if found.law is None or "surface" not in found.law.quantities:
        return None
    limits = found.law.range
    if limits.params is None or limits.tokens is None:
        return None
    surface = surface_from(found.law.quantities["surface"])
    return PlacedSurface(
        law=found.law.name, surface=surface, params=limits.params[1], tokens=limits.tokens[1]
    )


def surface_data(place: PlacedSurface, at: Tuning) -> dict[str, Any]:
    """What the page needs to evaluate a surface about a point."""
    best = place.best()
    return {
        "terms": place.terms(at),
        "at": [at.lr, at.batch_tokens],
        "least": place.penalty(best),
        "best": [best.lr, best.batch_tokens],
    }


def contour_figure(place: PlacedSurface, plan: Plan | None) -> Figure:
    """Contours about the recommended point, with the plateau."""
    best = place.best()
    at, plateau = best, None
    if plan is not None:
        at = tuning_of(plan)
        assert plan.plateau is not None
        spans = plan.plateau.lr, plan.plateau.batch_tokens
        plateau = [[span.low, span.high] for span in spans]
    paid = 100 * place.cost(at, over=best)
    where = f"{format_count(place.params)} params and {format_count(place.tokens)} tokens"
    said = f"lr {format_small(at.lr)} with a batch of {format_count(at.batch_tokens)} tokens"
    alt = (
        f"Contours of the loss over peak lr and batch at {where}, at 0.1, 0.3, 1, 3 and 10 percent "
        f"above the lowest. The lowest lies at lr {format_small(best.lr)} and batch "
        f"{format_count(best.batch_tokens)}; "
    )
    if plateau is None:
        title = f"Loss is lowest at {said}"
        alt += "the laws recommend that point."
    else:
        title = f"The plan pays {paid:.2f}% over the surface's lowest loss"
        if paid < LEAST_PAID:
            title = "The plan lies at the surface's lowest loss"
        (low, high), (few, many) = plateau
        alt += (
            f"the plan has {said}. At its batch, lr {format_small(low)} to {format_small(high)}, "
            f"and at its lr, batches of {format_count(few)} to {format_count(many)}, cost at most "
            "0.1 percent over the best there."
        )
    return Figure(
        name="contours",
        kind="contour",
        title=title,
        alt=alt,
        wide=True,
        data={
            **surface_data(place, at),
            "lr": [at.lr / LR_REACH, at.lr * LR_REACH],
            "batch": [at.batch_tokens / BATCH_REACH, at.batch_tokens * BATCH_REACH],
            "plateau": plateau,
            "label": "plan" if plan is not None else "law",
        },
    )


def cell_figure(panel: CellPanel, place: PlacedSurface, number: int) -> Figure:
    """Contours of one cell with its runs, its measured optimum and the law's."""
    at = panel.measured
    where = f"{format_count(panel.params)} params, {format_count(panel.tokens)} tokens"
    said = f"the law's best is lr {format_small(panel.law[0])}, batch {format_count(panel.law[1])}"
    title = where
    if at is not None:
        kind = "bound" if at.edge else "measured"
        title += f": the law's lr is {panel.law[0] / at.lr:.2f} times the {kind} one"
        said += f"; {kind} are lr {format_small(at.lr)}, batch {format_count(at.batch_tokens)}"
    return Figure(
        name=f"cell-{number}",
        kind="contour",
        title=title,
        alt=f"Contours of the loss at {where} with {len(panel.lr)} runs; {said}.",
        data={
            **surface_data(place, Tuning(*panel.law)),
            "lr": [float(panel.grid_lr[0]), float(panel.grid_lr[-1])],
            "batch": [float(panel.grid_batch[0]), float(panel.grid_batch[-1])],
            "plateau": None,
            "label": "law",
            "runs": [
                [rounded(float(value)) for value in run]
                for run in zip(panel.lr, panel.batch_tokens, panel.cost, strict=True)
            ],
            "measured": None if at is None else [at.lr, at.batch_tokens, at.edge],
        },
    )


def cell_figures(found: Evidence) -> tuple[Figure, ...]:
    """The largest cells of the runs, each with the surface fitted to all of them."""
    from fitting.fit.figure_data import cell_panels

    if found.runs is None or found.fit is None or found.fit.surface is None:
        return ()
    surface = found.fit.surface.surface
    return tuple(
        cell_figure(
            panel,
            PlacedSurface(law="runs", surface=surface, params=panel.params, tokens=panel.tokens),
            number,
        )
        for number, panel in enumerate(cell_panels(found.runs, found.fit), start=1)
    )


def schedule_figure(plan: Plan) -> Figure:
    """The lr of a plan against step."""
    from planner.recommendation.schedule import planned_curve

    curve = planned_curve(plan.run)
    rows = drawn_rows(plan, len(curve.step))
    step = [0.0, *curve.step[rows].tolist()] if plan.warmup_steps else curve.step[rows].tolist()
    lr = [0.0, *curve.lr[rows].tolist()] if plan.warmup_steps else curve.lr[rows].tolist()
    part = plan.schedule
    words = f"{part.warmup_steps:,} steps of warmup to {format_small(plan.lr.value)}"
    if part.stable_steps:
        words += f", {part.stable_steps:,} at the peak"
    if part.decay_shape is not None:
        words += f", {part.decay_steps:,} of {part.decay_shape} decay to {format_small(lr[-1])}"
    return Figure(
        name="schedule",
        kind="schedule",
        title=f"{part.kind}: {plan.steps:,} steps, peak lr {format_small(plan.lr.value)}",
        alt=f"Learning rate against step: {words}.",
        data={"step": step, "lr": [rounded(value) for value in lr]},
    )


def drawn_rows(plan: Plan, count: int) -> list[int]:
    """Rows of a plan's curve that are drawn: evenly spread ones and the schedule's corners."""
    even = {round(place * (count - 1) / CURVE_ROWS) for place in range(CURVE_ROWS + 1)}
    part = plan.schedule
    first = max(1, part.warmup_steps)
    ends = [part.warmup_steps + part.stable_steps, *(found.step for found in part.checkpoints)]
    corners = {end - first + beside for end in ends for beside in (0, 1)}
    return sorted(row for row in even | corners if 0 <= row < count)


def curve_figure(found: Evidence) -> tuple[Figure, tuple[str, ...]] | None:
    """The loss that a curve law foretells for the plan's schedule, with what to doubt of it."""
    if found.plan is None or found.curve is None or found.files.curve is None:
        return None
    from fitting.curves.law import curve_law, forecast
    from planner.recommendation.schedule import lr_caution, planned_curve, steps_caution

    plan = found.plan
    law = curve_law(found.curve, where=str(found.files.curve))
    known = forecast(law, planned_curve(plan.run), warmup_steps=plan.warmup_steps)
    rows = [row for row in drawn_rows(plan, len(known.step)) if math.isfinite(known.loss[row])]
    end = float(known.loss[rows[-1]])
    low, high = float(known.low[rows[-1]]), float(known.high[rows[-1]])
    sure = math.isfinite(low) and math.isfinite(high)
    interval = f" ({low:.3f} to {high:.3f})" if sure else ""

    def column(values: Any) -> list[float] | None:
        return [rounded(float(values[row])) for row in rows] if sure else None

    figure = Figure(
        name="curve",
        kind="curve",
        title=f"The curve law {found.curve.name} foretells a final loss of {end:.3f}{interval}",
        alt=f"Predicted loss against step: {known.loss[rows[0]]:.3f} at step "
        f"{known.step[rows[0]]:,.0f} falls to {end:.3f}{interval} at step {plan.steps:,}.",
        data={
            "step": [float(known.step[row]) for row in rows],
            "loss": [rounded(float(known.loss[row])) for row in rows],
            "low": column(known.low),
            "high": column(known.high),
        },
    )
    of_lr = lr_caution(law, plan.lr.value)
    cautions = (of_lr and f"{of_lr}: the loss there is a guess", steps_caution(law, plan.steps))
    return figure, tuple(caution for caution in cautions if caution)


def rounded(value: float) -> float:
    """Six digits: more than a screen shows."""
    return float(f"{value:.6g}")
