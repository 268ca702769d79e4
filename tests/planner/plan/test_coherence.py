"""What one command says of a plan, every other says: 60 random requests, to the digit.

Each is of exactly the params of its shape and of whole steps, so that the config of a trainer,
which knows no other size, is the plan.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fitting.laws.law import Law
from planner.change.base import take_up
from planner.change.batch import change_batch
from planner.facts.laws import read_lawbook
from planner.plan.anchor_text import read_anchors
from planner.plan.document import Plan
from planner.plan.export import export_plan
from planner.plan.file import plan_from_dict, plan_to_dict
from planner.plan.make import make_plan
from planner.plan.reuse import surface_of, tuning_of
from planner.report.evidence import gather
from planner.report.loss_figures import find_place, surface_data
from planner.request.choices import Choices, Pins
from planner.request.request import Request, ask_for, kept_laws
from planner.request.target import Target
from planner.review.batch_tradeoff import trade_off
from planner.review.check import check_run
from planner.review.diff import compare_plans
from planner.review.verify import plan_pilots
from planner.trainers.files import write_files
from planner.trainers.import_config import import_config
from proxies.run.experts import Experts, sparse_shape
from proxies.run.shape import count_params
from proxies.run.sizing import choose_shape

REQUESTS = 60

KINDS = ("dense", "experts", "mup", "pins", "anchors", "own laws")

OWN_LAW = """
[source]
key = "mine"
title = "My own runs"
evidence = "fitted"

[lr]
form = "power"
scatter = 0.1
coefficients = { scale = 0.8, params = -0.33, tokens = 0.02 }

