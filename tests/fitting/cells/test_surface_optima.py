import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fitting.cells.spline import measured_optima
from fitting.runs.tuned import TunedRuns
from tests.measured.step_law_cells import TABLE, columns, read_table


def bowl(lr_best: float, batch_best: float, *, lrs: int = 7) -> TunedRuns:
    lr, batch = np.meshgrid(2.0 ** np.linspace(-11, -7, lrs), 2.0 ** np.linspace(16, 20, 6))
    gap = np.log2(lr / lr_best) ** 2 + np.log2(batch / batch_best) ** 2
    loss = 3.0 * (1 + 0.005 * gap)
    n = lr.size
    return TunedRuns(np.full(n, 1e8), np.full(n, 2e9), lr.ravel(), batch.ravel(), loss.ravel())


def test_the_bottom_of_a_bowl_is_found() -> None:
    (optimum,) = measured_optima(bowl(2.0**-8.7, 2.0**18.3))
    assert optimum.lr == pytest.approx(2.0**-8.7, rel=0.05)
    assert optimum.batch_tokens == pytest.approx(2.0**18.3, rel=0.05)
    assert not optimum.edge


def test_a_bottom_outside_the_grid_is_a_bound() -> None:
    (optimum,) = measured_optima(bowl(2.0**-6.0, 2.0**18))
    assert optimum.edge


def test_few_lrs_have_no_measured_optimum() -> None:
    assert measured_optima(bowl(2.0**-9, 2.0**18, lrs=3)) == []


@pytest.mark.slow
def test_measured_optima_are_those_of_the_shared_tool(shared: Path) -> None:
    tool = [sys.executable, str(shared / "tools" / "regret.py"), "--table", TABLE, "--optima"]
    lines = subprocess.run(tool, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = [json.loads(line) for line in lines]
    found = measured_optima(columns(read_table(shared)))
    assert len(found) == len(expected) == 36
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.lr, ours.batch_tokens) == pytest.approx((theirs["lr"], theirs["batch_tokens"]))
        assert ours.edge == theirs["edge"]
