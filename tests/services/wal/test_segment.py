"""Names of WAL files are read right, and gaps are seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.services.wal.segment import (
    Segment,
    directory,
    is_kept,
    last_number,
    number_at,
    parse,
    superfluous,
)

segments = st.builds(Segment, st.integers(0, 2**40 - 1), st.integers(1, 2**32 - 1))


@given(segments)
def test_names_and_numbers(segment: Segment) -> None:
    """A segment is found again by its name."""
    assert parse(segment.name) == segment
    assert is_kept(segment.name)


def test_known_names() -> None:
    """Names are those of PostgreSQL: timeline, log, place in it."""
    assert Segment(1, 1).name == "000000010000000000000001"
    assert Segment(256, 2).name == "000000020000000100000000"
    assert number_at("1/2FFFFFF") == 258
    assert number_at("0/1000000") == 1


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("00000002.history", True),
        ("000000010000000000000003.partial", False),
        ("000000010000000000000002.00000028.backup", False),
        ("000000010000000000000100", False),
        ("gap", False),
    ],
)
def test_what_is_kept(name: str, kept: bool) -> None:
    """Labels, unfinished ends and other files are not."""
    assert is_kept(name) is kept


@given(st.sets(st.integers(0, 30)), st.integers(0, 30))
def test_reach(numbers: set[int], first: int) -> None:
    """Everything up to the last one is there, the next one is not."""
    last = last_number(numbers, first)
    if last is None:
        assert first not in numbers
    else:
        assert set(range(first, last + 1)) <= numbers
        assert last + 1 not in numbers


@given(st.lists(segments, max_size=10), st.integers(0, 2**40 - 1))
def test_only_what_lies_before_is_superfluous(known: list[Segment], first: int) -> None:
    """Histories and later segments stay."""
    names = [segment.name for segment in known]
    gone = superfluous([*names, "00000002.history"], first)
    assert gone == [segment.name for segment in known if segment.number < first]


def test_directories() -> None:
    """Each generation of a database's data has its own."""
    assert directory("DB1") == "DB1/wal/"
    assert directory("DB1", "g") == "DB1/wal/g/"
