"""Accelerators: what they can do at most.

`--gpus` is read here. The facts, each with its source, are `data/hardware.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from fitting.errors import InputError, nearest_name

GPUS = re.compile(r"(?:([0-9]+)\s*[xX*\u00d7]\s*)?([A-Za-z0-9].*)")
"""A count and a name; the count may be left out. \\u00d7 is the multiplication sign."""

MAKER = re.compile(r"^(nvidia|geforce|amd|instinct|intel|google|cloud|aws)+(?=.)")
"""Makers and product lines that people type before the name."""

MAX_COUNT = 1_000_000
"""Refused above: no such machine exists, so it is a slip (largest known runs: about 1e5 GPUs)."""

EXAMPLES = "write for example 8xh100, 64xa100-80gb or a bare count such as 8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device as a trainer sees it, at its dense peak; None where no source says."""

    name: str
    """Key of `data/hardware.toml`, as it is typed."""
    title: str
    """As the vendor writes it."""
    bf16_tflops: float
    """Dense bf16 peak with fp32 accumulation, 1e12 FLOP/s."""
    fp8_tflops: float | None = None
    memory_gb: float
    """1e9 bytes."""
    bandwidth_tbs: float
    """Memory bandwidth, TB/s."""
    scale_up_gbs: float | None = None
    """Out of one device, one direction, GB/s."""
    power_watts: float | None = None
    best_matmul_tflops: float | None = None
    """Best measured bf16 matmul, 1e12 FLOP/s."""
    aliases: tuple[str, ...] = ()
    loosely: Mapping[str, str] = field(default_factory=dict)
    """Names that mean several devices, and the sentence that says which was taken."""
    evidence: str
    """`verified` or `recalled`."""
    recalled: tuple[str, ...] = ()
    """Fields not read in a source."""
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What `--gpus` named."""

    count: int
    """Devices, >= 1."""
    accelerator: Accelerator | None
    """None for a bare count."""
    warnings: tuple[str, ...] = ()
    """What was assumed in reading the name."""

    @property
    def text(self) -> str:
        """As it can be typed again: `8xh100`, or `8` for a bare count."""
        return f"{self.count}x{self.accelerator.name}" if self.accelerator else str(self.count)


def parse_gpus(text: str, *, where: str = "--gpus") -> Gpus:
    """Count and accelerator from "8xH100", "8x H100", "64xA100-80", "H100" or "8".

    Case, blanks, hyphens and the maker's name do not count. A name that means several devices is
    read as one of them, which `Gpus.warnings` says.

    Args:
        text: what the user wrote.
        where: the option or key, for the message.

    Raises:
        InputError: no such accelerator, or the count is not 1 to 1,000,000.

    Example:
        >>> parse_gpus("64x A100-80").text, parse_gpus("H100").text, parse_gpus("8").text
        ('64xa100-80gb', '1xh100', '8')
    """
    match = GPUS.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{where} '{text}': names no accelerator; {EXAMPLES}")
    digits, name = match.groups(default="1")
    if match[1] is None and re.fullmatch("[0-9]+", name):
        if find_accelerator(name) is not None:
            raise InputError(f"{where} '{text}': a count or an RTX {name}; write 1xRTX-{name}")
        return Gpus(count=checked_count(name, text, where), accelerator=None)
    found = find_accelerator(name)
    if found is None:
        nearest = nearest_name(plain(name), accelerators()).removeprefix("; ")
        raise InputError(
            f"{where} '{text}': no accelerator '{name}' is known; {nearest or EXAMPLES}"
        )
    loose = [said for short, said in found.loosely.items() if plain(short) == plain(name)]
    return Gpus(
        count=checked_count(digits, text, where),
        accelerator=found,
        warnings=tuple(f"{where} {name}: {said}" for said in loose),
    )


def checked_count(digits: str, text: str, where: str) -> int:
    """The count of devices.

    Raises:
        InputError: it is 0 or above 1,000,000.
    """
    # Length first: int() of thousands of digits raises an error that is not ours.
    if len(digits) > 12 or not 1 <= int(digits) <= MAX_COUNT:
        raise InputError(f"{where} '{text}': the count must be 1 to {MAX_COUNT:,}; {EXAMPLES}")
    return int(digits)


def find_accelerator(name: str) -> Accelerator | None:
    """The accelerator of that name, alias or loose name, or None."""
    wanted = plain(name)
    for accelerator in accelerators().values():
        if wanted in map(plain, (accelerator.name, *accelerator.aliases, *accelerator.loosely)):
            return accelerator
    return None


def plain(name: str) -> str:
    """A name without case, blanks, punctuation and maker, for comparison.

    Example:
        >>> plain("NVIDIA A100-SXM4-80GB"), plain("TPU v5p")
        ('a100sxm480gb', 'tpuv5p')
    """
    return MAKER.sub("", re.sub(r"[\s_().-]", "", name.lower()))


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Every accelerator of `data/hardware.toml` by name."""
    return MappingProxyType(
        {name: build(name, raw) for name, raw in hardware()["accelerator"].items()}
    )


def build(name: str, raw: Mapping[str, Any]) -> Accelerator:
    """An accelerator from its table, lists made tuples."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()
    }
    return Accelerator(name=name, **values)


@cache
def hardware() -> Mapping[str, Any]:
    """`data/hardware.toml` as parsed."""
    path = resources.files("planner.data") / "hardware.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
