"""What the page says, in order; a section whose data are absent says which command makes them."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fitting.text import Figure, Section, Table
from fitting.units import format_count, format_small
from planner.plan.make import VERSION
from planner.plan.reuse import why_unpriced
from planner.report import tables
from planner.report.evidence import digest
from planner.report.law_figures import law_figures
from planner.report.loss_figures import (
    cell_figures,
    contour_figure,
    curve_figure,
    find_place,
    largest_place,
    schedule_figure,
)
from planner.report.runs import MOST_RUNS, runs_data

if TYPE_CHECKING:
    from planner.plan.document import Plan
    from planner.recommendation.place import PlacedSurface
    from planner.report.evidence import Evidence

PACKAGES = ("numpy", "scipy", "pandas", "plotly")
"""Whose versions may move a number or a figure."""


def make_sections(found: Evidence, *, command: str) -> tuple[Section, ...]:
    """Every section of the page.

    Args:
        found: everything at hand.
        command: the command line that makes the page.
    """
    place = find_place(found)
    plan = None if place is None else found.plan
    place = place or largest_place(found)
    return (
        plan_section(found),
        loss_section(found, place, plan),
        cost_section(found, place, plan),
        laws_section(found),
        audit_section(found),
        schedule_section(found),
        others_section(found),
        runs_section(found),
        provenance_section(found, command),
    )


def plan_section(found: Evidence) -> Section:
    """The plan's numbers, its run and its warnings."""
    plan = found.plan
    if plan is None:
        laws = found.files.laws or "LAWS.toml"
        return Section(
            name="plan",
            title="The plan",
            absent=(
                f"No plan: plan --params 1B --tokens 20B --laws {laws} --json > plan.json makes "
                "one for your target, plan report plan.json then shows it here.",
            ),
        )
    target = plan.target
    own = [tables.numbers_table(plan), tables.run_table(plan)]
    if plan.parametrization.name != "sp":
        own.append(tables.groups_table(plan))
    return Section(
        name="plan",
        title="The plan",
        lead=f"{format_count(target.params)} non-embedding params on "
        f"{format_count(target.tokens)} tokens: {format_count(target.tokens_per_param)} tokens a "
        f"param, {format_small(target.flops)} FLOPs.",
        headlines=tables.headlines(plan),
        warnings=plan.warnings,
        tables=tuple(own),
    )


def loss_section(found: Evidence, place: PlacedSurface | None, plan: Plan | None) -> Section:
    """Contours at the target, or at the largest size of the runs; then the measured cells."""
    cells = cell_figures(found)
    title = "Loss over lr and batch"
    shown = place is not None and (plan is not None or found.plan is None)
    absent = () if shown else (no_surface(found),)
    if place is None:
        return Section(name="loss", title=title, figures=cells, absent=absent)
    own = place.law == "runs" or (found.law is not None and place.law == found.law.name)
    law = "your own runs" if own else place.law
    lead = (
        f"The surface is that of {law}, at {format_count(place.params)} params and "
        f"{format_count(place.tokens)} tokens. Lines are percent of the loss above its lowest point"
    )
    if plan is not None:
        lead += (
            "; the bars through the plan span what costs at most 0.1% over the best along each axis"
        )
    if cells:
        lead += (
            ". Below, the largest cells that were measured: dots are runs, the stronger the better"
        )
    return Section(
        name="loss",
        title=title,
        lead=f"{lead}.",
        figures=(contour_figure(place, plan), *cells),
        absent=absent,
    )


def no_surface(found: Evidence) -> str:
    """Why there are no contours at the target."""
    plan = found.plan
    if plan is None:
        return (
            "No contours: the laws have no [surface]; plan fit makes one from runs whose lr and "
            "batch were both varied."
        )
    if plan.plateau is None:
        return (
            "No contours at the target: no measured surface reaches its size, optimizer or batch; "
            "runs of at least half its params and tokens would (plan sweep, plan fit)."
        )
    return f"No contours at the target: {why_unpriced(plan, found.book)}."


