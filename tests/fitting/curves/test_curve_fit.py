"""Fits of loss-curve laws: recovery, the held-out bars, law files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitting.curves.fit import CurveFit, fit_curves
from fitting.curves.forms import CURVE_FORMS
from fitting.curves.law import CurveLaw, curve_law, forecast, law_of_fit
from fitting.errors import InputError
from fitting.laws.file import read_law
from fitting.logs.series import Curve
from tests.fixtures.curves import TRAINED_ON, WARMUP, read_size, simulated


def round_trip(
    curves: list[Curve], path: Path, form: str = "extended"
) -> tuple[CurveFit, CurveLaw]:
    fit = fit_curves(curves, form=CURVE_FORMS[form], warmup_steps=WARMUP)
    law = law_of_fit(fit, curves, name=path.stem, command="x", warmup_steps=WARMUP)
    path.write_bytes(law.content)
    return fit, curve_law(read_law(path), where=str(path))


def test_law_is_recovered_from_its_own_curves(tmp_path: Path) -> None:
    curves = [simulated(name, noise=3e-4) for name in ("constant", "cosine", "drop")]
    _, law = round_trip(curves, tmp_path / "curve.toml", "multi-power")
    held = simulated("cosine", steps=40_000)
    found = forecast(law, held, warmup_steps=WARMUP)
    assert held.loss is not None
    np.testing.assert_allclose(found.loss, held.loss, rtol=2e-3)
    assert (found.low < found.loss).all()
    assert (found.loss < found.high).all()


def test_law_file_gives_the_same_forecast_as_the_fit(tmp_path: Path) -> None:
    curves = [simulated(name, noise=3e-4) for name in ("constant", "cosine")]
    fit, law = round_trip(curves, tmp_path / "curve.toml")
    found = forecast(law, curves[1], warmup_steps=WARMUP)
    fitted = np.log(curves[1].loss) - fit.log_residual[fit.data.run == 1]  # type: ignore[arg-type]  # it was run
    np.testing.assert_allclose(np.log(found.loss), fitted, atol=1e-9)
    assert law.steps == (24_000, 24_000)
    assert law.peaks == pytest.approx((3e-4, 3e-4))
    assert law.scatter == pytest.approx(fit.scatter)


def test_rows_of_the_warmup_are_left_out() -> None:
    curve = simulated("constant")
    assert curve.loss is not None
    rise = np.arange(1, WARMUP, 100.0)
    whole = replace(
        curve,
        step=np.concatenate([[0.0], rise, curve.step]),
        lr=np.concatenate([[0.0], 3e-4 * rise / WARMUP, curve.lr]),
        loss=np.concatenate([[11.0], 11 - rise / 500, curve.loss]),
    )
    fit = fit_curves([whole], form=CURVE_FORMS["power"])
    assert len(fit.log_residual) == len(curve.step)


def test_curve_that_is_all_warmup_is_refused() -> None:
    curve = simulated("constant")
    rising = replace(curve, lr=curve.step * 1e-7)
    with pytest.raises(InputError, match="constant: 1 rows after its warmup"):
        fit_curves([rising])


def test_what_a_constant_lr_cannot_tell_of_annealing_is_in_the_interval(tmp_path: Path) -> None:
    _, law = round_trip([simulated("constant", noise=3e-4)], tmp_path / "curve.toml")
    steady, falling = (
        forecast(law, simulated(name), warmup_steps=WARMUP) for name in ("constant", "cosine")
    )
    assert falling.log_sd[-1] > 10 * steady.log_sd[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "nats", "percent"), [("25M", 0.0027, 0.12), ("100M", 0.0025, 0.20)]
)
def test_six_curves_are_foretold_from_three(
    shared: Path, tmp_path: Path, size: str, nats: float, percent: float
) -> None:
    curves = read_size(shared, size)
    _, law = round_trip([curves[name] for name in TRAINED_ON], tmp_path / "curve.toml")
    held = {name: curve for name, curve in curves.items() if name not in TRAINED_ON}
    found = {name: forecast(law, curve, warmup_steps=WARMUP) for name, curve in held.items()}
    measured = {name: curve.loss for name, curve in held.items() if curve.loss is not None}
    errors = {name: found[name].loss - loss for name, loss in measured.items()}
    assert np.mean([np.abs(error).mean() for error in errors.values()]) <= nats
    finals = [100 * abs(error[-1]) / measured[name][-1] for name, error in errors.items()]
    assert np.mean(finals) <= percent
    loss, pooled = (np.concatenate(list(part.values())) for part in (measured, errors))
    assert 1 - (pooled**2).sum() / ((loss - loss.mean()) ** 2).sum() >= 0.999
