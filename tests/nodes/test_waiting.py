"""Who waits for a revision hears at once when the last node has written it, whatever happens meanwhile."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.leading.member import Member
from confd.cluster.leading.waiting import Wait, Waits
from confd.model.errors import NoMaster

OWN = 11
NODES = (12, 13, 14)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NODES), st.integers(0, 4)),
        st.tuples(st.just("leave"), st.sampled_from(NODES), st.just(0)),
        st.tuples(st.just("return"), st.sampled_from(NODES), st.just(0)),
        st.tuples(st.just("own"), st.just(OWN), st.integers(0, 4)),
    ),
    max_size=30,
)


class World:
    """Three nodes beside the master, and those who wait."""

    def __init__(self) -> None:
        self.members = {node: Member(node, "", 0) for node in NODES}
        self.gone: set[int] = set()
        self.reached = 0
        self.waits = Waits(OWN, self.members, lambda member: member.node not in self.gone and not member.behind)

    def wait(self, revision: int, until: float = 100.0) -> Future[list[int]]:
        """Begin to wait."""
        done: Future[list[int]] = Future()
        self.waits.add(Wait(revision, until, done))
        self.look(0.0)
        return done

    def look(self, now: float) -> None:
        """Let time pass."""
        self.waits.look(self.reached, now)

    def happen(self, what: str, node: int, number: int) -> None:
        """Have something happen as the leader would tell it."""
        if what == "own":
            self.reached = max(self.reached, number)
            self.waits.settle(self.reached)
        elif what == "write" and node not in self.gone:
            self.members[node].written = max(self.members[node].written, number)
            self.waits.heard(self.members[node], self.reached)
        elif what == "leave":
            self.gone.add(node)
            self.look(1.0)
        elif what == "return":
            self.gone.discard(node)
            self.waits.heard(self.members[node], self.reached)

    def reaches(self, revision: int) -> bool:
        """Whether everybody who counts has a revision, by definition."""
        present = [member for member in self.members.values() if member.node not in self.gone]
        return self.reached >= revision and all(member.written >= revision for member in present)


@given(EVENTS, st.lists(st.tuples(st.integers(1, 4), st.integers(0, 30)), min_size=1, max_size=5))
def test_a_wait_ends_exactly_when_nobody_is_missing(
    events: list[tuple[str, int, int]], waiting: list[tuple[int, int]]
) -> None:
    """At the first moment at which every node that counts has the revision, and not before; whoever waits beside."""
    world = World()
    waits: dict[int, tuple[int, Future[list[int]], bool]] = {}
    for turn in range(len(events) + 1):
        for number, (revision, begins) in enumerate(waiting):
            if number not in waits and begins <= turn:
                waits[number] = revision, world.wait(revision), world.reaches(revision)
        for _, done, expected in waits.values():
            assert done.done() == expected
            assert not expected or done.result(0) == []
        if turn < len(events):
            world.happen(*events[turn])
        waits = {
            number: (revision, done, expected or world.reaches(revision))
            for number, (revision, done, expected) in waits.items()
        }
    assert all(done.done() == expected for _, done, expected in waits.values())


def test_who_takes_too_long_is_named_and_behind() -> None:
    """Then it does not count any more; the master itself is named as well."""
    world = World()
    world.happen("write", 12, 5)
    done = world.wait(5, until=10.0)
    world.look(9.0)
    assert not done.done()
    world.look(10.0)
    assert done.result(0) == [13, 14, OWN]
    assert [node for node, member in world.members.items() if member.behind] == [13, 14]
    later = world.wait(6)
    world.happen("write", 12, 6)
    world.happen("own", OWN, 6)
    assert later.result(0) == []


def test_a_master_that_goes_down_tells_everybody() -> None:
    """Nobody waits for ever."""
    world = World()
    waiting = [world.wait(1), world.wait(2)]
    world.waits.fail(NoMaster("gone"))
    for done in waiting:
        with pytest.raises(NoMaster):
            done.result(0)
