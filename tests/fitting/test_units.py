import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import InputError
from fitting.units import format_count, format_small, parse_count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1B", 1e9),
        ("1.3b", 1.3e9),
        ("20e9", 2e10),
        ("300M", 3e8),
        ("2.5T", 2.5e12),
        ("3e21", 3e21),
        ("0.5M", 5e5),
        ("500k", 5e5),
        ("1_000_000", 1e6),
        (" 7 B ", 7e9),
    ],
)
def test_counts_are_read_as_people_write_them(text: str, count: float) -> None:
    assert parse_count(text, where="--params") == count


@pytest.mark.parametrize("text", ["", "1X", "B", "-1B", "0", "nan", "inf", "1e400", "1BB", "1,5B"])
def test_what_is_not_a_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=r"^--params"):
        parse_count(text, where="--params")


@given(st.floats(1e3, 1e15))
def test_a_printed_count_reads_back_within_its_digits(count: float) -> None:
    assert math.isclose(parse_count(format_count(count), where="x"), count, rel_tol=5.1e-3)


@given(st.floats(1e-12, 1e30))
def test_a_printed_number_reads_back_within_its_digits(value: float) -> None:
    assert math.isclose(float(format_small(value)), value, rel_tol=5.1e-3)
