import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.compute.estimate import estimate_compute
from planner.compute.timing import PUE, priced, run_timing
from planner.compute.utilisation import (
    HIGHEST,
    Setting,
    expected_utilisation,
    features,
    matmul_scale,
    read_law,
)
from planner.facts.accelerators import accelerators, parse_gpus
from proxies.run.layout import Layout
from tests.fixtures.workloads import LLAMA2_70B, TINYLLAMA
from tests.measured import fit_utilisation
from tests.measured.utilisation import leave_out


def setting_on(name: str, params: float = 7e9, devices: int = 64, **given: object) -> Setting:
    """A whole run on an accelerator."""
    device = accelerators()[name]
    return Setting(
        total_params=params,
        peak_tflops=device.bf16_tflops,
        bandwidth_tbs=device.bandwidth_tbs,
        tpu=name.startswith("tpu"),
        devices=devices,
        **given,  # type: ignore[arg-type]
    )


@given(
    st.sampled_from(sorted(accelerators())),
    st.floats(1e6, 1e13),
    st.integers(1, 100_000),
    st.sampled_from(["none", "selective", "full"]),
    st.floats(0, 0.9),
)
def test_utilisation_of_any_run_is_a_share_within_its_interval(
    name: str, params: float, devices: int, recompute: str, attention: float
) -> None:
    rate = expected_utilisation(
        accelerators()[name],
        setting_on(name, params, devices, recompute=recompute, attention_share=attention),
    )
    assert 0 < rate.low < rate.value <= rate.high <= 0.8


def test_h100s_reach_a_smaller_share_of_their_peak_than_a100s() -> None:
    """llm-foundry's 7B at 2,048 tokens: 64% on A100s, 46% on H100s."""
    rates = {
        n: expected_utilisation(accelerators()[n], setting_on(n)) for n in ("a100-80gb", "h100")
    }
    assert rates["h100"].value / rates["a100-80gb"].value == pytest.approx(46.44 / 64.23, rel=0.1)


def test_recomputation_and_long_sequences_lower_the_utilisation() -> None:
    plain = expected_utilisation(accelerators()["h100"], setting_on("h100")).value
    for worse in ({"recompute": "full"}, {"attention_share": 0.5}, {"tensor": 8}):
        rate = expected_utilisation(accelerators()["h100"], setting_on("h100", **worse))
        assert rate.value < plain


def test_a_device_without_published_runs_has_a_wider_interval() -> None:
    h100 = expected_utilisation(accelerators()["h100"], setting_on("h100"))
    b200 = expected_utilisation(accelerators()["b200"], setting_on("b200"))
    assert h100.measured
    assert not b200.measured
    assert b200.high / b200.low > h100.high / h100.low


def test_devices_with_weak_matmuls_are_expected_to_do_less() -> None:
    # MI300X: 668 of 1307 against the H100's 794.5 of 989.
    assert matmul_scale(accelerators()["mi300x"]) == pytest.approx((668.4 / 1307) / (794.5 / 989))
    assert matmul_scale(accelerators()["h100"]) == matmul_scale(accelerators()["rtx-4090"]) == 1


def test_frontiers_utilisations_lie_in_the_interval_of_the_law_that_did_not_see_them() -> None:
    """Dash et al. 2023 (arXiv 2312.12705): 36.14% of 175B on 1,024 GPUs, 31.96% of 1T on 3,072."""
    for params, devices, layout, published in (
        (1.75e11, 1024, {}, 0.3614),
        (1e12, 3072, {"tensor": 8, "pipeline": 64}, 0.3196),
    ):
        rate = expected_utilisation(
            accelerators()["mi250x-gcd"],
            setting_on("mi250x-gcd", params, devices, recompute=None, **layout),
        )
        assert rate.low <= published <= rate.high


def test_the_law_file_is_what_its_command_makes() -> None:
    law, fitted = read_law(), fit_utilisation.fit(fit_utilisation.read_rows())
    assert law["features"] == list(fit_utilisation.PRIORS) == list(features(setting_on("h100")))
    assert law["coefficients"] == pytest.approx(list(fitted.mean), abs=2e-3)
    assert law["between_projects"] == pytest.approx(fitted.spreads[1], abs=2e-3)


def test_hours_of_left_out_runs_are_within_a_quarter_for_two_thirds() -> None:
    """The bar of the plan's hours; 34 of 47 when written."""
    rows = fit_utilisation.read_rows()
    found = leave_out(rows, lambda row: row.project)
    runs = [found[i] for i, row in enumerate(rows) if row.setting.whole_run]
    close = [error for error, _ in runs if abs(math.expm1(error)) <= 0.25]
    held = [error for error, sd in runs if abs(error) <= 1.2816 * sd]
    assert len(close) >= 2 / 3 * len(runs)
    assert 0.7 <= len(held) / len(runs) <= 0.9


def test_uptime_is_that_of_published_runs() -> None:
    """BLOOM ran at 0.90 of its steady throughput, Gopher at 0.93, PaLM at 0.67."""
    assert 0.88 <= read_law()["uptime"] <= 0.93
    assert read_law()["uptime_low"] == pytest.approx(0.304 / 0.457, abs=1e-3)


def test_energy_and_cost_are_those_of_all_devices_that_are_paid_for() -> None:
    gpus = parse_gpus("8xh100")
    timing = run_timing(TINYLLAMA, gpus, Layout(data=4))
    assert timing is not None
    assert timing.energy_kwh == pytest.approx(8 * timing.hours * 0.7 * PUE)
    assert priced(timing, 2.5).cost == pytest.approx(20 * timing.hours)
    assert priced(timing, None).cost is None


def test_energy_of_llama_2_is_an_upper_bound_near_the_published_hours() -> None:
    """Llama 2 70B: 1,720,320 hours of A100s at 400 W (its model card)."""
    compute = estimate_compute(LLAMA2_70B, parse_gpus("1024xA100-80GB"))
    assert compute.timing is not None
    assert compute.timing.energy_kwh is not None
    assert compute.timing.energy_kwh / PUE == pytest.approx(1_720_320 * 0.4, rel=0.25)


def test_no_run_is_expected_above_the_highest_published_step() -> None:
    rows = [row for row in fit_utilisation.read_rows() if not row.setting.fp8]
    for tpu, highest in HIGHEST.items():
        best = max(row.mfu for row in rows if row.setting.tpu is tpu)
        assert best == pytest.approx(highest, abs=1e-3)
    rate = expected_utilisation(accelerators()["a100-80gb"], setting_on("a100-80gb", devices=8))
    assert rate.value <= HIGHEST[False] * read_law()["uptime"]
    assert "highest published" in rate.basis
