from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fitting.cells.few_runs import places, rise, start_at
from fitting.errors import InputError
from fitting.laws.file import read_law
from fitting.surface.prior import neutral_surface
from fitting.surface.solver import Runs
from proxies.sweep.cells import SweepCell, expand_cells
from proxies.sweep.search.starts import predict_start
from proxies.sweep.spec import SweepSpec
from proxies.sweep.spec_file import parse_spec

LAW = read_law(Path(__file__).parents[3] / "data" / "laws" / "step-law.toml")
TEXT = """
model = { d_model = [128, 256], n_layers = [4], head_dim = 32 }
budget = { tokens_per_param = [20] }
corpus = { source = "python" }

[search]
lr = { low = 1e-4, high = 4e-2 }
batch_tokens = { low = 1024, high = 262144 }
law = "step-law"

[run]
seq_len = 128
"""


def sweep() -> tuple[SweepSpec, tuple[SweepCell, ...]]:
    spec = parse_spec(TEXT, where="SPEC.toml")
    return spec, expand_cells(spec, vocab_size=256)


def with_model(spec: SweepSpec, **changes: Any) -> SweepSpec:
    return replace(spec, model=replace(spec.model, **changes))


def runs_about(cell: SweepCell, lr: float, batch_tokens: float) -> Runs:
    """Fifteen runs of a cell that is best at a given point."""
    true = start_at(neutral_surface(), cell.params, cell.tokens, lr=lr, batch_tokens=batch_tokens)
    steps = np.array([(i, j) for i in (-2, -1, 0, 1, 2) for j in (-1, 0, 1)])
    lrs, batches = lr * 2.0 ** steps[:, 0], batch_tokens * 2.0 ** steps[:, 1]
    loss = 3 * np.exp(rise(np.array(true.weights), places(true, lrs, batches))[0])
    size = np.ones(len(loss))
    return Runs(cell.params * size, cell.tokens * size, lrs, batches, loss)


def test_first_cell_starts_from_the_law() -> None:
    spec, cells = sweep()
    start = predict_start(spec, cells[0], law=LAW)
    assert start is not None
    n, d = cells[0].params, cells[0].tokens
    assert start.lr == pytest.approx(1.79 * n**-0.713 * d**0.307)
    assert start.batch_tokens == pytest.approx(0.58 * d**0.571)


def test_later_cells_start_where_the_runs_moved_the_law() -> None:
    spec, cells = sweep()
    plain = [predict_start(spec, cell, law=LAW) for cell in cells]
    assert plain[0] is not None
    assert plain[1] is not None
    runs = runs_about(cells[0], plain[0].lr * 3, plain[0].batch_tokens / 2)
    moved = predict_start(spec, cells[1], law=LAW, runs=runs)
    assert moved is not None
    assert 1.5 < moved.lr / plain[1].lr < 4
    assert 0.3 < moved.batch_tokens / plain[1].batch_tokens < 0.9


def test_too_few_runs_leave_the_start_to_the_law() -> None:
    spec, cells = sweep()
    some = runs_about(cells[0], 1e-3, 1e4)
    two = Runs(*(getattr(some, name)[:2] for name in Runs.__slots__))
    assert predict_start(spec, cells[1], law=LAW, runs=two) == predict_start(
        spec, cells[1], law=LAW
    )


def test_a_start_by_hand_needs_no_law() -> None:
    spec = parse_spec(
        TEXT.replace('law = "step-law"', "start = { lr = 1e-3, batch_tokens = 8192 }"),
        where="SPEC.toml",
    )
    cells = expand_cells(spec, vocab_size=256)
    start = predict_start(spec, cells[0])
    assert start is not None
    assert (start.lr, start.batch_tokens) == (1e-3, 8192)
    later = predict_start(spec, cells[1], runs=runs_about(cells[0], 4e-3, 8192.0))
    assert later is not None
    assert later.lr > 1.5e-3


def test_without_law_or_start_there_is_none() -> None:
    spec, cells = sweep()
    spec = replace(spec, search=replace(spec.search, law=None, sampler="random"))
    assert predict_start(spec, cells[0]) is None


def test_an_sp_law_becomes_base_lr_under_mup_and_a_fifth_under_lion() -> None:
    spec, cells = sweep()
    plain = predict_start(spec, cells[1], law=LAW)
    mup = predict_start(with_model(spec, parametrization="mup", base_d_model=64), cells[1], law=LAW)
    lion = predict_start(replace(spec, run=replace(spec.run, optimizer="lion")), cells[1], law=LAW)
    assert plain is not None
    assert mup is not None
    assert lion is not None
    assert mup.lr / plain.lr == pytest.approx(256 / 64)
    assert lion.lr / plain.lr == pytest.approx(1 / 5)


def test_start_balances_its_terms() -> None:
    spec, cells = sweep()
    start = predict_start(spec, cells[0], law=LAW)
    assert start is not None
    a, b, c, p, n, m, h = start.weights
    q = [math.exp(x) for x in (a, b, c)]
    assert -p * q[0] + n * q[1] + h * q[2] == pytest.approx(0, abs=1e-12)
    assert p * q[0] + m * q[1] == pytest.approx(0, abs=1e-12)


def test_a_silent_law_is_refused_by_name() -> None:
    spec, cells = sweep()
    silent = replace(LAW, quantities={"lr": LAW.quantities["lr"]})
    with pytest.raises(InputError, match=r"\[search\] law: step-law gives no batch_tokens at"):
        predict_start(spec, cells[0], law=silent)
