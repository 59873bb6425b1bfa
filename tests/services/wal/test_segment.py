"""Names of WAL files are read right, and gaps are seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.services.wal.segment import (
    Segment,
    directory,
    find,
    is_kept,
    last_number,
    number_at,
    parse,
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


def test_directories() -> None:
    """Each generation of a database's data has its own."""
    assert directory("DB1") == "DB1/wal/"
    assert directory("DB1", "g") == "DB1/wal/g/"


def test_files_of_volumes() -> None:
    """What is WAL is told from what is not by its path."""
    assert find(f"{directory('a b', 'g')}00000002.history.zst") == ("a b", "g", "00000002.history")
    for other in ("a/id_1/level_0/node_0/backup_202601010000", "a/wal/g/x", "a/wal/x.zst", "a/b/wal/g/x.zst"):
        assert find(other) is None
