"""Numbers as people write and read them: "1B", "20B", "3e21" in; digits that were earned out.

Counts use decimal units (K 1e3, M 1e6, B or G 1e9, T 1e12), never powers of two.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from fitting.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
"""Decimal multipliers of a count, upper case."""

NUMBER = re.compile(
    r"([+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[ \t]*([A-Za-z]*)", re.ASCII
)

LARGEST_COUNT = 1e40
"""Above any FLOP count there will be; beyond it products overflow."""


def parse_count(text: str, *, where: str) -> float:
    """A count above zero from "1B", "1.3b", "20e9", "300M", "2.5T" or "3e21".

    Args:
        text: what the user wrote.
        where: the option or key, for the message.

    Returns:
        The count as float64, so that products such as 6 N D cannot overflow.

    Raises:
        InputError: not a number, not a known unit, not finite, or not above zero.

    Example:
        >>> parse_count("1.3b", where="--params")
        1300000000.0
        >>> parse_count("3e21", where="--flops")
        3e+21
    """
    match = NUMBER.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{where} '{text}': not a number; write 350M, 1B or 1e9")
    digits, unit = match.groups()
    if unit.upper() not in UNITS:
        raise InputError(f"{where} '{text}': '{unit}' is not a unit; write 350M, 1B or 1e9")
    value = float(digits) * UNITS[unit.upper()]
    if not 0 < value <= LARGEST_COUNT:
        raise InputError(f"{where} '{text}': must be above 0 and at most {LARGEST_COUNT:g}")
    return value


def format_count(count: float) -> str:
    """A count in three significant digits and a decimal unit.

    Example:
        >>> format_count(1.0737e9), format_count(2e10), format_count(442368), format_count(64)
        ('1.07B', '20B', '442K', '64')
        >>> format_count(999_600)
        '1M'
    """
    rounded = round_significant(count, 3)
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if rounded >= size:
            return f"{rounded / size:.4g}{unit}"
    return f"{rounded:.4g}"


def format_small(value: float, digits: int = 3) -> str:
    """A learning rate, weight decay or FLOP count in at most `digits` significant digits.

    Values from 0.01 to 10,000 are printed plainly, others as 9.97e-4 or 1.2e20.

    Example:
        >>> format_small(9.9653e-4), format_small(0.0993), format_small(1.2e20), format_small(1280)
        ('9.97e-4', '0.0993', '1.2e20', '1280')
        >>> format_small(0.0)
        '0'
    """
    rounded = round_significant(value, digits)
    if rounded == 0 or 0.01 <= abs(rounded) < 1e4:
        return f"{rounded:.12g}"
    mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def format_size(params: float, tokens: float) -> str:
    """A size in words.

    Example:
        >>> format_size(5.37e8, 1e11)
        '537M params, 100B tokens'
    """
    return f"{format_count(params)} params, {format_count(tokens)} tokens"


def format_range(low: float, high: float, show: Callable[[float], str] = format_small) -> str:
    """Two ends in words.

    Example:
        >>> format_range(1.6e-3, 2.2e-3), format_range(6e7, 1e9, format_count)
        ('1.6e-3 to 2.2e-3', '60M to 1B')
    """
    return f"{show(low)} to {show(high)}"


def format_interval(
    value: float, low: float, high: float, show: Callable[[float], str] = format_small
) -> str:
    """A value with the interval around it.

    Example:
        >>> format_interval(1.9e-3, 1.6e-3, 2.2e-3)
        '1.9e-3 (1.6e-3 to 2.2e-3)'
    """
    return f"{show(value)} ({format_range(low, high, show)})"


def format_change(share: float) -> str:
    """A small change as a signed percentage.

    Example:
        >>> format_change(0.0041), format_change(-0.1)
        ('+0.41%', '-10.00%')
    """
    return f"{100 * share:+.2f}%"


def format_spread(log_sd: float) -> str:
    """A standard deviation of ln(value) as a percentage, or as a factor from 100% on.

    Example:
        >>> format_spread(0.1), format_spread(1.0)
        ('11%', 'a factor of 2.7')
    """
    if log_sd >= math.log(2):
        return f"a factor of {math.exp(log_sd):.2g}"
    return f"{format_small(100 * math.expm1(log_sd), 2)}%"


def round_significant(value: float, digits: int) -> float:
    """`value` rounded to `digits` significant digits; 0 stays 0."""
    if value == 0:
        return 0.0
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def format_error(value: float, error: float) -> str:
    """Value and standard error with the digits that the error earns.

    The error keeps two digits when its first three are 100 to 354, one when they are 355 to 949,
    and is rounded up to 1.0 of the next place, with two, from 950.

    Source:
        Particle Data Group, Review of Particle Physics, introduction, section 5.3 (rounding).

    Example:
        >>> format_error(0.827, 0.119), format_error(0.827, 0.367)
        ('0.83 ± 0.12', '0.8 ± 0.4')
        >>> format_error(1043.2, 96.7), format_error(5.0, 0.0)
        ('1040 ± 100', '5 ± 0')
    """
    if error == 0 or not math.isfinite(error):
        return f"{value:.6g} ± {error:.6g}"
    exponent = math.floor(math.log10(error))
    lead = int(error / 10 ** (exponent - 2) + 1e-9)
    if lead >= 950:
        error, digits = 10.0 ** (exponent + 1), 2
    else:
        digits = 2 if lead <= 354 else 1
    places = digits - 1 - math.floor(math.log10(error))
    if places >= 0:
        return f"{value:.{places}f} ± {error:.{places}f}"
    return f"{round(value, places):.0f} ± {round(error, places):.0f}"
