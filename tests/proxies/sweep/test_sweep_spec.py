from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from proxies.run.parametrization import OPTIMIZERS, RULES
from proxies.run.schedule import KINDS
from proxies.run.shape import QK_NORMS, count_params
from proxies.run.spec import RunSpec
from proxies.sweep.axes import batch_lattice, lattice, sequence_bounds
from proxies.sweep.cells import (
    TrialSetting,
    expand_cells,
    make_run_schedule,
    make_run_spec,
    settle_base,
    total_flops,
)
from proxies.sweep.spec import AxisRange, ModelSpec, RunSettings, SearchSpec, SweepSpec
from proxies.sweep.spec_file import parse_spec, read_spec, spec_schema

SPEC = """
[model]
d_model = [64, 128]
n_layers = [2, 4]
head_dim = 32

[budget]
tokens = ["1M", 2_000_000]
flops = 1e15
wall_time = "15m"
interval_width = 2.0

[search]
sampler = "cells"
lr = { low = 1e-4, high = 3e-2 }
batch_tokens = { low = 1024, high = 65536 }
weight_decay = 0.1
runs_per_cell = 10
law = "step-law"

[corpus]
source = "python"

[run]
seq_len = 128
seeds = [0, 1]
"""


def parsed(text: str = SPEC) -> SweepSpec:
    return parse_spec(text, where="SPEC.toml")


def changed(old: str, new: str) -> str:
    assert old in SPEC
    return SPEC.replace(old, new)


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parsed(text)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("SPEC.toml")
    return said.removeprefix("SPEC.toml").strip()


def test_file_becomes_dataclasses_with_counts_and_times_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "SPEC.toml"
    path.write_text(SPEC)
    spec = read_spec(path)
    assert spec.budget.tokens == (1_000_000, 2_000_000)
    assert spec.budget.wall_time == 900
    assert spec.search.lr == AxisRange(low=1e-4, high=3e-2)
    assert spec.run.seeds == (0, 1)
    assert spec.corpus.tokenizer == "bytes"


def test_cells_are_every_member_at_every_budget_cheapest_first() -> None:
    cells = expand_cells(parsed(), vocab_size=256)
    assert [cell.name for cell in cells] == [
        "d64-l2-ff192-1000000",
        "d64-l2-ff192-2000000",
        "d128-l4-ff384-1000000",
        "d128-l4-ff384-2000000",
    ]
    assert [cell.flops for cell in cells] == sorted(cell.flops for cell in cells)
    assert all(cell.params == count_params(cell.shape).params for cell in cells)
    assert {cell.runs for cell in cells} == {10}
    assert total_flops(cells) == pytest.approx(60 * sum(c.params * c.tokens for c in cells))


def test_tokens_per_param_multiply_the_params_of_each_member() -> None:
    text = changed('tokens = ["1M", 2_000_000]', "tokens_per_param = [20, 40.5]")
    cells = expand_cells(parsed(text), vocab_size=256)
    assert {round(cell.tokens / cell.params, 2) for cell in cells} == {20, 40.5}


