from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from planner.facts.accelerators import accelerators, parse_gpus, plain

NAMES = sorted(accelerators())


@pytest.mark.parametrize(
    ("name", "bf16", "fp8", "memory", "bandwidth"),
    [
        ("a100-40gb", 312, None, 40, 1.555),
        ("a100-80gb", 312, None, 80, 2.0),
        ("h100", 989, 1979, 80, 3.35),
        ("h100-pcie", 756, 1513, 80, 2.0),
        ("h200", 989, 1979, 141, 4.8),
        ("b200", 2250, 4500, 180, 8.0),
        ("mi300x", 1307, 2615, 192, 5.3),
        ("rtx-4090", 165.2, 330.3, 24, 1.01),
        ("tpu-v5p", 459, None, 95, 2.77),
    ],
)
def test_accelerators_have_the_vendors_dense_figures(
    name: str, bf16: float, fp8: float | None, memory: float, bandwidth: float
) -> None:
    found = accelerators()[name]
    assert (found.bf16_tflops, found.fp8_tflops) == (bf16, fp8)
    assert (found.memory_gb, found.bandwidth_tbs) == (memory, bandwidth)


@pytest.mark.parametrize("name", NAMES)
def test_every_accelerator_is_whole(name: str) -> None:
    found = accelerators()[name]
    assert 50 < found.bf16_tflops < 5000
    assert 10 < found.memory_gb < 500
    assert found.fp8_tflops is None or found.bf16_tflops <= found.fp8_tflops
    assert found.best_matmul_tflops is None or found.best_matmul_tflops < found.bf16_tflops
    assert found.evidence == ("verified" if found.sources else "recalled")
    assert all(getattr(found, field) is not None for field in found.recalled)


def test_no_name_means_two_accelerators() -> None:
    # Spellings of one accelerator may coincide once blanks and hyphens are gone.
    owners = defaultdict(set)
    for found in accelerators().values():
        for name in (found.name, *found.aliases, *found.loosely):
            owners[plain(name)].add(found.name)
    assert all(len(owner) == 1 for owner in owners.values())


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("8xH100", "8xh100"),
        ("8x H100", "8xh100"),
        (" 8 X h100 ", "8xh100"),
        ("8\u00d7H100", "8xh100"),
        ("8*NVIDIA H100", "8xh100"),
        ("64xA100-80", "64xa100-80gb"),
        ("64xA100 80GB", "64xa100-80gb"),
        ("A100-SXM4-40GB", "1xa100-40gb"),
        ("H100", "1xh100"),
        ("2x4090", "2xrtx-4090"),
        ("16xv5p", "16xtpu-v5p"),
        ("4xGaudi 2", "4xgaudi2"),
        ("8", "8"),
    ],
)
def test_gpus_are_read_as_people_write_them(text: str, canonical: str) -> None:
    gpus = parse_gpus(text)
    assert gpus.text == canonical
    assert not gpus.warnings


@given(
    st.integers(1, 1_000_000),
    st.sampled_from(NAMES),
    st.sampled_from(["x", "X", " x ", "*"]),
    st.sampled_from([str.upper, str.lower, str.title]),
)
def test_any_count_of_any_accelerator_reads_back(
    count: int, name: str, times: str, spell: Callable[[str], str]
) -> None:
    gpus = parse_gpus(f"{count}{times}{spell(name)}")
    assert (gpus.count, gpus.accelerator) == (count, accelerators()[name])
    assert parse_gpus(gpus.text) == gpus


@pytest.mark.parametrize(("text", "taken"), [("8xA100", "a100-80gb"), ("MI250X", "mi250x-gcd")])
def test_a_name_of_several_devices_says_which_was_taken(text: str, taken: str) -> None:
    gpus = parse_gpus(text)
    assert gpus.accelerator == accelerators()[taken]
    assert len(gpus.warnings) == 1
    assert "read as" in gpus.warnings[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no accelerator"),
        ("  ", "names no accelerator"),
        ("-8xH100", "names no accelerator"),
        ("8x", "'8x' is known"),
        ("xH100", "nearest is 'h100'"),
        ("0xH100", "1 to 1,000,000"),
        ("0", "1 to 1,000,000"),
        ("9" * 5000, "1 to 1,000,000"),
        ("8.5xH100", "nearest is 'h100'"),
        ("8xH1000", "nearest is 'h100'"),
        ("8xBANANA", "write for example 8xh100"),
        ("1e3", "write for example 8xh100"),
        ("nan", "write for example 8xh100"),
        ("8x8xH100", "nearest is 'h100'"),
        ("4090", "a count or an RTX 4090; write 1xRTX-4090"),
        ("8xH100\n4xA100", "names no accelerator"),
    ],
)
def test_malformed_gpus_are_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"^--gpus") as refused:
        parse_gpus(text)
    assert said in str(refused.value)
