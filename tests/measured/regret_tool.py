"""The scoring tool that lies beside the measurements, as a module."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def load_regret(shared: Path) -> ModuleType:
    """`tools/regret.py` of the folder of measurements."""
    spec = importlib.util.spec_from_file_location("regret", shared / "tools" / "regret.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
