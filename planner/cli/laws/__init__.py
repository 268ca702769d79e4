"""`plan laws`: the law book."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from fitting.errors import InputError
from fitting.laws.forms import FORMS, INPUTS
from fitting.laws.law import Law, Quantity, Range
from fitting.units import format_count
from planner.cli.console import emit, make_console, to_json
from planner.cli.options import AS_JSON, OUTPUT, argument, make_app, option
from planner.facts.laws import DEFAULT_LAWS, bibtex, find_law, read_lawbook

UNITS = {
    "lr": "peak learning rate",
    "batch_tokens": "tokens",
    "critical_batch_tokens": "tokens",
    "weight_decay": "decoupled, times lr",
    "loss": "nats per token",
    "surface": "nats per token",
    "curve": "nats per token against step",
    "growth_tokens": "tokens",
    "advice": "in words",
}
"""Unit of each quantity of a law."""

LIMITS = {
    "params": "N",
    "tokens": "D",
    "unique_tokens": "U",
    "tokens_per_param": "D/N",
    "flops": "C",
    "batch_tokens": "B",
}
"""Ranges of a law and the letter that the list prints for each."""

app = make_app()

FILES = option("Laws", "--laws", "FILE", "law file of your own; repeatable")


@app.callback(
    invoke_without_command=True, epilog="Examples:\n\nplan laws\n\nplan laws show step-law"
)
def laws(context: typer.Context, laws: list[Path] | None = FILES, as_json: bool = AS_JSON) -> None:
    """List and show the laws of the law book.

    Without a command it lists them.
    """
    if context.invoked_subcommand is None:
        list_laws(laws, as_json)
    elif laws or as_json:
        command = {"show": "show NAME"}.get(context.invoked_subcommand, context.invoked_subcommand)
        raise InputError(
            f"laws: options go after the command; write plan laws {command} --laws FILE --json"
        )


@app.command("list", epilog="Examples:\n\nplan laws list\n\nplan laws list --laws mine.toml --json")
def list_laws(laws: list[Path] | None = FILES, as_json: bool = AS_JSON) -> None:
    """List all laws: what each covers, where it was measured, how well it is known.

    A law marked * is the default of the quantity so marked. Laws that give values come first,
    then those that give exponents only, then advice in words.
    """
    book = read_lawbook(laws or (), check_shipped=True)
    if as_json:
        print(to_json([law_json(law) for law in book.values()]))
    else:
        print_list(book.values())


@app.command(
    "show", epilog="Examples:\n\nplan laws show step-law\n\nplan laws show power-lines --toml"
)
def show_law(
    name: str = argument("NAME", "a law that plan laws lists"),
    laws: list[Path] | None = FILES,
    as_json: bool = AS_JSON,
    as_toml: bool = option(
        OUTPUT, "--toml", None, "print the law file, to start your own from", default=False
    ),
) -> None:
    """Show one law in full: equations, coefficients, covariance, range, note, BibTeX.

    Prints a law as people read it, or with --toml the file itself.
    """
    law = find_law(read_lawbook(laws or (), check_shipped=True), name, where="laws show")
    if as_toml:
        print(law.content.decode("utf-8"), end="")
        return
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    emit(law_json(law), law_text(law, width=width), as_json=as_json)


@app.command(
    "compare",
    epilog="Examples:\n\nplan laws compare\n\nplan laws compare --anchor first --plot laws.png",
)
def compare_laws_with_practice(
    laws: list[Path] | None = FILES,
    anchor: str | None = option(
        "Laws", "--anchor", "first", "anchor at each lab's smallest model too"
    ),
    plot: Path | None = option(OUTPUT, "--plot", "PNG", "draw the factors by lab"),
    as_json: bool = AS_JSON,
) -> None:
    """Compare every law with published optima and recipes, as factors by lab.

    Prints medians by law, then by lab; with --anchor first also how much closer each law comes
    when the lab's smallest model anchors it.
    """
    from planner.cli.laws.compare import comparison_dict, print_comparison
    from planner.review.practice import compare_laws

    if anchor not in (None, "first"):
        raise InputError(f"--anchor '{anchor}': is first or left out: each lab's smallest model")
    factors = compare_laws(read_lawbook(laws or ()), anchored=anchor is not None)
    if plot is not None:
        # Imported here because it loads numpy.
        from fitting.figures import save_figure
        from planner.review.practice_figure import comparison_figure

        save_figure(comparison_figure(factors), plot)
    if as_json:
        print(to_json(comparison_dict(factors)))
    else:
        print_comparison(factors, anchored=anchor is not None)


def law_json(law: Law) -> dict[str, Any]:
    """A law as JSON: the keys of its file, its name, hash and BibTeX; what is unknown is null."""
    quantities = {
        name: asdict(quantity)
        | {
            "formula": FORMS[quantity.form].formula,
            "unit": UNITS[name],
            "evidence": quantity.evidence or law.source.evidence,
        }
        for name, quantity in law.quantities.items()
    }
    return {
        "name": law.name,
        "source": asdict(law.source),
        "range": asdict(law.range),
        "quantities": quantities,
        "default_for": [key for key, name in DEFAULT_LAWS.items() if name == law.name],
        "bibtex": bibtex(law),
        "sha256": law.sha256,
    }


def print_list(laws: Iterable[Law]) -> None:
    """Print the table of laws, those that give values first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.caption = "* the default of a quantity; plan laws show NAME prints a law in full"
    table.caption_justify = "left"
    # Widths that hold the longest shipped name, range and evidence and fill 80 columns.
    table.add_column("law", overflow="fold", min_width=20)
    table.add_column("covers", overflow="fold", min_width=23)
    table.add_column("measured on", overflow="fold", min_width=13)
    table.add_column("setting", overflow="fold", width=9)
    table.add_column("evidence", overflow="fold", width=8)
    by_group: list[list[Law]] = [[], [], []]
    for law in laws:
        by_group[law_group(law)].append(law)
    for group in by_group:
        for law in group:
            setting = (law.range.optimizer, law.range.parametrization)
            table.add_row(
                law.name,
                covered(law),
                "\n".join(range_lines(law.range)),
                ", ".join(part for part in setting if part is not None),
                evidence_text(law),
            )
        table.add_section()
    make_console().print(table)


