"""Leases against a real etcd: renewed, lost, handed over between daemons, proven to be gone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from confd.cluster.leases.etcd import EtcdLeases
from confd.cluster.leases.lapse import hold_of
from confd.cluster.leases.lease import RESTART_SECONDS, TTL_SECONDS, Hold, NoLeases, boottime
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from tests.servers import ETCD, Etcd, etcd, require
from tests.services.database.waiting import until

PREFIX = b"test/leases/"


@pytest.fixture(scope="module")
def server() -> Iterator[Etcd]:
    """One etcd for all tests of this module."""
    require(ETCD)
    with etcd() as running:
        yield running


@pytest.fixture
def client(server: Etcd) -> Iterator[EtcdClient]:
    """A client of an etcd that knows nothing."""
    made = EtcdClient(EtcdAccess(endpoints=(server.url,)))
    made.delete(PREFIX, b"test/leases0")
    yield made
    made.close()


class Keeper:
    """Takes deadlines; ``answers`` is whether it does so in time."""

    def __init__(self, writes: bool = True) -> None:
        self.holds: list[Hold] = []
        self.shortened: list[bool] = []
        self.answers, self._writes = True, writes
        self.released = threading.Event()

    def take(self, hold: Hold, shorten: bool) -> bool:
        self.holds.append(hold)
        self.shortened.append(shorten)
        return self.answers

    def release(self) -> bool:
        self.released.set()
        return True

    def writes(self) -> bool:
        return self._writes


@pytest.fixture
def begin(client: EtcdClient) -> Iterator[Callable[..., EtcdLeases]]:
    """Start daemons of nodes; all of them end with the test."""
    begun: list[EtcdLeases] = []

    def make(node: int, keeper: Keeper | None = None) -> EtcdLeases:
        begun.append(EtcdLeases(EtcdClient(client.gateway.access), PREFIX, node))
        if keeper is not None:
            begun[-1].watch(keeper)
        begun[-1].start()
        return begun[-1]

    yield make
    for one in begun:
        one.close()


def freeze(leases: EtcdLeases) -> None:
    """Have a daemon renew nothing more, as if it were stopped or dead."""
    leases._closed.set()
    leases._own = None


def test_deadlines_are_counted_from_asking_and_grow(begin: Callable[..., EtcdLeases]) -> None:
    """Each deadline is at most the time of a lease away, and later than the one before; the hold keeps its name."""
    keeper = Keeper()
    leases = begin(12, keeper)
    until(lambda: len(keeper.holds) >= 4)
    assert all(one.deadline <= boottime() + TTL_SECONDS for one in keeper.holds)
    assert keeper.holds == sorted(keeper.holds, key=lambda one: one.deadline)
    assert {one.name for one in keeper.holds} == {leases.hold().name}
    assert keeper.shortened[0] and not any(keeper.shortened[1:])


def test_lease_of_a_silent_node_lapses(begin: Callable[..., EtcdLeases], client: EtcdClient) -> None:
    """While it is renewed nothing is proven; once it is not, its end is, and not before the deadline has passed.

    An etcd that lost its history proves nothing any more.
    """
    keeper = Keeper()
    other, master = begin(12, keeper), begin(11)
    master.attend()
    until(lambda: len(keeper.holds) >= 3 and master.hold() is not None)
    name = keeper.holds[0].name
    assert not master.lapsed(12, name)
    until(lambda: master.absent(13))
    assert not master.absent(12)
    freeze(other)
    until(lambda: master.lapsed(12, name))
    assert master.absent(12)
    assert boottime() > keeper.holds[-1].deadline
    assert other.hold() is None
    assert not master.lapsed(11, master.hold().name)
    assert not master.lapsed(13, name)
    client.put(PREFIX + b"era", b"another")
    until(lambda: not master.lapsed(12, name))
    until(lambda: master._absences[12].until - master._absences[12].since > 1.0)
    assert not master.lapsed(12, name)
    assert master.absent(12)
    master.neglect()
    assert master._absences == {}
    assert not master.absent(12), "nobody looks"


def test_key_that_was_deleted_by_hand_begins_a_new_hold(begin: Callable[..., EtcdLeases], client: EtcdClient) -> None:
    """Who sees that its key is gone begins anew, under another name; orders of before are void then."""
    keeper = Keeper()
    begin(12, keeper)
    until(lambda: len(keeper.holds) >= 2)
    client.delete(PREFIX + b"held/12")
    until(lambda: keeper.holds[-1].name != keeper.holds[0].name)
    assert hold_of(keeper.holds[-1].name)[1] > hold_of(keeper.holds[0].name)[1]
    assert hold_of(keeper.holds[-1].name)[0] == hold_of(keeper.holds[0].name)[0]


def test_planned_restart(begin: Callable[..., EtcdLeases], client: EtcdClient) -> None:
    """The last deadline is far; the node's end is not proven meanwhile; the next daemon brings the near one back."""
    keeper, master = Keeper(), begin(11)
    master.attend()
    leaving = begin(12, keeper)
    until(lambda: len(keeper.holds) >= 2)
    leaving.close()
    far = keeper.holds[-1]
    assert far.deadline > boottime() + RESTART_SECONDS - TTL_SECONDS
    assert client.get(PREFIX + b"restart/12") is not None
    until(lambda: client.get(PREFIX + b"held/12") is None)
    assert not master.lapsed(12, far.name)
    again = Keeper()
    again.answers = False
    begin(12, again)
    until(lambda: len(again.holds) >= 2)
    assert all(again.shortened)
    assert client.get(PREFIX + b"restart/12") is not None
    again.answers = True
    until(lambda: client.get(PREFIX + b"restart/12") is None)
    until(lambda: not again.shortened[-1])


def test_without_anything_that_writes_the_lease_ends_with_the_daemon(
    begin: Callable[..., EtcdLeases], client: EtcdClient
) -> None:
    """Nobody has to wait for a node that was stopped in order."""
    leases = begin(12, Keeper(writes=False))
    until(lambda: leases.hold() is not None)
    leases.close()
    assert client.get(PREFIX + b"held/12") is None
    assert client.get(PREFIX + b"restart/12") is None


def test_etcd_that_does_not_answer(begin: Callable[..., EtcdLeases], server: Etcd) -> None:
    """No deadline is given out, the hold ends at the last one, nothing is proven; it goes on by itself."""
    keeper = Keeper()
    other, master = begin(12, keeper), begin(11)
    master.attend()
    until(lambda: len(keeper.holds) >= 2)
    server.signal(signal.SIGSTOP)
    until(lambda: other.hold() is None)
    assert boottime() >= keeper.holds[-1].deadline
    assert not master.lapsed(12, keeper.holds[-1].name)
    told = len(keeper.holds)
    server.signal(signal.SIGCONT)
    until(lambda: len(keeper.holds) > told and other.hold() is not None)


def test_without_a_store_that_has_leases() -> None:
    """Nothing is bound, what was is released, nothing is proven."""
    leases, keeper = NoLeases(), Keeper()
    leases.watch(keeper)
    leases.start()
    assert keeper.released.wait(10)
    leases.attend()
    leases.neglect()
    assert (leases.bound, leases.hold(), leases.lapsed(12, "e/1")) == (False, None, False)
    leases.close()
