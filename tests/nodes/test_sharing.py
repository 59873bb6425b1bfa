"""Who waits until another node knows a record hears of it as soon as one does, or none is there."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leading.member import Member
from confd.cluster.leading.sharing import Shares
from confd.store.protocol import StoreFailed


def members(*ends: int) -> list[Member]:
    """Make nodes whose journals end at these records."""
    made = [Member(12 + place, "", 0) for place in range(len(ends))]
    for member, end in zip(made, ends, strict=True):
        member.n = end
    return made


@given(st.lists(st.integers(0, 9), max_size=6), st.lists(st.lists(st.integers(-1, 9), max_size=3), min_size=1))
def test_a_wait_ends_when_any_node_has_its_record(wanted: list[int], looks: list[list[int]]) -> None:
    """At the first look at which one of the nodes is that far, or there is none."""
    shares, begun = Shares(), list[tuple[int, Future[None]]]()
    for n in wanted:
        done: Future[None] = Future()
        shares.add(n, done, members(-1))
        begun.append((n, done))
    for number, ends in enumerate(looks):
        shares.settle(members(*ends))
        for n, done in begun:
            seen = looks[: number + 1]
            assert done.done() == any(not ends or max(ends) >= n for ends in seen)


def test_a_master_that_goes_down_shares_nothing_more() -> None:
    """Whoever waits is told."""
    shares, done = Shares(), Future[None]()
    shares.add(3, done, members(2))
    shares.fail(StoreFailed("gone"))
    with pytest.raises(StoreFailed, match="gone"):
        done.result(0)
