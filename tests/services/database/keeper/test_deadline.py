"""Deadlines move on and not back, except by order."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.services.database.keeper.deadline import Deadline, boottime

HOLDS = st.tuples(st.sampled_from(["e/1", "e/2"]), st.integers(1, 100), st.booleans())


@pytest.fixture
def deadline() -> Iterator[Deadline]:
    """A deadline on the machine's clock."""
    made = Deadline()
    yield made
    os.close(made.timer)


@given(st.lists(HOLDS), st.integers(0, 120))
def test_never_backwards_except_by_order(holds: list[tuple[str, int, bool]], now: int) -> None:
    """The latest since it was last shortened counts, and what was ordered under another name is void."""
    deadline = Deadline(lambda: now)
    try:
        expected: int | None = None
        for name, until, shorten in holds:
            deadline.hold(name, until, shorten)
            expected = until if shorten or expected is None else max(expected, until)
            assert deadline.until == expected
            assert deadline.allows(name) == (now < expected)
            assert not deadline.allows("e/3")
            assert not deadline.allows("")
        assert deadline.passed == (expected is not None and now >= expected)
        deadline.release()
        assert deadline.allows("")
        assert not deadline.passed
    finally:
        os.close(deadline.timer)


def test_timer_wakes_when_it_passes(deadline: Deadline) -> None:
    """The timer is readable from the deadline on, also when that lay in the past, until it is heard."""
    assert not select.select([deadline.timer], [], [], 0)[0]
    for away in (0.05, -1.0):
        deadline.hold("e/1", boottime() + away, shorten=True)
        assert select.select([deadline.timer], [], [], 10)[0]
        assert deadline.passed
        deadline.hush()
        deadline.hush()
        assert not select.select([deadline.timer], [], [], 0)[0]
    deadline.hold("e/1", boottime() + 100)
    deadline.release()
    assert not select.select([deadline.timer], [], [], 0)[0]
