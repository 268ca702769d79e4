"""The page without a browser: its structure, its numbers, and what comes from files."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fitting.fit.result import FittedLaws
from fitting.laws.evaluate import evaluate_law
from fitting.laws.surface import best_point, log_penalty, surface_from
from planner.cli import main
from planner.facts.laws import read_lawbook
from planner.plan.file import load_plan
from planner.plan.make import recommend
from planner.plan.reuse import surface_of, tuning_of, why_unpriced
from planner.report.evidence import Files, fitted_tables, gather, option_values
from planner.report.page import steady
from planner.request.choices import Choices, Pins
from tests.fixtures.reports import (
    EVIL,
    default_plan,
    evil_plan,
    fitted_table,
    small_target,
    write_fitted,
    write_plan,
)
from tests.fixtures.runs import true_surface

pytest.importorskip("plotly", reason="plotly is not installed (extra `report`)")
pytest.importorskip("jinja2", reason="jinja2 is not installed (extra `report`)")


class Outline(HTMLParser):
    """Tags with their attributes, and the text of scripts by their id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = (dict(attrs).get("id") or "page") if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> Any:
        return json.loads(self.scripts["data"])


def page_of(source: Path, folder: Path) -> Outline:
    assert main(["report", str(source), "-o", str(folder / "report.html")]) == 0
    return Outline((folder / "report.html").read_text())


