"""What the tests of the report's page share: plans, a fitted folder, texts that are no markup."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from planner.cli import main
from planner.plan.document import Plan, plan_to_json
from planner.plan.make import recommend
from planner.request.target import Target
from tests.synthetic import tuned_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

EVIL = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
"""What would run if a page took it for markup."""


def small_target(params: float = 5e8) -> Target:
    """Within the reach of Step Law's surface."""
    return Target(params=params, tokens=2e10, seq_len=2048, vocab_size=32000)


@cache
def default_plan() -> Plan:
    """A plan by the shipped laws."""
    return recommend(small_target())


def evil_plan() -> Plan:
    """A plan whose words are markup."""
    plan = default_plan()
    other = replace(plan.alternatives[1], law=EVIL, lr=1e-3, batch_tokens=1e5)
    return replace(
        plan,
        warnings=(EVIL,),
        lr=replace(plan.lr, law=EVIL),
        alternatives=(other,),
        nearest=(replace(plan.nearest[0], run=EVIL),),
        provenance=replace(plan.provenance, command=EVIL, laws={EVIL: "0", **plan.provenance.laws}),
    )


def write_plan(folder: Path, plan: Plan) -> Path:
    """A plan's JSON in a folder."""
    path = folder / "plan.json"
    path.write_text(plan_to_json(plan))
    return path


def fitted_table() -> pd.DataFrame:
    """The runs of `write_fitted`."""
    batches = (65536.0, 131072.0, 262144.0, 524288.0, 1048576.0)
    return tuned_table(tokens=(2e9, 2e10), batches=batches)


def write_fitted(folder: Path) -> Path:
    """A folder with runs, their laws, and a plan within the surface's reach."""
    runs, laws = folder / "runs.parquet", folder / "laws.toml"
    table = fitted_table()
    table.assign(run_id=[f"{number} {EVIL}" for number in range(len(table))]).to_parquet(runs)
    assert main(["fit", str(runs), "--prior", "none", "--out", str(laws)]) == 0
    write_plan(folder, recommend(small_target(4e8), law_files=(laws,)))
    return folder
