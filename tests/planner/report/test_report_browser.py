"""The page in a real browser: it draws, its sliders price, its table sorts, nothing is fetched.

Needs Chromium (Debian: apt-get install chromium) and playwright (PyPI), which are no dependency.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from planner.cli import main
from planner.plan.file import load_plan
from planner.recommendation.place import Tuning
from planner.report.evidence import gather
from planner.report.loss_figures import find_place
from tests.fixtures.reports import evil_plan, fitted_table, write_fitted, write_plan

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("plotly", reason="plotly is not installed (extra `report`)")

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

PATIENCE = 300_000
"""Milliseconds: a machine with other work on it is slow, not wrong."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted folder with its page."""
    found = write_fitted(tmp_path_factory.mktemp("fitted"))
    assert main(["report", str(found), "-o", str(found / "report.html")]) == 0
    return found


def open_page(browser: Any, path: Path) -> Any:
    """The page, drawn; what it logs and fetches is in `page.said`."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.said.append(request.url))
    page.goto(path.as_uri(), timeout=PATIENCE)
    page.wait_for_selector("body[data-ready]", timeout=PATIENCE)
    return page


@pytest.fixture(scope="module")
def page(browser: Any, folder: Path) -> Any:
    return open_page(browser, folder / "report.html")


def test_the_page_logs_nothing_and_fetches_itself_alone(page: Any, folder: Path) -> None:
    assert page.said == [(folder / "report.html").as_uri()]


def test_every_figure_is_drawn(page: Any) -> None:
    drawn = page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.data?.length ?? 0)")
    assert len(drawn) > 10
    assert min(drawn) > 0
    assert page.locator("#plot-contours .contourlines path").count() >= 5
    assert page.locator("#plot-line-lr-params .scatterlayer .js-fill").count() == 1


def test_the_page_prices_as_the_surface_does(page: Any, folder: Path) -> None:
    place = find_place(gather(folder))
    assert place is not None
    plan = load_plan(folder / "plan.json")
    points = [
        [plan.lr.value * a, plan.batch_tokens.value * b]
        for a in (0.1, 0.5, 1, 2, 8)
        for b in (0.05, 1, 16)
    ]
    found = page.evaluate("points => points.map(p => penalty(DATA.figures.contours, ...p))", points)
    assert found == pytest.approx([place.penalty(Tuning(*point)) for point in points], rel=1e-9)


def test_sliders_move_by_keys_and_say_the_cost(page: Any, folder: Path) -> None:
    place = find_place(gather(folder))
    assert place is not None
    plan = load_plan(folder / "plan.json")
    page.focus("#slide-lr")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    lr, batch = plan.lr.value * 8**0.2, plan.batch_tokens.value
    over = place.cost(Tuning(lr, batch), over=Tuning(plan.lr.value, batch))
    said = page.inner_text("#said-cost")
    assert said.startswith(f"+{100 * over:.2f}% of the loss")
    assert f"predicted loss {plan.loss.value * (1 + over):.3f}" in said
    assert "1.5 times" in page.get_attribute("#slide-lr", "aria-valuetext")
    marker = "document.getElementById('plot-contours').data.find(t => t.name === 'sliders')"
    page.wait_for_function(f"{marker}.visible", timeout=PATIENCE)
    assert page.evaluate(f"{marker}.y[0]") == pytest.approx(lr)
    page.click("#slide-reset")
    assert page.inner_text("#said-cost").startswith("+0.00%")


def test_runs_sort_filter_and_turn_pages(page: Any) -> None:
    losses = fitted_table()["loss"]
    head = page.locator("#runs-head th", has_text="loss")
    column = page.evaluate("DATA.widgets.runs.columns.findIndex(column => column.name === 'loss')")

    def first() -> str:
        return str(page.inner_text(f"#runs-body tr:first-child > :nth-child({column + 1})"))

    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert first() == f"{losses.min():.4f}"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert first() == f"{losses.max():.4f}"
    assert page.inner_text("#runs-status").startswith(f"1 to 25 of {len(losses)} runs")
    page.click("#runs-on")
    assert page.inner_text("#runs-status").startswith("26 to 50")
    page.fill("#runs-filter", "params=250M lr<1e-3")
    kept = fitted_table().query("params == 2.5e8 and lr < 1e-3")
    assert f"of {len(kept)} runs" in page.inner_text("#runs-status")
    page.fill("#runs-filter", "")


def test_the_plots_follow_dark_mode_and_a_phone_needs_no_sideways_scrolling(page: Any) -> None:
    colour = "document.getElementById('plot-schedule')._fullLayout.font.color"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{colour} !== '{light}'", timeout=PATIENCE)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    width = "document.getElementById('plot-contours')._fullLayout.width"
    page.wait_for_function(f"{width} <= 390", timeout=PATIENCE)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_what_looks_like_markup_in_a_file_does_not_run(
    browser: Any, page: Any, tmp_path: Path
) -> None:
    path = write_plan(tmp_path, evil_plan())
    assert main(["report", str(path), "-o", str(tmp_path / "report.html")]) == 0
    evil = open_page(browser, tmp_path / "report.html")
    assert evil.evaluate("window.hacked") is None
    assert page.evaluate("window.hacked") is None
    assert len(evil.said) == 1