def cost_section(found: Evidence, place: PlacedSurface | None, plan: Plan | None) -> Section:
    """Sliders over lr and batch."""
    title = "The cost of being wrong"
    if place is None:
        return Section(
            name="cost",
            title=title,
            absent=("No sliders: they read the surface of the section before.",),
        )
    cost = None if plan is None else plan.error_cost
    start = "plan" if plan is not None else "best point"
    where = f"{format_count(place.params)} params and {format_count(place.tokens)} tokens"
    return Section(
        name="cost",
        title=title,
        lead=f"Move the learning rate and the batch away from the {start}: what the surface says "
        f"of the loss at {where}. The further from its runs, the less it knows.",
        widget="sliders",
        data={"loss": None if plan is None else plan.loss.value, "start": start},
        tables=() if cost is None else (tables.error_cost_table(cost),),
    )


def laws_section(found: Evidence) -> Section:
    """Laws against size, their coefficients and what the fit says of itself."""
    figures = law_figures(found)
    laws = None if found.law is None else found.law.quantities
    if laws is None and found.fit is not None:
        laws = found.fit.quantities()
    notes = []
    code: tuple[tuple[str, str], ...] = ()
    if found.law is not None:
        notes += [found.law.source.note, found.law.source.caution]
    if found.fit is not None:
        notes += [found.fit.prior_line(), *(bend.sentence() for bend in found.fit.bends)]
        text = "\n\n".join("\n".join(block.lines) for block in found.fit.law_blocks())
        code = (("The laws that the runs give; brackets hold 80%", text),) if text else ()
    absent = []
    if not figures:
        absent.append("No lines: nothing at hand says lr and batch as a power of the size.")
    if laws is None:
        absent.append(
            "No laws of your own runs: plan fit RUNS --out laws.toml makes them, plan report of "
            "their folder then shows them with every measured optimum."
        )
    elif found.fit is None:
        absent.append(no_runs(found, "measured optima"))
    return Section(
        name="laws",
        title="Laws and measured optima",
        lead="Lines are what the laws say, bands hold 80%, dots are measured optima moved along "
        "the law to the other size; the dashed rule is the target."
        if figures
        else "",
        figures=figures,
        tables=() if laws is None else (tables.laws_table(laws),),
        notes=tuple(capital(note) for note in notes if note),
        code=code,
        warnings=found.notes,
        absent=tuple(absent),
    )


