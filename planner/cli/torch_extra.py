"""What every command that trains asks first: is torch there."""

from __future__ import annotations

from importlib.util import find_spec

from fitting.errors import InputError


def require_torch() -> None:
    """Refuse to go on without torch, in one line that names the extra.

    Raises:
        InputError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise InputError("training: needs torch; pip install '.[proxies]' in the checkout")