@pytest.fixture(scope="module")
def plan_page(tmp_path_factory: pytest.TempPathFactory) -> Outline:
    folder = tmp_path_factory.mktemp("plan")
    return page_of(write_plan(folder, default_plan()), folder)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fitted(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def fitted_page(fitted: Path) -> Outline:
    return page_of(fitted, fitted)


@pytest.fixture(scope="module")
def fit(fitted: Path) -> FittedLaws:
    found = gather(fitted).fit
    assert found is not None
    return found


def q_of(surface: dict[str, Any], lr: float, batch: float) -> float:
    """The formula of `page.js`."""
    x, y = math.log(lr / surface["at"][0]), math.log(batch / surface["at"][1])
    return math.fsum(math.exp(a + g * x + h * y) for a, g, h in surface["terms"])


def test_the_page_fetches_nothing_and_stays_small(plan_page: Outline) -> None:
    for tag, attributes in plan_page.tags:
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(key)
            assert value is None or value.startswith("#"), (tag, key, value)
    assert "url(" not in plan_page.scripts["page"]
    policy = next(m for m in plan_page.named("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in str(policy["content"])


def test_the_data_are_the_plans(plan_page: Outline) -> None:
    plan, figures = default_plan(), plan_page.data["figures"]
    assert figures["contours"]["at"] == [plan.lr.value, plan.batch_tokens.value]
    assert plan.plateau is not None
    assert figures["contours"]["plateau"] == [
        [plan.plateau.lr.low, plan.plateau.lr.high],
        [plan.plateau.batch_tokens.low, plan.plateau.batch_tokens.high],
    ]
    known = {law.law: law.lr for law in plan.alternatives if law.lr is not None}
    assert dict(figures["others-lr"]["laws"]) == known
    assert figures["line-lr-params"]["plan"] == [plan.lr.value, plan.lr.low, plan.lr.high]
    assert max(figures["schedule"]["lr"]) == pytest.approx(plan.lr.value, rel=1e-5)
    assert figures["schedule"]["step"][-1] == plan.steps
    assert plan_page.data["widgets"]["sliders"]["loss"] == plan.loss.value
    assert json.loads(plan_page.data["archive"]["plan.json"])["lr"]["value"] == plan.lr.value


def test_the_pages_formula_is_the_surfaces(plan_page: Outline) -> None:
    surface = surface_from(read_lawbook()["step-law-surface"].quantities["surface"])
    data, target = plan_page.data["figures"]["contours"], default_plan().target
    for lr in data["lr"]:
        for batch in data["batch"]:
            expected = log_penalty(
                surface, params=target.params, tokens=target.tokens, lr=lr, batch_tokens=batch
            )
            assert math.log1p(q_of(data, lr, batch)) == pytest.approx(expected, rel=1e-9)
    assert data["best"] == pytest.approx(best_point(surface, target.params, target.tokens))


@pytest.mark.parametrize(
    "choices",
    [
        Choices(pins=Pins(lr=2e-3, batch_tokens=2**20)),
        Choices(law="deepseek"),
        Choices(parametrization="mup", optimizer="adamw"),
    ],
    ids=["pinned", "another law", "mup"],
)
def test_a_plans_surface_prices_as_its_plan_did(choices: Choices) -> None:
    plan = recommend(small_target(), choices=choices)
    place = surface_of(plan, read_lawbook())
    assert place is not None
    assert plan.plateau is not None
    assert place.error_cost(tuning_of(plan)) == plan.error_cost
    around = place.plateau(tuning_of(plan))
    for ours, kept in (
        (around.lr, plan.plateau.lr),
        (around.batch_tokens, plan.plateau.batch_tokens),
    ):
        assert (ours.low, ours.high) == pytest.approx((kept.low, kept.high), rel=1e-12)


def test_a_surface_that_is_not_the_plans_is_refused() -> None:
    plan, book = default_plan(), read_lawbook()
    assert plan.surface is not None
    edited = {**book, plan.surface.law: book["step-law"]}
    assert surface_of(plan, edited) is None
    assert "is another now: plan again" in why_unpriced(plan, edited)


def test_every_measured_optimum_is_beside_the_line(fit: FittedLaws, fitted_page: Outline) -> None:
    inside = [optimum for optimum in fit.optima if not optimum.edge]
    line = fitted_page.data["figures"]["line-lr-params"]
    assert len(line["measured"]) == len(inside) > 0
    assert len(line["bounds"]) == len(fit.optima) - len(inside)


def test_a_folder_fills_every_section(fitted: Path, fitted_page: Outline) -> None:
    assert {section["id"] for section in fitted_page.named("section")} == {
        "plan", "loss", "cost", "laws", "audit", "schedule", "others", "runs", "provenance",
    }  # fmt: skip
    assert (fitted / "report.html").stat().st_size < 5e6
    assert {"cell-1", "contours", "line-batch-tokens-tokens"} <= set(fitted_page.data["figures"])
    columns = {column["name"]: column for column in fitted_page.data["widgets"]["runs"]["columns"]}
    losses = fitted_table()["loss"]
    assert sorted(columns["loss"]["values"]) == pytest.approx(sorted(losses), rel=1e-5)


def test_the_contours_of_own_runs_are_those_of_the_truth(fitted_page: Outline) -> None:
    data = fitted_page.data["figures"]["contours"]
    best = best_point(true_surface(), 4e8, 2e10)
    assert data["best"] == pytest.approx(best, rel=0.2)


def test_laws_alone_say_what_is_absent_and_how_to_get_it(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laws = tmp_path / "laws.toml"
    text = (fitted / "laws.toml").read_text()
    laws.write_text(text.replace(str(fitted / "runs.parquet"), "gone.parquet"))
    page = page_of(laws, tmp_path)
    said = capsys.readouterr().out
    assert "No audit: the runs behind the laws are not at hand" in said
    assert "plan fit gone.parquet" in said
    figures = page.data["figures"]
    quantity = gather(laws).law
    assert quantity is not None
    line = figures["line-lr-params"]
    at = {"params": line["x"][0], "tokens": line["held"]}
    assert line["value"][0] == pytest.approx(evaluate_law(quantity.quantities["lr"], at))
    assert "contours" in figures


def test_a_plan_leads_to_its_laws_and_their_runs(fitted: Path, tmp_path: Path) -> None:
    plan = load_plan(fitted / "plan.json")
    command = f"plan --params 400M --tokens 20B --laws {fitted / 'laws.toml'} --json"
    path = write_plan(tmp_path, replace(plan, provenance=replace(plan.provenance, command=command)))
    found = gather(path)
    assert found.files.laws == fitted / "laws.toml"
    assert found.files.runs == (fitted / "runs.parquet",)
    assert found.notes == ()


def test_a_law_file_that_has_changed_is_not_taken_for_the_plans(
    fitted: Path, tmp_path: Path
) -> None:
    plan = load_plan(fitted / "plan.json")
    (tmp_path / "laws.toml").write_text((fitted / "laws.toml").read_text() + "\n# changed\n")
    assert plan.request is not None
    moved = replace(plan.request.laws[0], path="laws.toml")
    path = write_plan(tmp_path, replace(plan, request=replace(plan.request, laws=(moved,))))
    assert gather(path).files == Files(plan=path)


def test_a_folder_whose_plan_is_of_other_laws_says_so(fitted: Path, tmp_path: Path) -> None:
    write_plan(tmp_path, default_plan())
    (tmp_path / "laws.toml").write_text((fitted / "laws.toml").read_text().replace(str(fitted), ""))
    assert "was not made from" in gather(tmp_path).notes[0]


def test_nothing_from_a_file_becomes_markup(tmp_path: Path, fitted_page: Outline) -> None:
    page = page_of(write_plan(tmp_path, evil_plan()), tmp_path)
    for outline in (page, fitted_page):
        assert not outline.named("img")
        assert len(outline.named("script")) == 3
    assert page.data["figures"]["others-lr"]["laws"] == [[EVIL, 1e-3]]


def test_numbers_stay_on_one_line_and_words_stay_words() -> None:
    assert steady("2e-4 < 3") == '<span class="n">2e-4</span> &lt; 3'


def test_a_missing_package_is_one_line_that_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    source = write_plan(tmp_path, default_plan())
    assert main(["report", str(source), "-o", str(tmp_path / "report.html")]) == 2
    assert capsys.readouterr().err == (
        "plan: plan report: needs plotly; pip install '.[report]' in the checkout\n"
    )


def test_tables_and_figures_can_be_read_without_seeing(fitted_page: Outline) -> None:
    assert all(head.get("scope") in ("col", "row") for head in fitted_page.named("th"))
    assert ("a", {"class": "skip", "href": "#content"}) in fitted_page.tags
    ids = {attributes["id"] for _, attributes in fitted_page.tags if attributes.get("id")}
    images = [a for _, a in fitted_page.tags if a.get("role") == "img"]
    assert len(images) == len(fitted_page.data["figures"]) + 2
    for image in images:
        words = f"{image['aria-labelledby']} {image.get('aria-describedby', '')}".split()
        assert set(words) <= ids
    ranges = [a for a in fitted_page.named("input") if a["type"] == "range"]
    labels = {label.get("for") for label in fitted_page.named("label")}
    assert len(ranges) == 2
    assert {one["id"] for one in ranges} <= labels


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.json", None, "no such file or folder"),
        ("plan.txt", "", "ends in '.txt'"),
        ("plan.json", "{}", "not a plan of schema 1"),
        ("empty", None, "has none of plan.json"),
    ],
)
def test_what_is_no_plan_law_or_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, said: str
) -> None:
    source = tmp_path / name
    if text is not None:
        source.write_text(text)
    if name == "empty":
        source.mkdir()
    assert main(["report", str(source), "-o", str(tmp_path / "report.html")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_page_is_replaced_only_with_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_plan(tmp_path, default_plan())
    page = tmp_path / "report.html"
    page.write_text("mine")
    assert main(["report", str(source), "-o", str(page)]) == 2
    assert "--force" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert main(["report", str(source), "-o", str(page), "--force"]) == 0
    assert re.match("<!DOCTYPE html>", page.read_text())


def test_commands_are_read_as_a_shell_would() -> None:
    command = "plan fit 'my runs.csv' b.parquet --prior none --laws=x.toml --laws y.toml"
    assert fitted_tables(command) == ["my runs.csv", "b.parquet"]
    assert option_values(command, "--laws") == ["y.toml", "x.toml"]
    assert fitted_tables("plan calibrate --params 1B") == []
    assert option_values("plan 'torn", "--laws") == []