def test_grid_counts_its_points_times_seeds() -> None:
    text = (
        changed("interval_width = 2.0\n", "")
        .replace('sampler = "cells"', 'sampler = "grid"')
        .replace("lr = { low = 1e-4, high = 3e-2 }", "lr = [1e-3, 2e-3, 4e-3]")
        .replace("weight_decay = 0.1", "weight_decay = [0.0, 0.1]")
        .replace("batch_tokens = { low = 1024, high = 65536 }", "batch_tokens = [1024, 2048]")
    )
    assert expand_cells(parsed(text), vocab_size=256)[0].runs == 3 * 2 * 2 * 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seq_len = 128", "", "[run] seq_len: missing"),
        ("[corpus]\nsource", "[corpse]\nsource", "[corpse]: no such table; nearest is 'corpus'"),
        ("seeds =", "seed =", "[run] seed: no such key; nearest is 'seeds'"),
        ("head_dim = 32", "head_dim = 0", "[model] head_dim: 0 given; input should be greater"),
        ("head_dim = 32", 'head_dim = "32"', "[model] head_dim: '32' given; input should be a"),
        ("low = 1e-4", "low = -1", "[search] lr low: -1 given; input should be greater than 0"),
        ("low = 1e-4", "low = 1", "[search] lr: low 1 is not below high 0.03"),
        ('"1M"', '"1X"', "[budget] tokens[0]: '1X' given; '1X': 'X' is not a unit"),
        ('"15m"', '"soon"', "[budget] wall_time: 'soon' given; write seconds, 90s"),
        ('"cells"', '"target"', "[search] target: the sampler target needs one and no other"),
        ('"cells"', '"bayes"', "[search] sampler: 'bayes' given; input should be 'cells'"),
        ("n_layers = [2, 4]", "n_layers = [2, 4, 6]", "[model] n_layers: 3 values for 2 of"),
        ("head_dim = 32", "head_dim = 48", "[model] d_model: 64 is not a multiple of head_dim 48"),
        ("head_dim = 32", "head_dim = 32\nbase_d_model = 64", "[model] "),
        ('"1M", ', '"2M", ', "[budget]: the cell d64-l2-ff192-2000000 comes twice"),
        ("flops = 1e15", "flops = 1e3", "[budget] flops: 1e+03 is less than one run"),
        ('law = "step-law"', "", "[search] sampler: cells starts from a law; give law or start"),
        ("0.1", "[0.1, 0.2]", "[search] weight_decay: cells searches lr and batch_tokens"),
        ('"cells"', '"tpe"', "[budget] interval_width: the sampler tpe knows no interval"),
        ("{ low = 1024, high = 65536 }", "1000", "[search] batch_tokens: 1000 is not a multiple"),
        ("low = 1024, high = 65536", "low = 129, high = 130", "[search] batch_tokens: 129 to"),
        ("high = 65536", "high = 2_000_000", "[run] schedule: 1M tokens in batches of 1.48M are"),
        ("seq_len = 128", "seq_len = 128\nwarmup_fraction = 2", "[run] warmup_fraction: 2 given"),
        ("[model]", "[model", ": not valid TOML"),
    ],
)
def test_a_bad_value_is_one_line_with_its_key(old: str, new: str, said: str) -> None:
    assert refusal(changed(old, new)).startswith(said)


def test_schema_names_every_key_and_says_what_it_means() -> None:
    schema = spec_schema()
    for table in tomllib.loads(SPEC):
        name = schema["properties"][table]["$ref"].rpartition("/")[2]
        for key, said in schema["$defs"][name]["properties"].items():
            assert "description" in said or name == "StartSpec", (table, key)
    json.dumps(schema)


@pytest.mark.parametrize(
    ("table", "key", "known"),
    [
        (ModelSpec, "parametrization", RULES),
        (ModelSpec, "qk_norm", QK_NORMS),
        (RunSettings, "optimizer", OPTIMIZERS),
        (RunSettings, "schedule", KINDS.keys() - {"wsd-s", "two-stage"}),
    ],
)
def test_names_in_the_schema_are_those_of_the_registries(
    table: type, key: str, known: Iterable[str]
) -> None:
    assert set(get_args(get_type_hints(table)[key])) == set(known)


@given(
    low=st.floats(1e-6, 1.0),
    ratio=st.floats(1.01, 1e4),
    factor=st.floats(1.05, 8.0),
)
def test_lattice_rises_by_its_factor_within_the_range(
    low: float, ratio: float, factor: float
) -> None:
    axis = AxisRange(low=low, high=low * ratio, factor=factor)
    values = lattice(axis)
    assert values[0] == low
    assert values[-1] <= axis.high < values[-1] * factor * 1.0001
    assert all(b / a == pytest.approx(factor) for a, b in pairwise(values))


@given(
    seq_len=st.integers(1, 4096),
    low=st.floats(1.0, 100.0),
    ratio=st.floats(2.0, 1e3),
)
def test_batches_of_a_range_are_whole_sequences_inside_it(
    seq_len: int, low: float, ratio: float
) -> None:
    axis = AxisRange(low=low * seq_len, high=low * ratio * seq_len)
    batches = batch_lattice(axis, seq_len=seq_len)
    fewest, most = sequence_bounds(axis, seq_len=seq_len)
    assert fewest <= batches[0]
    assert batches[-1] <= most
    assert list(batches) == sorted(set(batches))


@given(st.integers(20, 10_000), st.floats(0.0, 0.3), st.floats(0.1, 0.6))
def test_schedule_shares_are_rounded_to_whole_steps(
    steps: int, warmup: float, decay: float
) -> None:
    settings = RunSettings(seq_len=128, warmup_fraction=warmup, decay_fraction=decay)
    schedule = make_run_schedule(settings, steps=steps)
    assert schedule.steps == steps
    assert schedule.warmup_steps == round(warmup * steps)
    assert schedule.decay_steps == round(decay * steps)


