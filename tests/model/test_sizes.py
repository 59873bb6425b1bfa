"""Sizes and their text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.model.sizes import format_exact, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10 GiB", 10 * 2**30),
        ("256 KiB", 2**18),
        ("10GB", 10**10),
        ("10 g", 10**10),
        ("1.5 gib", 3 * 2**29),
        ("0.1 TiB", 109951162777),
        (" 7 ", 7),
        ("5B", 5),
        ("0 B", 0),
        ("2 YiB", 2**81),
        (12, 12),
    ],
)
def test_parse(text: str | int, size: int) -> None:
    """With i units are powers of 1024, without powers of 1000; blanks and case do not matter."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1,5 GiB", "10 GiBB", "10 QB", "1 iB", "1e3", "\u0661", True])
def test_refused(text: str) -> None:
    """Anything else is refused with the forms that are allowed."""
    with pytest.raises(InvalidParameter, match="10 GiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["20", 20, "1.5"])
def test_unit_required(text: str | int) -> None:
    """Where a unit is required a bare number is refused."""
    with pytest.raises(InvalidParameter, match="has no unit"):
        parse_size(text, require_unit=True)
    assert parse_size("20 B", require_unit=True) == 20


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (10 * 2**30, "10 GiB"),
        (7036928, "6.7109 MiB"),
        (2**30 - 1, "1 GiB"),
        (2**20 - 52, "1023.9492 KiB"),
        (2**100, "1048576 YiB"),
        (-2048, "-2 KiB"),
    ],
)
def test_format(size: int, text: str) -> None:
    """The largest fitting unit, at most 4 decimals, zeros cut."""
    assert format_size(size) == text


@given(st.integers(0, 2**90))
def test_format_is_close(size: int) -> None:
    """The text for people is off by less than one ten-thousandth of its unit and a byte."""
    text = format_size(size)
    unit = parse_size(f"1 {text.split()[1]}")
    assert abs(parse_size(text) - size) <= unit / 10_000 + 1


@given(st.integers(0, 2**90))
def test_exact_format_round_trips(size: int) -> None:
    """The exact text gives the same number of bytes again."""
    assert parse_size(format_exact(size), require_unit=True) == size


@pytest.mark.parametrize("text", ["1" + " " * 200_000 + "x", " " * 200_000, "1." + "0" * 200_000])
def test_a_long_text_is_refused_in_time_by_its_length(text: str) -> None:
    """A pattern that goes back over what it has seen would never end with these."""
    with pytest.raises(InvalidParameter):
        parse_size(text)