def capital(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def no_runs(found: Evidence, what: str) -> str:
    """Why something that needs the runs is not there."""
    if found.runs is not None:
        return f"No {what}: the runs could not be fitted again, see the notes of the laws."
    if found.law is None:
        return f"No {what}: that takes runs of your own (plan sweep, plan fit)."
    command = found.law.source.command or "plan fit RUNS --out laws.toml"
    return (
        f"No {what}: the runs behind the laws are not at hand. They were made by “{command}”; "
        "call plan report where that was called, or on a folder that holds laws.toml and "
        "runs.parquet."
    )


def audit_section(found: Evidence) -> Section:
    """What leaving corners out of the fit would have cost."""
    title = "Audit"
    fit = found.fit
    if fit is None:
        return Section(name="audit", title=title, absent=(no_runs(found, "audit"),))
    if not fit.audits:
        return Section(
            name="audit",
            title=title,
            lead=capital(f"{fit.verdict.value}."),
            absent=("No audit: too few cells to leave a corner out; add sizes (plan sweep).",),
        )
    return Section(
        name="audit",
        title=title,
        lead=f"Would the laws have held at sizes they had not seen? The verdict: "
        f"{fit.verdict.value}.",
        notes=tuple(capital(f"{audit.corner}: {audit.sentence()}.") for audit in fit.audits),
        warnings=fit.doubts,
        tables=(tables.audit_table(fit.audits),),
    )


def schedule_section(found: Evidence) -> Section:
    """The schedule and the loss curve that it foretells."""
    title = "Schedule and predicted loss"
    if found.plan is None:
        return Section(name="schedule", title=title, absent=("No schedule: there is no plan.",))
    figures = [schedule_figure(found.plan)]
    curve = curve_figure(found)
    absent: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    if curve is None:
        absent = (
            "No predicted loss curve: plan curve fit LOGS --out curve.toml fits one to your own "
            "logs; plan again with --curve curve.toml, or keep it beside plan.json.",
        )
    else:
        figures.append(curve[0])
        cautions = curve[1]
    return Section(
        name="schedule", title=title, figures=tuple(figures), warnings=cautions, absent=absent
    )


def others_section(found: Evidence) -> Section:
    """Other laws and published runs at the target."""
    title = "What others say"
    plan = found.plan
    if plan is None:
        return Section(name="others", title=title, absent=("No target to ask them of.",))
    figures = [
        other_figure(plan, quantity)
        for quantity in ("lr", "batch_tokens")
        if any(getattr(law, quantity) is not None for law in plan.alternatives)
    ]
    return Section(
        name="others",
        title=title,
        lead="Other laws were measured on other data and schedules; how far they spread is a hint "
        "of what the interval in one setup leaves out. The rule is the plan, the darker band its "
        "80% interval, the paler one that elsewhere.",
        figures=tuple(figures),
        tables=tuple(
            table
            for table in (tables.alternatives_table(plan), tables.nearest_table(plan))
            if table.rows
        ),
    )


def other_figure(plan: Plan, quantity: str) -> Figure:
    """One number by every law that has one."""
    value = getattr(plan, quantity)
    show = format_small if quantity == "lr" else format_count
    name = "peak lr" if quantity == "lr" else "batch"
    said = {law.law: getattr(law, quantity) for law in plan.alternatives}
    known = {law: number for law, number in said.items() if number is not None}
    below = sum(number < value.value for number in known.values())
    low, high = min(known.values()), max(known.values())
    return Figure(
        name=f"others-{quantity.replace('_', '-')}",
        kind="others",
        title=f"{len(known)} other laws put the {name} between {show(low)} and {show(high)}",
        alt=f"The {name} by law: {below} of {len(known)} lie below the plan's "
        f"{show(value.value)}. The table has each.",
        data={
            "quantity": quantity,
            "laws": sorted(([law, number] for law, number in known.items()), key=lambda p: p[1]),
            "plan": [value.value, value.low, value.high],
            "elsewhere": None
            if value.elsewhere is None
            else [value.elsewhere.low, value.elsewhere.high],
        },
    )


def runs_section(found: Evidence) -> Section:
    """Every run, to sort and filter."""
    title = "Runs"
    if found.runs is None:
        return Section(name="runs", title=title, absent=(no_runs(found, "table of runs"),))
    data = runs_data(found.runs)
    same = ", ".join(f"{name} {value}" for name, value in data["same"].items())
    lead = f"{found.runs.report.summary()}."
    if same:
        lead += f" The same in every run: {same}."
    if data["total"] > MOST_RUNS:
        lead += f" The {MOST_RUNS:,} of largest compute of {data['total']:,} are listed."
    return Section(
        name="runs",
        title=title,
        lead=lead,
        widget="runs",
        data=data,
        warnings=found.runs.cautions,
    )


def provenance_section(found: Evidence, command: str) -> Section:
    """Commands, versions and digests."""
    commands = [("This page", command)]
    if found.plan is not None and found.plan.provenance.command:
        commands.append(("The plan", found.plan.provenance.command))
    for title, law in (("The laws", found.law), ("The curve law", found.curve)):
        if law is not None and law.source.command:
            commands.append((title, law.source.command))
    today = datetime.now(UTC).date().isoformat()
    rows = [("Made on", today), ("windtunnel", VERSION), ("Python", platform.python_version())]
    if found.plan is not None:
        rows.insert(2, ("windtunnel of the plan", found.plan.provenance.version))
    for name in PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            continue
    if found.about is not None:
        rows += [
            ("sweep", found.about.sweep_id),
            ("corpus of the sweep", found.about.corpus_fingerprint),
            ("executor of the sweep", found.about.executor),
        ]
    digests = {str(path): digest(path) for path in found.files.all()}
    return Section(
        name="provenance",
        title="Provenance",
        code=tuple(commands),
        tables=(
            Table(caption="Date and versions.", head=("", "Here"), rows=tuple(rows)),
            *tables.provenance_tables(found, digests),
        ),
    )