def law_group(law: Law) -> int:
    """0 for a law that gives values, 1 for exponents only, 2 for words only."""
    forms = {quantity.form for quantity in law.quantities.values()}
    if forms - {"text", "exponents"}:
        return 0
    return 1 if "exponents" in forms else 2


def covered(law: Law) -> str:
    """What a law covers, a line a form: `power: lr*, batch*`."""
    by_form: dict[str, list[str]] = {}
    for name, quantity in law.quantities.items():
        mark = "*" if DEFAULT_LAWS.get(name) == law.name else ""
        short = name.removesuffix("_tokens").replace("_", " ") + mark
        by_form.setdefault(quantity.form, []).append(short)
    return "\n".join(f"{form}: {', '.join(names)}" for form, names in by_form.items())


def evidence_text(law: Law) -> str:
    """The evidence of a law, and of the tables where it differs."""
    others = {
        name: quantity.evidence
        for name, quantity in law.quantities.items()
        if quantity.evidence not in (None, law.source.evidence)
    }
    lines = [f"{name.removesuffix('_tokens')} {evidence}" for name, evidence in others.items()]
    return "\n".join([law.source.evidence, *lines])


def range_lines(limits: Range) -> list[str]:
    """The range in params and tokens, or else whichever other the source says: `N 60M-1B`."""
    known = {name: getattr(limits, name) for name in LIMITS if getattr(limits, name) is not None}
    shown = {name: known[name] for name in ("params", "tokens") if name in known} or known
    return [f"{LIMITS[name]} {interval_text(name, *pair)}" for name, pair in shown.items()]


def interval_text(name: str, low: float, high: float) -> str:
    """A range in the unit of its quantity, `60M-1B` or `1e17-2e19`; one number where it is one."""
    plain = name in {"flops", "tokens_per_param"}
    texts = [f"{x:.4g}".replace("e+", "e") if plain else format_count(x) for x in (low, high)]
    return texts[0] if low == high else "-".join(texts)


