"""The Python API: every public name documented and typed, one behind each command, none eager."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("fitting", "planner", "proxies")

NAMES = [(package, name) for package in PACKAGES for name in import_module(package).__all__]

BEHIND = {
    "plan": ("planner", "recommend"),
    "plan fit": ("fitting", "fit_laws"),
    "plan predict": ("fitting", "predict_runs"),
    "plan next": ("fitting", "next_runs"),
    "plan curve fit": ("fitting", "fit_curves"),
    "plan schedule": ("proxies", "make_schedule"),
    "plan proxy train": ("proxies", "train_run"),
    "plan sweep run": ("proxies", "run_sweep"),
    "plan export": ("planner", "export_plan"),
    "plan import-config": ("planner", "import_config"),
    "plan check": ("planner", "check_run"),
    "plan batch": ("planner", "trade_off"),
    "plan watch": ("planner", "watch_log"),
    "plan diff": ("planner", "compare_plans"),
    "plan verify": ("planner", "verify_plan"),
    "plan laws": ("planner", "read_lawbook"),
    "plan laws compare": ("planner", "compare_laws"),
}
"""The public function that each command is a thin layer over."""

NEVER_RAISE = {"compare_laws", "compare_plans", "plan_to_json", "trade_off"}
"""Functions that have nothing to refuse in what a type checker lets through."""


def public(package: str, name: str) -> Any:
    """A public name; those that need torch are skipped where it is not installed."""
    if name == "train_run":
        pytest.importorskip("torch")
    return getattr(import_module(package), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_nothing_else_resolves(package: str) -> None:
    module = import_module(package)
    assert sorted(module.__all__) == list(module.__all__)
    with pytest.raises(AttributeError, match="recommendation_of_the_day"):
        module.recommendation_of_the_day  # noqa: B018  # the look-up is what is tested


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_public_name_is_documented_and_typed(package: str, name: str) -> None:
    found = public(package, name)
    said = inspect.getdoc(found) or ""
    assert found.__name__ == name
    assert said
    if is_dataclass(found):
        assert all(field.type for field in fields(found))
        return
    signature = inspect.signature(found)
    assert signature.return_annotation is not inspect.Signature.empty
    assert "Args:" in said
    assert name in NEVER_RAISE or "Raises:" in said
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"    {parameter.name}: " in said, parameter.name


@pytest.mark.parametrize(("package", "name"), BEHIND.values(), ids=BEHIND.keys())
def test_each_command_has_a_public_function_behind_it(package: str, name: str) -> None:
    assert name in import_module(package).__all__
    assert callable(public(package, name))


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_none_of_its_rooms(package: str) -> None:
    code = f"import {package}, sys; print([m for m in sys.modules if m.startswith('{package}.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_say_that_they_are_typed_and_ship_saying_so() -> None:
    root = Path(__file__).parents[1]
    text = (root / "pyproject.toml").read_text()
    for package in PACKAGES:
        assert (root / package / "py.typed").is_file()
        assert f'{package} = ["py.typed"]' in text
