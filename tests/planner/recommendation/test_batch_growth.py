"""A batch that grows: its stages, their price, and what each trainer makes of them."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitting.errors import ExportError, InputError
from planner import Choices, Pins, Plan, Target, recommend
from planner.cli import main
from planner.plan.export import export_plan
from planner.plan.file import load_plan, plan_from_dict, plan_to_dict, plan_to_json, to_plain
from planner.request.growth import read_growth
from planner.trainers.export import find_trainer, trainer_names
from planner.trainers.supported import megatron, olmo_core, pytorch
from planner.trainers.trainer import nearest_run
from proxies.run.batching import GrowthStage, count_updates
from proxies.run.spec import RunSpec
from tests.fixtures.plans import SCHEDULES, SMALL, plain, small_run

MEGATRON, OLMO, PYTORCH = megatron.TRAINER, olmo_core.TRAINER, pytorch.TRAINER


def plan_for(growth: str, batch: int = 256, **choices: Any) -> Plan:
    return recommend(
        Target(params=2e8, tokens=4e9, seq_len=2048, vocab_size=32000),
        choices=Choices(
            pins=Pins(batch_tokens=batch * 2048), batch_growth=read_growth(growth), **choices
        ),
    )


def stages_of(growth: str, **choices: Any) -> tuple[GrowthStage, ...]:
    part = plan_for(growth, **choices).batch_growth
    assert part is not None
    return part.stages


def test_a_size_starts_where_the_critical_batch_has_reached_it() -> None:
    stages = stages_of("noise-scale")
    for stage in stages[1:]:
        # Power Lines: 0.0471 D^0.462 sequences of 2,048.
        assert 0.0471 * stage.from_token**0.462 == pytest.approx(stage.batch_sequences, rel=1e-3)
    assert [stage.batch_sequences for stage in stages] == [64, 128, 256, 512, 1024]


def test_a_doubling_takes_four_and_a_half_times_the_tokens() -> None:
    starts = [stage.from_token for stage in stages_of("noise-scale")[1:]]
    for before, after in pairwise(starts):
        assert after / before == pytest.approx(2 ** (1 / 0.462), rel=1e-3)


def test_the_lr_grows_by_the_root_of_two_a_doubling_about_the_planned_batch() -> None:
    # Merrill et al. 2025; Malladi et al. 2022.
    stages = stages_of("noise-scale")
    planned = next(stage for stage in stages if stage.batch_sequences == 256)
    assert planned.lr_factor == 1
    for before, after in pairwise(stages):
        assert after.lr_factor / before.lr_factor == pytest.approx(math.sqrt(2))
    assert stages_of("noise-scale lr=linear")[-1].lr_factor == 4
    assert {stage.lr_factor for stage in stages_of("noise-scale lr=none")} == {1}


def test_beta2_is_kept_or_its_half_life_is() -> None:
    assert {stage.beta2 for stage in stages_of("noise-scale")} == {0.95}
    for stage in stages_of("noise-scale beta2=half-life"):
        tokens = stage.batch_sequences * math.log(2) / -math.log(stage.beta2)
        assert tokens == pytest.approx(256 * math.log(2) / -math.log(0.95))


def test_a_smaller_fraction_of_the_critical_batch_takes_fewer_tokens_and_more_updates() -> None:
    whole, quarter = (plan_for(f"noise-scale fraction={x}").batch_growth for x in ("1", "0.25"))
    assert whole is not None
    assert quarter is not None
    assert whole.relative_tokens is not None
    assert quarter.relative_tokens is not None
    assert quarter.relative_tokens < whole.relative_tokens
    assert quarter.steps > whole.steps


def test_gpt_3_ramped_from_32k_to_its_full_batch_over_the_first_billions() -> None:
    # Brown et al. 2020: from 32k tokens over the first 4 to 12 billion.
    stages = stages_of("ramp from=32768 to=0.5M over=1B lr=none")
    assert stages[0].batch_sequences == 16
    assert stages[-1].batch_sequences * 2048 == pytest.approx(0.5e6, rel=0.01)
    assert stages[-1].from_token == pytest.approx(1e9, rel=0.001)
    rises = {b.batch_sequences - a.batch_sequences for a, b in pairwise(stages)}
    assert len(rises) == 1


def test_blooms_ramp_is_read_from_its_arguments() -> None:
    # BLOOM: 192 + 16 a step over 9,765,625 samples to 2,048 sequences.
    text = MEGATRON.write(small_run(), [])[""]
    text = text.replace("--global-batch-size 24", "--global-batch-size 2048")
    text += "--rampup-batch-size 192 16 9765625 --train-samples 220000000"
    stages = MEGATRON.read({"": text.replace("DATA_PARALLEL=4", "DATA_PARALLEL=1")}).growth
    assert len(stages) == 117
    assert (stages[0].batch_sequences, stages[-1].batch_sequences) == (192, 2048)
    assert stages[-1].from_token == 9765625 * 64


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=5),
    st.integers(1, 500),
)
def test_updates_are_those_that_a_run_makes(sizes: list[tuple[int, int]], total: int) -> None:
    stages, start = [], 0
    for length, batch in sizes:
        stages.append(
            GrowthStage(from_token=start * 10, batch_sequences=batch, lr_factor=1.0, beta2=0.95)
        )
        start += length
    seen = updates = 0
    while seen < total:
        seen += [stage for stage in stages if stage.from_token <= seen * 10][-1].batch_sequences
        updates += 1
    assert count_updates(tuple(stages), sequences=total, seq_len=10) == updates


def test_measured_noise_decides_where_it_is_given(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    rows = [f"1e7,{t},1e-3,65536,4,{200 * t**0.4}" for t in (1e8, 2e8, 4e8)]
    runs.write_text(
        "\n".join(["params,tokens,lr,batch_tokens,loss,noise_scale_tokens", *rows]) + "\n"
    )
    part = plan_for(f"noise-scale noise={runs}").batch_growth
    assert part is not None
    assert "runs.csv" in part.source
    for stage in part.stages[1:]:
        assert 200 * stage.from_token**0.4 == pytest.approx(stage.batch_sequences * 2048, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "kind ''"),
        ("rmap", "kind 'rmap': not known"),
        ("ramp form=1M", "'form=1M': not known"),
        ("ramp fraction=0.5", "a ramp has none"),
        ("noise-scale over=1B", "only a ramp has it"),
        ("ramp lr=cubic", "lr 'cubic'"),
        ("ramp beta2=x", "beta2 'x'"),
        ("ramp to=ten", "--batch-growth to 'ten'"),
    ],
)
def test_a_growth_that_is_none_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_growth(text)
    assert said in str(error.value)


def test_a_growth_with_nothing_to_grow_is_refused() -> None:
    with pytest.raises(InputError, match="no second batch"):
        plan_for("noise-scale to=0.5M", batch=255)
    with pytest.raises(InputError, match="smaller over="):
        plan_for("ramp over=5B")


def test_the_plan_says_when_the_surface_wants_a_smaller_lr() -> None:
    assert any("wants" in sentence for sentence in plan_for("noise-scale").warnings)
    assert not any("wants" in sentence for sentence in plan_for("ramp").warnings)


def test_stages_survive_the_plans_json(tmp_path: Path) -> None:
    plan = plan_for("noise-scale")
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(plan), encoding="utf-8")
    assert load_plan(path) == plan
    assert plan.steps == math.ceil(4e9 / (256 * 2048))


def test_the_table_and_the_explanation_show_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--params", "200M", "--tokens", "4B", "--batch-growth", "ramp", "--explain"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "batch growth  ramp (given)" in out
    assert "\nbatch growth\n" in out


def growing(growth: str, **chosen: Any) -> RunSpec:
    """A small run on 4 GPUs, its batch growing."""
    run = small_run(batch_growth=read_growth(growth), **chosen)
    assert run.growth
    return run


RAMP = "ramp from=256 over=1M lr=none"
DOUBLING = "noise-scale from=512 fraction=0.1"


@pytest.mark.parametrize("growth", [RAMP, DOUBLING])
@pytest.mark.parametrize("name", trainer_names())
def test_a_growth_is_exported_as_it_is_or_refused_by_name(name: str, growth: str) -> None:
    run = growing(growth, schedule=SCHEDULES["cosine"])
    trainer = find_trainer(name)
    said = nearest_run(run, trainer)
    lost = "batch growth" in {loss.what for loss in said.losses}
    takes = {RAMP: {"megatron", "pytorch"}, DOUBLING: {"olmo_core", "pytorch"}}[growth]
    assert lost == (name not in takes)
    assert bool(trainer.batch_ramp) == (name in {"megatron", "olmo_core", "pytorch"})
    read = trainer.read(trainer.write(said.run, ["a head"]))
    assert to_plain(read) == plain(said.run)
    assert bool(read.growth) == (not lost)


@pytest.mark.parametrize("schedule", ["wsd linear to 0.0", "wsd cosine to 0.1", "constant"])
def test_olmo_core_reads_every_schedule_in_tokens_back(schedule: str) -> None:
    run = growing(DOUBLING, schedule=SCHEDULES[schedule])
    said = nearest_run(run, OLMO)
    assert not said.losses or schedule == "wsd cosine to 0.1"
    assert to_plain(OLMO.read(OLMO.write(said.run, []))) == plain(said.run)


def test_an_export_that_loses_the_growth_says_how_to_keep_it() -> None:
    plan = plan_for("ramp", schedule="cosine")
    with pytest.raises(ExportError, match=r'its lr does not follow the batch.*"ramp lr=none"'):
        export_plan(plan, "megatron")
    files, said = export_plan(plan, "megatron", lossy=True)
    assert "batch growth" in str(said.losses[0])
    assert "--rampup-batch-size" not in files[""]


def test_an_edited_growth_is_refused() -> None:
    plain = plan_to_dict(plan_for("ramp"))
    stages = plain["batch_growth"]["stages"]
    for wrong in (
        stages[1:],
        [stages[0], stages[1] | {"from_token": 1}],
        [stages[0], stages[2], stages[1]],
        [stages[0] | {"batch_sequences": 0}],
    ):
        plain["batch_growth"]["stages"] = wrong
        with pytest.raises(InputError, match="batch_growth"):
            plan_from_dict(plain, where="plan.json")


def test_pytorch_trains_the_planned_updates() -> None:
    torch = pytest.importorskip("torch")
    run = growing("noise-scale fraction=0.2 from=512 beta2=half-life", tokens=1e5)
    module: dict[str, Any] = {}
    exec(compile(PYTORCH.write(run, [])[""], "exported.py", "exec"), module)
    seen: list[tuple[float, float]] = []

    class Spy:
        """An optimizer that remembers the lr and beta2 of each update."""

        def __init__(self) -> None:
            self.param_groups: list[dict[str, Any]] = [{"lr": run.lr, "betas": (0.9, 0.95)}]

        def step(self) -> None:
            group = self.param_groups[0]
            seen.append((group["lr"], group["betas"][1]))

        def zero_grad(self) -> None:
            pass

    weight = torch.nn.Parameter(torch.zeros(SMALL.vocab_size))
    model = SimpleNamespace(parameters=lambda: [weight])
    micro = run.layout.micro_batch_sequences

    def batches() -> Any:
        while True:
            yield torch.zeros(micro, 3, dtype=torch.long)

    def call(tokens: Any) -> Any:
        return weight.expand(*tokens.shape, SMALL.vocab_size)

    module["make_optimizers"] = lambda _model: [Spy()]
    call.parameters = model.parameters  # type: ignore[attr-defined]  # stands for a model
    module["train"](call, batches())
    total = run.schedule.steps * run.batch_sequences
    stages = run.growth
    assert len(seen) == count_updates(stages, sequences=total, seq_len=run.seq_len)
    # The warmup ends in the middle of the run, so that its peak is in the last stages.
    assert 1 < max(lr for lr, _ in seen) / run.lr <= stages[-1].lr_factor
    assert seen[-1][0] == pytest.approx(0, abs=1e-12)
    assert (seen[0][1], seen[-1][1]) == (stages[0].beta2, stages[-1].beta2)


@pytest.mark.trainers
def test_megatrons_own_calculator_takes_our_batches() -> None:
    pytest.importorskip("megatron.core", reason="megatron-core is not installed (`trainers`)")
    from megatron.core.num_microbatches_calculator import RampupBatchsizeNumMicroBatchesCalculator

    run = growing(RAMP, schedule=SCHEDULES["cosine"])
    found = megatron.read_arguments(MEGATRON.write(run, [])[""])
    ramp = [int(word) for word in found["--rampup-batch-size"].split()]
    layout = run.layout
    theirs = RampupBatchsizeNumMicroBatchesCalculator(
        int(found["--global-batch-size"]),
        layout.micro_batch_sequences,
        layout.data,
        decrease_batch_size_if_needed=False,
        rank=0,
        start_global_batch_size=ramp[0],
        batch_size_increment=ramp[1],
        ramup_samples=ramp[2],
    )
    samples = updates = 0
    while samples < found["--train-samples"]:
        theirs.update(samples, consistency_check=True)
        ours = [s for s in run.growth if s.from_token <= samples * run.seq_len][-1]
        assert theirs.get_current_global_batch_size() == ours.batch_sequences
        samples += ours.batch_sequences
        updates += 1
    total = run.schedule.steps * run.batch_sequences
    assert updates == count_updates(run.growth, sequences=total, seq_len=run.seq_len)


@pytest.mark.trainers
def test_olmo_cores_own_callback_takes_our_batches_and_lr() -> None:
    pytest.importorskip("olmo_core", reason="ai2-olmo-core is not installed (`trainers`)")
    run = growing(DOUBLING, schedule=SCHEDULES["wsd linear to 0.0"])
    module: dict[str, Any] = {}
    exec(compile(OLMO.write(run, [])[""], "exported.py", "exec"), module)
    callback = module["callbacks"]["batch_size_scheduler"]
    assert callback.batch_sizes == [stage.batch_sequences * run.seq_len for stage in run.growth]
    assert [start.value for start in callback.schedule] == [
        stage.from_token for stage in run.growth
    ]
    train, total = module["train_module"], module["duration"].value
    assert total == run.schedule.steps * run.batch_sequences * run.seq_len
    first, last = run.growth[0], run.growth[-1]
    peak = train.optim.lr * math.sqrt(last.batch_sequences / first.batch_sequences)
    assert peak == pytest.approx(run.lr * last.lr_factor)
    assert train.scheduler.get_lr(peak, total // 2, total) == pytest.approx(peak)
    assert train.scheduler.get_lr(peak, total, total) == pytest.approx(0)
