"""When schedules are due."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.model.errors import InvalidParameter
from confd.services.backup.scheduling.cron import FIELDS, Cron, check_occurs, next_run

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from([BERLIN, ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])
MOMENTS = st.floats(0, 4e9)


def field(name: str) -> st.SearchStrategy[str]:
    """Make fields of one kind: anything, numbers, lists, ranges, steps."""
    known = FIELDS[name]
    numbers = st.integers(known.first, known.last)
    ranges = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    lists = st.lists(st.one_of(numbers.map(str), ranges), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), lists, st.integers(1, 20).map(lambda step: f"*/{step}"))


CRONS = st.builds(
    Cron, minute=field("minute"), hour=field("hour"), day=st.just("*"), month=field("month"), weekday=field("weekday")
)


def shown(cron: Cron, begin: datetime, count: int) -> list[str]:
    """Return the next times in local form."""
    times, at = [], begin.timestamp()
    for _ in range(count):
        found = next_run(cron, at, begin.tzinfo or BERLIN)
        assert found is not None
        at = found
        times.append(datetime.fromtimestamp(at, begin.tzinfo).isoformat())
    return times


@given(CRONS, MOMENTS, ZONES)
def test_time_only_goes_forward(cron: Cron, after: float, zone: ZoneInfo) -> None:
    """The next time lies after the moment asked for, on a full minute, and nothing lies in between."""
    at = next_run(cron, after, zone)
    if at is None:
        return
    assert at > after
    assert datetime.fromtimestamp(at, zone).second == 0
    assert next_run(cron, (after + at) / 2, zone) == at
    assert (next_run(cron, at, zone) or at + 1) > at


@given(st.lists(st.integers(0, 59), min_size=1, max_size=3), st.integers(3, 23), MOMENTS, ZONES)
def test_times_are_those_of_the_fields(minutes: list[int], hour: int, after: float, zone: ZoneInfo) -> None:
    """Away from the change of clocks, minute and hour are those given, at most a day (of 25 hours) away."""
    at = next_run(Cron(",".join(map(str, minutes)), str(hour)), after, zone)
    assert at is not None
    local = datetime.fromtimestamp(at, zone)
    assert (local.minute in minutes, local.hour) == (True, hour)
    assert at - after <= timedelta(hours=25).total_seconds()


def test_the_night_when_clocks_go_forward() -> None:
    """A time that does not exist is taken after the gap, once."""
    begin = datetime(2026, 3, 29, 0, 0, tzinfo=BERLIN)
    assert shown(Cron("30", "2"), begin, 2) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    assert shown(Cron("0,30", "2"), begin, 2) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]


def test_the_night_when_clocks_go_back() -> None:
    """A given time comes once, every hour comes every hour; so also when asked in the second of the two hours."""
    begin = datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN)
    assert shown(Cron("30", "2"), begin, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    assert shown(Cron("0"), begin, 3) == [
        "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00",
    ]  # fmt: skip
    second = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
    assert shown(Cron("30", "2"), second, 1) == ["2026-10-26T02:30:00+01:00"]


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("weekday", "Sunday", "0"), ("weekday", "mon-FRI", "1-5"), ("weekday", "7", "7"), ("minute", "1, 2 ,3", "1,2,3"),
        ("hour", "*/6", "*/6"), ("day", "1-10/3", "1-10/3"), ("minute", "*", "*"), ("minute", "05", "5"),
    ],
)  # fmt: skip
def test_fields_are_read(name: str, text: str, read: str) -> None:
    """Numbers, lists, ranges, steps and names of days, with blanks around them."""
    assert FIELDS[name].read(text) == read


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("minute", "60"), ("minute", "-1"), ("hour", "24"), ("day", "0"), ("day", "L"), ("month", "13"), ("weekday", "8"),
        ("weekday", "someday"), ("month", "sunday"), ("minute", ""), ("minute", "1,,2"), ("minute", "5-1"),
        ("minute", "*/0"), ("minute", "*-5"), ("minute", "1;2"), ("minute", "1 2"), ("minute", "1\n2"), ("minute", "٣"),
    ],
)  # fmt: skip
def test_other_fields_are_refused(name: str, text: str) -> None:
    """The error says what may be given."""
    with pytest.raises(InvalidParameter, match=f"no cron field: give \\*, a number from {FIELDS[name].first} to"):
        FIELDS[name].read(text)


def test_a_day_that_never_comes_is_refused() -> None:
    """31 February is an error, 29 February is not."""
    with pytest.raises(InvalidParameter, match="never a day 31 in month 2"):
        check_occurs(Cron(day="31", month="2"))
    check_occurs(Cron(day="29", month="2"))
