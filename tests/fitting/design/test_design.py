"""The next runs for a target, and how well lr and batch are known there."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitting.design import (
    Candidates,
    Done,
    Proposal,
    Ranges,
    Space,
    done_from,
    known_at,
    next_runs,
    target_space,
)
from fitting.errors import InputError
from fitting.laws.file import read_law
from fitting.runs.table import check_runs
from fitting.surface.line import Line
from fitting.surface.prior import line_from_law
from tests.fixtures.runs import BATCHES, LRS, SIZES, TOKENS, true_loss, true_point, tuned_table

LAWS = Path(__file__).parents[3] / "data" / "laws"
TARGET = (1e9, 2e10)
NOTHING = done_from(None)
SPACE = Space(
    cells=np.array([(n, d) for n in SIZES for d in TOKENS]),
    ranges=Ranges(batch_tokens=(4096.0, 4e6), batch_step=2048.0),
)


def step_law_line() -> Line:
    law = read_law(LAWS / "step-law.toml")
    return line_from_law(law.quantities["lr"], law.quantities["batch_tokens"])


def candidates() -> Candidates:
    """The grid of the synthetic table."""
    table = tuned_table()
    params, tokens = table["params"].to_numpy(float), table["tokens"].to_numpy(float)
    lr, batch = table["lr"].to_numpy(float), table["batch_tokens"].to_numpy(float)
    return Candidates(params, tokens, lr, batch, 6 * params * tokens)


def run(done: Done, proposals: list[Proposal], *, noise: float = 0.001, seed: int = 0) -> Done:
    """The runs after these have been made, by the known truth."""
    rng = np.random.default_rng([seed, len(done.loss)])
    at = np.array([(p.params, p.tokens, p.lr, p.batch_tokens) for p in proposals])
    loss = np.array([true_loss(*row) for row in at.tolist()])
    return Done(
        params=np.append(done.params, at[:, 0]),
        tokens=np.append(done.tokens, at[:, 1]),
        lr=np.append(done.lr, at[:, 2]),
        batch_tokens=np.append(done.batch_tokens, at[:, 3]),
        loss=np.append(done.loss, loss * np.exp(rng.normal(0, noise, len(at)))),
    )


def spend(budget: float, options: Space | Candidates, *, seed: int = 0) -> Done:
    """All runs that a budget buys, a visit at a time."""
    done, left = NOTHING, budget
    while True:
        try:
            proposals = next_runs(
                done, target=TARGET, budget_flops=left, options=options, seed=seed
            )
        except InputError:
            return done
        left -= math.fsum(p.flops for p in proposals)
        assert left >= 0
        done = run(done, proposals, seed=seed)


def test_the_first_runs_are_of_the_cheapest_cell_around_the_priors_optimum() -> None:
    first = next_runs(NOTHING, target=TARGET, budget_flops=1e20, options=SPACE)
    assert len(first) == 5
    assert {(p.params, p.tokens) for p in first} == {(6e7, 2e9)}
    lrs = [p.lr for p in first]
    assert min(lrs) < first[0].lr < max(lrs)


def test_a_law_as_prior_moves_the_first_runs_to_its_optimum() -> None:
    first = next_runs(
        NOTHING, target=TARGET, budget_flops=1e20, options=SPACE, prior=step_law_line()
    )[0]
    assert first.lr == pytest.approx(1.79 * 6e7**-0.713 * 2e9**0.307, rel=0.1)
    assert first.batch_tokens == pytest.approx(0.58 * 2e9**0.571, rel=0.1)


def test_a_visit_takes_at_most_an_eighth_of_what_is_left() -> None:
    dear = Space(np.array([(1e8, 1e9)]))
    assert len(next_runs(NOTHING, target=TARGET, budget_flops=32 * 6e17, options=dear)) == 4
    with pytest.raises(InputError, match=r"too few; .* give 1.44e\+19"):
        next_runs(NOTHING, target=TARGET, budget_flops=23 * 6e17, options=dear)


def test_cells_are_visited_from_cheap_to_dear_and_never_beyond_the_budget() -> None:
    proposals = next_runs(NOTHING, target=TARGET, budget_flops=3e20, options=SPACE, count=20)
    costs = [p.flops for p in proposals]
    assert costs == sorted(costs)
    assert len(proposals) == 20
    assert math.fsum(costs) <= 3e20


def test_runs_asked_for_one_by_one_complete_a_cells_design() -> None:
    done = NOTHING
    for _ in range(5):
        one = next_runs(done, target=TARGET, budget_flops=1e20, options=SPACE, count=1)
        done = run(done, one)
    assert len(set(zip(done.params, done.tokens, strict=True))) == 1
    assert len(set(done.lr)) == 5


def test_candidates_are_proposed_once_and_never_again_when_run() -> None:
    options = candidates()
    done, left, seen = NOTHING, 5e20, set[int]()
    for _ in range(6):
        proposals = next_runs(done, target=TARGET, budget_flops=left, options=options)
        rows = {p.row for p in proposals if p.row is not None}
        assert len(rows) == len(proposals)
        assert not rows & seen
        seen |= rows
        done, left = run(done, proposals), left - math.fsum(p.flops for p in proposals)


def test_the_same_runs_give_the_same_proposals() -> None:
    asked = [next_runs(NOTHING, target=TARGET, budget_flops=1e20, options=SPACE) for _ in "ab"]
    assert asked[0] == asked[1]


def test_no_run_is_proposed_near_a_diverged_one() -> None:
    first = next_runs(NOTHING, target=TARGET, budget_flops=1e20, options=SPACE)
    done = run(NOTHING, first[:1])
    lost = replace(done, loss=np.array([np.inf]))
    again = next_runs(lost, target=TARGET, budget_flops=1e20, options=SPACE)
    assert max(p.lr for p in again) <= first[0].lr / 4 * 1.001


def test_batches_are_multiples_of_the_sequence_and_leave_100_steps() -> None:
    few = Space(np.array([(1e7, 1e7)]), Ranges(batch_step=2048.0))
    for p in next_runs(NOTHING, target=TARGET, budget_flops=1e18, options=few):
        assert p.batch_tokens % 2048 == 0
        assert p.batch_tokens <= 1e5


def test_every_proposal_says_why_in_one_sentence() -> None:
    for p in next_runs(NOTHING, target=TARGET, budget_flops=1e21, options=SPACE, count=12):
        assert p.reason.endswith(".")
        assert "\n" not in p.reason


def test_a_small_budget_finds_the_optimum_of_a_larger_model() -> None:
    lr, batch = true_point(*TARGET)
    for seed in range(3):
        done = spend(4e20, SPACE, seed=seed)
        found = known_at(done, target=TARGET)
        assert abs(math.log(found.lr / lr)) < 0.35
        assert abs(math.log(found.batch_tokens / batch)) < 0.5


def test_more_runs_narrow_the_interval_at_the_target() -> None:
    widths = [known_at(spend(budget, SPACE), target=TARGET) for budget in (3e19, 1e21)]
    assert widths[1].lr_log_sd < widths[0].lr_log_sd
    assert widths[1].runs > widths[0].runs


def test_without_runs_the_prior_alone_is_known() -> None:
    known = known_at(NOTHING, target=TARGET, prior=step_law_line())
    assert known.runs == 0
    assert known.lr == pytest.approx(1.79 * 1e9**-0.713 * 2e10**0.307, rel=0.1)
    assert known_at(NOTHING, target=TARGET).lr_log_sd > known.lr_log_sd


def test_a_table_gives_its_tuned_and_its_diverged_runs() -> None:
    table = tuned_table().head(40).assign(status="finished")
    table.loc[0, "status"] = "diverged"
    done = done_from(check_runs(table))
    assert len(done.loss) == 40
    assert np.isinf(done.loss).sum() == 1


def test_a_ladder_lies_below_the_target_and_keeps_its_cells_as_money_is_spent() -> None:
    space = target_space(TARGET, total_flops=3e18)
    assert (space.cells < TARGET).all()
    assert len(set(space.cells[:, 0])) >= 4
    assert (6 * space.cells.prod(axis=1)).max() <= 3e18 / 40
    with pytest.raises(InputError, match="allow smaller runs"):
        target_space(TARGET, total_flops=3e18, ranges=Ranges(params=(1e9, 2e9)))


@pytest.mark.parametrize("count", [1, 7])
def test_as_many_runs_come_as_were_asked_for(count: int) -> None:
    asked = next_runs(NOTHING, target=TARGET, budget_flops=1e21, options=SPACE, count=count)
    assert len(asked) == count


def test_the_grid_of_the_table_is_what_candidates_come_from() -> None:
    proposals = next_runs(NOTHING, target=TARGET, budget_flops=1e20, options=candidates())
    assert all(p.lr in LRS and p.batch_tokens in BATCHES for p in proposals)
