from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fitting.errors import InputError
from planner.compute.estimate import Compute, estimate_compute, explain_compute
from planner.compute.layout import divisors, largest_divisor
from planner.facts.accelerators import accelerators, parse_gpus
from proxies.run.spec import RunSpec
from tests.fixtures.plans import at_batch
from tests.fixtures.workloads import GPT2_124M, LLAMA2_7B, LLAMA2_70B, LLAMA3_405B, TINYLLAMA

WORKLOADS = [GPT2_124M, TINYLLAMA, LLAMA2_7B, LLAMA2_70B]


def state_bytes(compute: Compute) -> float:
    """Weights, gradients and optimizer of one device."""
    return compute.memory_bytes.total - compute.memory_bytes.activations


@pytest.mark.parametrize(
    ("workload", "gpus", "gpu_hours"),
    [
        (GPT2_124M, "8xA100-80GB", 8 * 94 / 60),
        (replace(GPT2_124M, tokens=10**10), "8xH100", 8 * 0.75),
        (TINYLLAMA, "16xA100-40GB", 3456),
        (LLAMA2_7B, "512xA100-80GB", 184_320),
        (LLAMA2_70B, "512xA100-80GB", 1_720_320),
    ],
)
def test_hours_of_published_runs_are_within_a_factor_of_1_6_and_in_the_band(
    workload: RunSpec, gpus: str, gpu_hours: float
) -> None:
    """llm.c 94 min, its H100 baseline 45 min, TinyLlama's README, Llama 2's model card.

    In sample: these runs are among those that set the utilisation; tests.benchmarks.utilisation
    leaves the run and its project out.
    """
    compute = estimate_compute(workload, parse_gpus(gpus))
    assert compute.timing is not None
    assert gpu_hours / 1.6 <= compute.timing.hours * compute.gpu_count <= 1.6 * gpu_hours
    low, high = compute.timing.hours_low, compute.timing.hours_high
    # llm.c's 94 minutes lie below the interval: its kernels are written for this very model.
    if workload is not GPT2_124M:
        assert low <= gpu_hours / compute.gpu_count <= high


def test_hours_can_be_redone_by_hand() -> None:
    compute = estimate_compute(TINYLLAMA, parse_gpus("16xA100-40GB"))
    assert compute.timing is not None
    mfu = compute.timing.mfu
    # 6.7604e9 FLOP a token, 16 x 312e12 FLOP/s.
    assert compute.timing.tokens_per_second == pytest.approx(16 * 312e12 * mfu / 6.7604e9, 1e-4)
    assert compute.timing.hours == pytest.approx(3e11 / compute.timing.tokens_per_second / 3600)
    assert compute.timing.gpu_hours == pytest.approx(16 * compute.timing.hours)
    # 400 W each, times the PUE.
    energy = compute.timing.gpu_hours * 0.4 * 1.1
    assert compute.timing.energy_kwh == pytest.approx(energy)
    lines = explain_compute(TINYLLAMA, compute)
    assert any(f"mfu {mfu:.3f} (" in line for line in lines)
    assert any("x 312" in line or "3.12e14" in line for line in lines)


@given(
    st.sampled_from(WORKLOADS),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([*sorted(accelerators()), None]),
)
def test_micro_batch_accumulation_and_data_parallel_make_the_batch_exactly(
    workload: RunSpec, batch: int, count: int, name: str | None
) -> None:
    assume(name or str(count) not in ("3090", "4090", "5090"))
    gpus = parse_gpus(f"{count}x{name}" if name else str(count))
    compute = estimate_compute(at_batch(workload, batch), gpus)
    parts = (compute.micro_batch_sequences, compute.accumulation, compute.data_parallel)
    assert parts[0] * parts[1] * parts[2] == batch
    assert min(parts) >= 1
    assert compute.data_parallel <= count
    # Devices left idle are never silent.
    idle = any("GPUs idle" in warning for warning in compute.warnings)
    assert idle == (compute.devices < count)
    if compute.usable_bytes is not None:
        assert compute.fits == (compute.memory_bytes.total <= compute.usable_bytes)
        assert compute.fits != any(
            "on the most GPUs" in w or "would do" in w for w in compute.warnings
        )


@given(
    st.sampled_from(WORKLOADS),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.sampled_from(["h100", "a100-40gb", "rtx-4090", "mi300x"]),
)
def test_more_gpus_are_never_slower_nor_hold_more_state_of_whole_models(
    workload: RunSpec, batch: int, count: int, more: int, name: str
) -> None:
    workload = at_batch(workload, batch)
    few = estimate_compute(workload, parse_gpus(f"{count}x{name}"))
    many = estimate_compute(workload, parse_gpus(f"{count + more}x{name}"))
    assert few.timing is not None
    assert many.timing is not None
    assert many.timing.hours <= few.timing.hours
    assert many.fits or not few.fits
    if few.tensor_parallel * many.tensor_parallel == 1:
        # 1e-9: the parts are sums of floats.
        assert state_bytes(many) <= state_bytes(few) * (1 + 1e-9)
        assert few.recompute or not many.recompute


@pytest.mark.parametrize(
    ("workload", "gpus", "layout"),
    [
        (GPT2_124M, "8xH100", "replicated"),
        (TINYLLAMA, "8xH100", "replicated"),
        (TINYLLAMA, "8xA100-40GB", "sharded"),
        (LLAMA2_7B, "8xH100", "sharded"),
        (LLAMA2_70B, "64xH100", "recomputed"),
    ],
)
def test_layout_shards_then_recomputes_as_memory_runs_out(
    workload: RunSpec, gpus: str, layout: str
) -> None:
    compute = estimate_compute(workload, parse_gpus(gpus))
    assert compute.sharded == (layout != "replicated")
    assert compute.recompute == (layout == "recomputed")
    assert compute.fits
    assert not compute.warnings


