"""Durations and their text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.durations import format_duration, parse_duration
from confd.model.errors import InvalidParameter

DAY = 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("600", 600),
        (600, 600),
        ("0", 0),
        ("9d", 9 * DAY),
        ("1w 3d", 10 * DAY),
        ("1w3d 5", 10 * DAY + 5),
        (" 1 w  2 h ", 7 * DAY + 7200),
        ("1h 30m 10s", 5410),
        ("3m", 90 * DAY),
        ("1m 1w", 37 * DAY),
        ("1m 2h", 30 * DAY + 7200),
        ("2m 1w 3h 4m 5s", 67 * DAY + 3 * 3600 + 245),
        ("5m 30s", 330),
        ("5m 0s", 300),
        ("1d 5m", DAY + 300),
    ],
)
def test_parse(text: str | int, seconds: int) -> None:
    """An m in front of w, d, h or alone is months of 30 days, elsewhere minutes; a bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "1d 1w", "1y", "2m 3m", "-1", "1.5h", "never", "1W", True])
def test_refused(text: str) -> None:
    """Anything else is refused with the forms that are allowed."""
    with pytest.raises(InvalidParameter, match="1w 3d"):
        parse_duration(text)


@given(st.integers(0, 10**10))
def test_format_round_trips(seconds: int) -> None:
    """What is written is read as the same duration, never as months."""
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["1" + " " * 200_000 + "x", "1m" + " " * 200_000 + "x", "1m" + "0" * 200_000])
def test_a_long_text_is_refused_in_time_by_its_length(text: str) -> None:
    """A pattern that goes back over what it has seen would never end with these."""
    with pytest.raises(InvalidParameter):
        parse_duration(text)