[batch_tokens]
form = "power"
scatter = 0.2
coefficients = { scale = 0.5, tokens = 0.57 }
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One request and the laws that it is asked of."""

    request: Request
    book: Mapping[str, Law]
    files: tuple[Path, ...]

    def plan(self, **pins: float) -> Plan:
        """Its plan, or that with other pins."""
        if not pins:
            return make_plan(self.request, self.book)
        choices = replace(self.request.choices, pins=Pins(**pins))  # type: ignore[arg-type]  # by name
        return make_plan(replace(self.request, choices=choices), self.book)


@pytest.fixture(scope="module")
def own_law(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("laws") / "mine.toml"
    path.write_text(OWN_LAW)
    return path


def case_of(number: int, own_law: Path) -> Case:
    """The request of a number: each kind ten times, its sizes and choices at random."""
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    files = (own_law,) if kind == "own laws" else ()
    book = read_lawbook(files) if files else shipped()
    params, ratio = 10 ** rng.uniform(7.5, 9.7), 10 ** rng.uniform(1.0, 2.0)
    vocab_size, tied = rng.choice([32_000, 50_304]), rng.random() < 0.5
    shape = choose_shape(params, vocab_size=vocab_size, tied_embeddings=tied).shape
    chosen: dict[str, Any] = {"schedule": rng.choice(["wsd", "cosine", "linear"])}
    if kind == "experts":
        chosen["experts"] = Experts(n_experts=rng.choice([8, 64]), active=2)
        shape = sparse_shape(
            chosen["experts"], None, params, vocab_size=vocab_size, tied=tied
        ).shape
    elif kind == "mup":
        chosen |= {"parametrization": "mup", "base_d_model": 256}
        if rng.random() < 0.5:
            chosen |= {"parametrization": "completep", "base_n_layers": 4}
    elif kind == "pins":
        pins = {
            "lr": 10 ** rng.uniform(-3.6, -2.4),
            "batch_tokens": 2048.0 * rng.randint(16, 512),
            "weight_decay": round(rng.uniform(0.01, 0.4), 3),
        }
        chosen["pins"] = Pins(**{name: pins[name] for name in rng.sample(sorted(pins), k=2)})  # type: ignore[arg-type]  # by name
    elif kind == "anchors":
        chosen["anchors"] = read_anchors(
            [f"params={rng.randint(80, 300)}M tokens=4B lr={10 ** rng.uniform(-3, -2):.2g}"],
            seq_len=2048,
        )
    else:
        chosen["optimizer"] = rng.choice(["adamw", "adamw", "lion"])
    size = float(count_params(shape).params)
    choices = Choices(**chosen)
    laws = kept_laws(files, book)
    tokens = size * ratio
    for _ in range(20):
        target = Target(params=size, tokens=tokens, seq_len=2048, vocab_size=vocab_size)
        request = ask_for(target, shape=shape, reason="chosen", choices=choices, laws=laws)
        run = make_plan(request, book).run
        if run.total_tokens == tokens:
            return Case(request, book, files)
        tokens = float(run.total_tokens)
    raise AssertionError("no whole number of steps settles")


@cache
def shipped() -> dict[str, Law]:
    return read_lawbook()


@pytest.fixture(scope="module", params=range(REQUESTS))
def case(request: pytest.FixtureRequest, own_law: Path) -> Case:
    return case_of(request.param, own_law)


@pytest.fixture(scope="module")
def plan(case: Case) -> Plan:
    return case.plan()


def test_its_file_and_its_replanning_are_the_plan(case: Case, plan: Plan) -> None:
    plain = json.loads(json.dumps(plan_to_dict(plan)))
    read = plan_from_dict(plain, where="plan.json")
    assert plan_to_dict(read) == plain
    assert read.request is not None
    again = make_plan(read.request, case.book)
    assert plan_to_dict(again) == plain
    assert compare_plans(read, again, case.book).changes == ()


def test_its_config_is_checked_as_it_is_planned(case: Case, plan: Plan, tmp_path: Path) -> None:
    if plan.experts is not None:
        pytest.skip("no trainer's config holds experts")
    write_files(export_plan(plan, "pytorch")[0], tmp_path / "run.py")
    config = import_config("pytorch", tmp_path / "run.py")
    found = check_run(config, anchors=plan.anchors, law_files=case.files)
    checked = {number.name: number for number in found.numbers}
    batch, lr = plan.batch_tokens.value, plan.lr.value
    ours = {
        "batch_tokens": case.plan(warmup_steps=plan.warmup_steps).batch_tokens,
        "lr": case.plan(batch_tokens=batch).lr,
        "weight_decay": case.plan(batch_tokens=batch, lr=lr).weight_decay,
    }
    for name, number in checked.items():
        assert number.value == pytest.approx(getattr(plan, name).value, rel=1e-12), name
        assert number.recommended.value == pytest.approx(ours[name].value, rel=1e-12), name
    assert plan.request is not None
    if plan.request.choices.pins != Pins():
        return
    assert [number.factor for number in found.numbers] == pytest.approx([1.0] * 3, rel=1e-12)
    if plan.surface is not None:
        assert found.cost == pytest.approx(0.0, abs=5e-5)


def test_every_review_shows_its_numbers(case: Case, plan: Plan, tmp_path: Path) -> None:
    batch, lr = plan.batch_tokens.value, plan.lr.value
    placed = surface_of(plan, case.book)
    law = None if plan.surface is None else plan.surface.law
    assert (None if placed is None else placed.law) == law

    table = trade_off(plan, case.book)
    row = next(row for row in table.rows if row.batch_sequences == plan.batch_sequences)
    assert (table.batch_tokens, row.batch_tokens, table.surface) == (batch, batch, law)
    if row.lr is not None:
        assert (row.lr, row.loss_cost) == (lr, 0.0)

    under = take_up(plan, case.book)
    change = change_batch(under, batch_tokens=2 * batch, at_token=plan.target.tokens / 2)
    before = {number.name: number.before for number in change.numbers}
    assert (before["batch, tokens"], before["peak lr"]) == (batch, lr)
    assert before["weight decay"] == plan.weight_decay.value

    if placed is None:
        return
    pilots = plan_pilots(plan, fraction=0.1, book=case.book)
    assert (pilots.batch_tokens, pilots.pilots[1].lr, pilots.surface) == (batch, lr, law)

    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_to_dict(plan)))
    shown = find_place(gather(path))
    assert shown == placed
    assert surface_data(placed, tuning_of(plan))["at"] == [lr, batch]
    again = placed.error_cost(tuning_of(plan))
    assert plan.error_cost is not None
    assert again.lr.half == pytest.approx(plan.error_cost.lr.half, rel=1e-9)