def law_text(law: Law, *, width: int) -> str:
    """A law in full, wrapped to `width` columns."""
    source = law.source
    parts = [source.title, source.authors.replace(" and ", "; ").strip("{}")]
    parts += [str(source.year or ""), source.url]
    lines = [f"{law.name}  ({source.evidence})"]
    lines += wrapped(". ".join(part for part in parts if part), width=width, indent=2)
    if source.note:
        lines += ["", *wrapped(source.note, width=width, indent=2)]
    if source.command:
        lines += ["", *wrapped(f"made by: {source.command}", width=width, indent=2)]
    lines += ["", "Measured on", *range_text(law.range, width=width)]
    for name, quantity in law.quantities.items():
        lines += ["", *quantity_text(name, quantity, width=width)]
    lines += ["", "BibTeX", bibtex(law), "", f"sha256 {law.sha256}"]
    return "\n".join(lines)


def wrapped(text: str, *, width: int, indent: int, hanging: int = 0) -> list[str]:
    """Lines of `text` within `width` columns; addresses and numbers are not broken."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def range_text(limits: Range, *, width: int) -> list[str]:
    """The setting a law was measured in, a line a fact; unknown facts are left out."""
    facts = {
        name: interval_text(name, *value) if isinstance(value, list) else str(value)
        for name, value in asdict(limits).items()
        if value is not None
    }
    if not facts:
        return ["  not said by the source"]
    column = max(map(len, facts)) + 2
    return [
        line
        for name, value in facts.items()
        for line in wrapped(f"{name:{column}}{value}", width=width, indent=2, hanging=column)
    ]


def quantity_text(name: str, quantity: Quantity, *, width: int) -> list[str]:
    """One table of a law: equation, inputs, coefficients, covariance and remarks."""
    evidence = f", {quantity.evidence}" if quantity.evidence else ""
    lines = [f"{name}  ({UNITS[name]}{evidence})"]
    if quantity.form != "text":
        lines += wrapped(equation(name, quantity), width=width, indent=2, hanging=4)
    lines += wrapped(quantity.text, width=width, indent=2)
    inputs = sorted(FORMS[quantity.form].needs(quantity.coefficients))
    for key in inputs:
        lines += wrapped(f"{key}: {INPUTS[key]}", width=width, indent=4, hanging=2)
    if quantity.coefficients:
        numbers = [f"{key} {value:.10g}" for key, value in quantity.coefficients.items()]
        lines += wrapped(f"coefficients: {', '.join(numbers)}", width=width, indent=2, hanging=2)
    for row in quantity.rows:
        lines.append(f"    {format_count(row['params']):>6}  {row['value']:.10g}")
    return lines + uncertainty_text(quantity, width=width)


def uncertainty_text(quantity: Quantity, *, width: int) -> list[str]:
    """Covariance, a row a coefficient, scatter, number of points and R2, where known."""
    lines = []
    if quantity.covariance is not None:
        lines.append("  covariance (log_scale is ln scale):")
        for name, row in zip(quantity.covariance.names, quantity.covariance.matrix, strict=True):
            numbers = " ".join(f"{value:.6g}" for value in row)
            lines += wrapped(f"{name}: {numbers}", width=width, indent=4, hanging=2)
    facts: Mapping[str, float | None] = {
        "sd of ln(measured / law)": quantity.scatter,
        "points": quantity.n,
        "R2": quantity.r2,
    }
    return lines + [f"  {name} {fact:.6g}" for name, fact in facts.items() if fact is not None]


def equation(name: str, quantity: Quantity) -> str:
    """The equation with its numbers where it is a power law, else the form's own."""
    if quantity.form not in ("power", "exponents"):
        return f"{name} = {FORMS[quantity.form].formula}"
    factors = [
        f"({key} / {quantity.reference[key]:.10g})^{value:.6g}"
        if key in quantity.reference
        else f"{key}^{value:.6g}"
        for key, value in quantity.coefficients.items()
        if key in INPUTS
    ]
    if quantity.form == "exponents":
        return f"{name} proportional to {' '.join(factors)}"
    cap = "" if quantity.maximum is None else f", at most {quantity.maximum:.6g}"
    return f"{name} = {quantity.coefficients['scale']:.10g} {' '.join(factors)}".rstrip() + cap
