"""What every test may use: the real measurements beside the checkout, where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A machine with other work on it is slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

SHARED = Path(os.environ.get("WINDTUNNEL_SHARED", Path(__file__).parents[2] / "shared"))
"""The folder of real measurements; tests that need it skip where it is absent."""


@pytest.fixture
def shared() -> Path:
    """The folder `shared`, or a skip that says what is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no measurements at {SHARED}: set WINDTUNNEL_SHARED to their folder")
    return SHARED
