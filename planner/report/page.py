"""HTML of the sections: one file, nothing fetched when it is looked at.

Jinja escapes whatever comes from files; numbers travel as JSON in which no `<` is left. plotly.js
is embedded once, gzip in base64, and the page inflates it.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from markupsafe import Markup

    from fitting.text import Section
    from planner.report.evidence import Evidence

EXPONENT = re.compile(r"[\d.]+e-\d+")
"""A number as 2.5e-4."""

MISSING = "plan report: needs {}; pip install '.[report]' in the checkout"


def check_extra() -> None:
    """Refuse where the packages of the extra `report` are absent.

    Raises:
        InputError: naming them.
    """
    absent = [name for name in ("plotly", "jinja2") if find_spec(name) is None]
    if absent:
        raise InputError(MISSING.format(" and ".join(absent)))


def render_page(
    sections: Sequence[Section], *, kind: str, title: str, subtitle: str, archive: dict[str, str]
) -> str:
    """The page as HTML.

    Args:
        sections: in the page's order.
        kind: what it is a report of, in two words.
        title: the page's.
        subtitle: one line under it.
        archive: text of each file to be saved from the page, by name.
    """
    from jinja2 import Environment, StrictUndefined

    folder = files("planner.report")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["steady"] = steady
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    data = {
        "figures": {
            figure.name: {"kind": figure.kind, **figure.data}
            for section in sections
            for figure in section.figures
        },
        "widgets": {section.widget: section.data for section in sections if section.widget},
        "archive": archive,
    }
    return template.render(
        sections=sections,
        kind=kind,
        title=title,
        subtitle=subtitle,
        archive=list(archive),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        data=json_text(data),
        plotly=packed_plotly(),
    )


def json_text(value: Any) -> str:
    """JSON that no HTML parser takes for anything else; NaN and infinity are refused."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def steady(text: str) -> Markup:
    """The text escaped, numbers with an exponent kept on one line."""
    from markupsafe import Markup, escape

    # As a plain string: a Markup would escape what is put in.
    return Markup(EXPONENT.sub(r'<span class="n">\g<0></span>', str(escape(text))))


@cache
def packed_plotly() -> str:
    """plotly.js as base64 of gzip; the same text gives the same bytes."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def archive_of(found: Evidence) -> dict[str, str]:
    """Text of the plan and the laws, to be saved from the page."""
    named: list[Path | None] = [found.files.plan, found.files.laws, found.files.curve]
    return {path.name: path.read_text(encoding="utf-8") for path in named if path is not None}