def test_specs_compare_by_value_and_differ_by_field() -> None:
    spec = parsed()
    assert parsed() == spec
    other = replace(spec, search=replace(spec.search, runs_per_cell=11))
    differing = [f.name for f in fields(spec) if getattr(spec, f.name) != getattr(other, f.name)]
    assert differing == ["search"]
    assert isinstance(other.search, SearchSpec)


def test_a_run_takes_its_size_from_the_cell_and_the_rest_from_setting_and_spec() -> None:
    text = changed("seeds = [0, 1]", 'seeds = [0, 1]\nbeta2 = 0.98\noptimizer = "lion"')
    spec = parsed(text.replace("head_dim = 32", 'head_dim = 32\nparametrization = "mup"'))
    cell = expand_cells(spec, vocab_size=256)[-1]
    run = make_run_spec(
        spec, cell, TrialSetting(lr=2e-3, batch_sequences=10, weight_decay=0.2, seed=1)
    )
    assert (run.shape, run.tokens, run.lr, run.weight_decay, run.options.seed) == (
        cell.shape,
        2_000_000,
        2e-3,
        0.2,
        1,
    )
    assert run.parametrization.width_mult == 128 / 256
    assert (run.optimizer.name, run.optimizer.beta2) == ("lion", 0.98)
    assert run.schedule.steps == -(-2_000_000 // 1280)


def based(rule: str, *, run: str = "", model: str = "") -> SweepSpec:
    """The spec under another rule, with more keys."""
    text = changed("seq_len = 128", f"seq_len = 128\n{run}")
    return parsed(
        text.replace("head_dim = 32", f'head_dim = 32\nparametrization = "{rule}"\n{model}')
    )


def first_run(spec: SweepSpec) -> RunSpec:
    """A run of its first cell."""
    setting = TrialSetting(lr=2e-3, batch_sequences=10, weight_decay=0.2, seed=1)
    return make_run_spec(spec, expand_cells(spec, vocab_size=256)[0], setting)


@pytest.mark.parametrize(
    ("spec", "init_std", "multiplier", "warmup"),
    [
        (based("mup"), 0.08, 10.0, 0.1),
        (based("completep", model="base_n_layers = 2"), 0.08, 10.0, 0.1),
        (based("sp"), 0.02, 1.0, None),
        (based("mup", run='optimizer = "lion"'), 0.02, 1.0, None),
        (based("mup", run="init_std = 0.03"), 0.03, 10.0, 0.1),
        (based("mup", run="embedding_multiplier = 1\nwarmup_fraction = 0"), 0.08, 1.0, 0.0),
        (based("sp", run="embedding_multiplier = 4\ninit_std = 0.1"), 0.1, 4.0, None),
    ],
)
def test_a_silent_spec_has_the_base_of_its_rule(
    spec: SweepSpec, init_std: float, multiplier: float, warmup: float | None
) -> None:
    settled = settle_base(spec, like=None)
    assert settled.run.warmup_fraction == warmup
    for each in (spec, settled):
        run = first_run(each)
        assert run.init_std == init_std
        assert run.parametrization.embedding_multiplier == multiplier
        assert run.optimizer.grad_clip == 1
    assert settle_base(settled, like=None) == settled


def test_a_head_has_the_init_that_the_spec_gives_it() -> None:
    run = first_run(based("mup", run="head_init_std = 0.3"))
    assert {g.name: g.init_std for g in run.groups}["head"] == 0.3
    with pytest.raises(InputError, match=r"\[run\] head_init_std: 0\.3, but the head is the emb"):
        based("mup", run="head_init_std = 0.3", model="tied_embeddings = true")


def test_a_sweep_that_goes_on_keeps_its_base_and_says_where_it_was_told_another() -> None:
    old = based("mup", run="init_std = 0.02\nembedding_multiplier = 1")
    assert settle_base(based("mup"), like=old).run == old.run
    told = settle_base(based("mup", run="init_std = 0.08"), like=old)
    assert (told.run.init_std, told.run.embedding_multiplier) == (0.08, 1.0)


def test_completep_without_a_base_depth_is_refused() -> None:
    text = changed("head_dim = 32", 'head_dim = 32\nparametrization = "completep"')
    assert "[model] parametrization completep: is mup where no base depth" in refusal(text)


def test_reading_a_spec_loads_neither_torch_nor_optuna() -> None:
    code = "import sys, proxies.sweep.spec_file; print({'torch', 'optuna'} & sys.modules.keys())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