def test_a_model_that_does_not_fit_says_how_many_gpus_would_do() -> None:
    compute = estimate_compute(LLAMA2_70B, parse_gpus("8xH100"))
    assert compute.fits is False
    [warning] = compute.warnings
    assert "32 such GPUs would do" in warning
    assert estimate_compute(LLAMA2_70B, parse_gpus("32xH100")).fits
    assert not estimate_compute(LLAMA2_70B, parse_gpus("16xH100")).fits


def test_a_sequence_too_long_for_any_number_of_gpus_says_so() -> None:
    long = at_batch(replace(LLAMA2_7B, seq_len=1_048_576), 4)
    compute = estimate_compute(long, parse_gpus("8xH100"))
    assert compute.fits is False
    assert any("shorter --seq-len" in warning for warning in compute.warnings)


def test_a_batch_that_does_not_divide_names_the_batches_that_do() -> None:
    compute = estimate_compute(at_batch(TINYLLAMA, 250), parse_gpus("8xH100"))
    assert compute.data_parallel == compute.devices == 5
    [warning] = compute.warnings
    assert "3 of 8 GPUs idle" in warning
    assert "--batch 507904 (248 sequences) or --batch 524288 (256 sequences)" in warning


def test_more_gpus_than_sequences_leaves_the_rest_idle() -> None:
    compute = estimate_compute(at_batch(TINYLLAMA, 5), parse_gpus("8xH100"))
    assert (compute.data_parallel, compute.micro_batch_sequences) == (5, 1)
    assert "use --batch 16384 (8 sequences), or 5 GPUs" in compute.warnings[0]


def test_twice_as_many_gpus_as_sequences_share_each_matrix() -> None:
    compute = estimate_compute(at_batch(TINYLLAMA, 4), parse_gpus("8xH100"))
    assert (compute.data_parallel, compute.tensor_parallel, compute.pipeline_parallel) == (4, 2, 1)
    assert compute.warnings == (
        "each model lies over 2 GPUs (tensor 2 x pipeline 1); configs written by --export are data "
        "parallel only, so set those degrees in them",
    )
    assert any("8 GPUs = data 4 x tensor 2" in line for line in explain_compute(TINYLLAMA, compute))


def test_llama_3_405b_needs_tensor_parallelism_on_thousands_of_gpus() -> None:
    """Dubey et al. 2024 (arXiv 2407.21783), table 4: tensor 8 x pipeline 16 x data 128, 41% MFU.

    30.84M hours of H100s for 15.6T tokens (model card); the FSDP planned here has no pipeline.
    """
    compute = estimate_compute(LLAMA3_405B, parse_gpus("16384xH100"))
    assert (compute.tensor_parallel, compute.devices) == (8, 16_384)
    assert compute.fits
    assert compute.timing is not None
    assert compute.timing.gpu_hours == pytest.approx(30.84e6, rel=0.25)


def test_a_batch_too_small_to_shard_a_large_model_over_gets_a_pipeline() -> None:
    # Eight sequences shard 18 bytes x 406B over 8 x 8 GPUs: 114 GB each, more than an H100 has.
    compute = estimate_compute(at_batch(LLAMA3_405B, 8), parse_gpus("1024xH100"))
    assert compute.tensor_parallel == 8
    assert compute.pipeline_parallel > 1
    assert compute.fits
    assert any("is idle for about" in warning for warning in compute.warnings)


def test_a_share_with_no_divisor_names_a_batch_that_has_one() -> None:
    compute = estimate_compute(at_batch(LLAMA2_7B, 1016), parse_gpus("8xH200"))
    assert compute.micro_batch_sequences == 1
    assert "micro-batch 1 where 5 would fit" in compute.warnings[-1]
    right = estimate_compute(at_batch(LLAMA2_7B, 1040), parse_gpus("8xH200"))
    assert right.micro_batch_sequences == 5


def test_a_bare_count_gives_the_layout_but_no_time() -> None:
    compute = estimate_compute(LLAMA2_7B, parse_gpus("8"))
    assert (compute.data_parallel, compute.micro_batch_sequences, compute.accumulation) == (
        8,
        1,
        128,
    )
    assert (compute.timing, compute.fits, compute.usable_bytes) == (None, None, None)
    assert "write for example 8xh100" in compute.warnings[0]
    assert len(explain_compute(LLAMA2_7B, compute)) == 3


def test_what_was_assumed_about_the_device_is_a_warning() -> None:
    warnings = estimate_compute(TINYLLAMA, parse_gpus("8xA100")).warnings
    assert any("80 GB" in warning for warning in warnings)
    warnings = estimate_compute(TINYLLAMA, parse_gpus("8xMI300X")).warnings
    assert any("no published whole run" in warning for warning in warnings)


def test_an_optimizer_of_unknown_state_is_refused_with_the_nearest() -> None:
    other = replace(TINYLLAMA.optimizer, name="adam")
    with pytest.raises(InputError, match="nearest is 'adamw'"):
        estimate_compute(replace(TINYLLAMA, optimizer=other), parse_gpus("8"))


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_the_largest_divisor_divides_and_none_larger_does(number: int, limit: int) -> None:
    found = largest_divisor(number, limit)
    assert number % found == 0
    assert found <= limit
    assert not any(number % other == 0 for other in range(found + 1, min(number, limit) + 1))
    assert all(number % divisor == 0 for divisor in divisors(number))
