"""The planner of parts: only where there is room, as many copies as can be, balanced."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from confd.services.archive.layout import Share
from confd.services.archive.placement import rank, room

Free = Mapping[int, Mapping[int, int]]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Share], Free]:
    """Draw shares over nodes, and what is free on the nodes that answer."""
    nodes = list(range(11, 11 + draw(st.integers(1, 5))))
    copies = draw(st.integers(1, len(nodes)))
    shares = [
        Share(100, tuple(draw(st.permutations(nodes))[:copies])) for _ in range(draw(st.integers(1, 5)))
    ]  # fmt: skip
    free = {
        node: {number: draw(st.integers(0, 100)) for number, share in enumerate(shares) if node in share.nodes}
        for node in nodes
        if draw(st.integers(0, 4))
    }
    return shares, free


def _space(share: Share, number: int, free: Free) -> int:
    return min((free[node][number] for node in share.nodes if node in free), default=0)


@given(situations(), st.integers(10, 16))
def test_every_share_with_room_is_offered_once(situation: tuple[list[Share], Free], local: int) -> None:
    """A share is offered exactly when every node of it that answers has room."""
    shares, free = situation
    offered = rank(shares, free, local)
    assert sorted(offered) == [n for n, share in enumerate(shares) if _space(share, n, free) > 0]
    assert room(shares, free) == sum(_space(share, n, free) for n, share in enumerate(shares))
    assert rank(shares, free, local, offered) == []


@given(situations(), st.integers(10, 16))
def test_more_copies_come_first(situation: tuple[list[Share], Free], local: int) -> None:
    """No share with fewer copies stands before one with more."""
    shares, free = situation
    copies = [sum(node in free for node in shares[number].nodes) for number in rank(shares, free, local)]
    assert copies == sorted(copies, reverse=True)


@given(situations())
def test_shares_fill_up_alike(situation: tuple[list[Share], Free]) -> None:
    """Among shares with equally many copies the emptiest is taken."""
    shares, free = situation
    ranked = [(sum(node in free for node in shares[n].nodes), _space(shares[n], n, free)) for n in rank(shares, free)]
    assert ranked == sorted(ranked, reverse=True)


def test_the_own_node_is_preferred_while_it_is_not_much_fuller() -> None:
    """A local copy wins with at least half of the other's room."""
    shares = [Share(100, (11,)), Share(100, (12,))]
    assert rank(shares, {11: {0: 51}, 12: {1: 100}}, 11) == [0, 1]
    assert rank(shares, {11: {0: 49}, 12: {1: 100}}, 11) == [1, 0]
