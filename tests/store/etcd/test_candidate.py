"""The election with a real etcd: one master per term, the next one when its lease is gone, the chosen one when it gives up."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator, Mapping

import pytest

from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.candidate import Candidate
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError
from confd.store.etcd.keys import Keys
from confd.store.terms import NODES, next_term
from tests.cluster.harness import until
from tests.servers import ETCD, Etcd, etcd, require
from tests.store.etcd.conftest import fresh_prefix

PATIENCE = 30.0


class Node:
    """A candidate and what it was told."""

    def __init__(self, url: str, prefix: str, node: int) -> None:
        self.node, self.events, self.eligible = node, queue.SimpleQueue[tuple[str, int]](), True
        self.why, self.hearing = "", queue.SimpleQueue[bool]()
        client = EtcdClient(EtcdAccess(endpoints=(url,)))
        self.candidate = Candidate(client, Keys(prefix), node, self, f"1.{node}")
        self.known: tuple[dict[int, str], str] = {}, ""

    def rank(self, software: Mapping[int, str], last: str) -> int | None:
        """The lowest number is preferred."""
        self.known = dict(software), last
        return len([one for one in software if one < self.node]) if self.eligible else None

    def own_term(self) -> int:
        """Know of no term."""
        return 0

    def outdated(self, term: int) -> None:
        """Note it."""
        self.events.put(("outdated", term))

    def won(self, term: int) -> None:
        """Note it."""
        self.events.put(("won", term))

    def lost(self, reason: str) -> None:
        """Note it."""
        self.events.put(("lost", 0))

    def seen(self, node: int, term: int) -> None:
        """Note it."""
        self.events.put((f"n{node}", term))

    def unheard(self, error: EtcdError | None) -> None:
        """Note it, with the last reason."""
        self.why = str(error or self.why)
        self.hearing.put(error is None)

    def wait(self, *wanted: str) -> int:
        """Return the term of the next event of these kinds."""
        while True:
            what, term = self.events.get(timeout=PATIENCE)
            if what in wanted:
                return term


@pytest.fixture
def own() -> Iterator[Etcd]:
    """Give an etcd of the test's own."""
    require(ETCD)
    with etcd() as running:
        yield running


def test_mastership_comes_and_goes(own: Etcd) -> None:
    """Preferred first, given to the chosen one, freed at once by who ends, lost by who cannot renew."""
    prefix = fresh_prefix()
    nodes = {number: Node(own.url, prefix, number) for number in (11, 12, 13)}
    nodes[13].eligible = False
    try:
        nodes[11].candidate.start()
        first = nodes[11].wait("won")
        assert nodes[11].candidate.holds(first)
        assert nodes[11].candidate.lapsed(first) is None
        for late in (12, 13):
            nodes[late].candidate.start()
            assert nodes[late].wait("n11") == first

        nodes[13].eligible = True
        nodes[11].candidate.resign(to=13)
        second = nodes[13].wait("won")
        assert second > first
        assert not nodes[11].candidate.holds(first)
        assert nodes[12].wait("n13") == second

        nodes.pop(13).candidate.close()
        third = nodes[12].wait("won", "n11")
        assert third > second

        master = next(node for node in nodes.values() if node.candidate.holds(third))
        # All versions stand where candidates see them, the last master's also once its lease is gone.
        assert master.known == ({11: "1.11", 12: "1.12"}, "1.13")
        own.signal(signal.SIGSTOP)
        master.wait("lost")
        assert not master.candidate.holds(third)
        assert master.candidate.lapsed(third) is not None
        other = next(node for node in nodes.values() if node is not master)
        while other.hearing.get(timeout=PATIENCE):
            pass
        assert "etcd does not answer at" in other.why
        own.signal(signal.SIGCONT)
        while not other.hearing.get(timeout=PATIENCE):
            pass
        # The lease may have outlived the silence in etcd: then its holder goes on under the same term.
        terms = [next_term(third, node) + later * NODES for node in nodes for later in range(-1, 10)]
        until(lambda: sum(node.candidate.holds(term) for node in nodes.values() for term in terms) == 1, "one leads")
    finally:
        own.signal(signal.SIGCONT)
        for node in nodes.values():
            node.candidate.close()
