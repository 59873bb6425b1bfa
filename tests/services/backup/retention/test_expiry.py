"""Lifetimes of backups, and dates at which they end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.services.backup.retention.expiry import check_date, check_lifetime, expires, lifetime, read_date

DAY = 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1w 3d", 10 * DAY), ("9d", 9 * DAY), ("1m", 30 * DAY), ("2m 1w", 67 * DAY), (3600, 3600), ("", 0), (None, 0), (0, 0)],
)  # fmt: skip
def test_lifetimes(text: str | int | None, seconds: int) -> None:
    """Months, weeks, days, hours; nothing and 0 are for ever."""
    assert lifetime(text) == seconds
    assert expires(text, 1000.0) == (1000.0 + seconds if seconds else None)


@pytest.mark.parametrize("text", ["soon", "1x", "d", "-1", "999999999999m"])
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    """Also one that leads beyond all calendars."""
    with pytest.raises(InvalidParameter):
        check_lifetime(text)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2022-05-14 5:00:00", datetime(2022, 5, 14, 5, tzinfo=UTC)),
        ("2024-06-20 12:08", datetime(2024, 6, 20, 12, 8, tzinfo=UTC)),
        ("2024-6-2", datetime(2024, 6, 2, tzinfo=UTC)),
        (" 2024-06-20T12:08:01 ", datetime(2024, 6, 20, 12, 8, 1, tzinfo=UTC)),
        ("1718885280", datetime(2024, 6, 20, 12, 8, tzinfo=UTC)),
    ],
)
def test_dates(text: str, date: datetime) -> None:
    """Dates as people and lists write them, and seconds since 1970."""
    assert read_date(text) == date.timestamp()


def test_no_date_is_never() -> None:
    """Blank is never."""
    assert read_date("") is None
    assert read_date("  ") is None


@given(st.text(max_size=24))
def test_any_text_is_a_date_or_refused(text: str) -> None:
    """Nothing else happens, whatever is given."""
    try:
        check_date(text)
    except InvalidParameter as error:
        assert "give YYYY-MM-DD hh:mm:ss" in error.message


@pytest.mark.parametrize("text", ["2022-13-01", "2022-02-30 1:00", "tomorrow", "2022-05-14 25:00", "99999999999999"])
def test_what_is_no_date_is_refused(text: str) -> None:
    """Days and hours that there are not."""
    with pytest.raises(InvalidParameter, match="no date of expiry"):
        read_date(text)
