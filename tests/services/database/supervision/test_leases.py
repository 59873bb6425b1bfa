"""Real instances under real leases: who is not heard of stops by itself, and only then another one takes over."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from confd.cluster.leases.etcd import EtcdLeases
from confd.cluster.leases.lease import RESTART_SECONDS, NoLeases, boottime
from confd.services.database.instance.holding import Holding
from confd.services.database.keeper.processes import processes_in, start_time, wait_gone
from confd.services.database.observed import Role
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from tests.servers import ETCD, Etcd, etcd, require
from tests.services.database.conftest import rigs
from tests.services.database.rig import NAME, Rig
from tests.services.database.supervision.test_failover import Writer, begun, complete, has, primary, revive, rows
from tests.services.database.waiting import until

PREFIX = b"test/leases/"


class Leased:
    """A rig whose nodes each renew a lease, as their daemons do."""

    def __init__(self, rig: Rig, server: Etcd) -> None:
        self.rig, self.server = rig, server
        self.daemons: dict[int, EtcdLeases] = {}
        for node in rig.hosts:
            self.begin(node)
        self.master = self._leases(10)
        self.master.attend()
        rig.cluster.leases = self.master

    def _leases(self, node: int) -> EtcdLeases:
        return EtcdLeases(EtcdClient(EtcdAccess(endpoints=(self.server.url,))), PREFIX, node)

    def begin(self, node: int) -> None:
        """Start the part of a node's daemon that renews; operations there know of it."""
        leases = self.daemons[node] = self._leases(node)
        self.rig.hosts[node] = dataclasses.replace(self.rig.hosts[node], leases=leases)
        leases.watch(Holding(self.rig.hosts[node]))
        leases.start()
        until(lambda: leases.hold() is not None)

    def freeze(self, node: int) -> None:
        """Nobody hears of the node's daemon any more; its keeper and server go on."""
        self.rig.cluster.offline.add(node)
        self.daemons[node]._closed.set()
        self.daemons[node]._own = None
        self.rig.cluster.changed()

    def thaw(self, node: int) -> None:
        """It is heard of again."""
        self.begin(node)
        revive(self.rig, node)

    def close(self) -> None:
        """Renew nothing any more."""
        for leases in (*self.daemons.values(), self.master):
            leases.close(planned=False)


@pytest.fixture(scope="module")
def cluster(installation: Path, user: str | None) -> Iterator[Leased]:
    """Three active nodes under leases, each commit on two of them, and a table to write to."""
    require(ETCD)
    with etcd() as server, rigs(installation, user) as make:
        made = Leased(make(), server)
        begun(made.rig, redundancy=2)
        yield made
        server.signal(signal.SIGCONT)
        made.close()


@pytest.fixture
def leased(cluster: Leased) -> Leased:
    """The same for each test, whole and with an empty table."""
    until(lambda: complete(cluster.rig), 60)
    cluster.rig.sql(primary(cluster.rig) or 0, "DELETE FROM written")
    return cluster


def bound(leased: Leased, node: int) -> bool:
    """Whether the record says under which lease the primary takes writes."""
    record = leased.rig.supervisions[-1].record(NAME)
    return record.primary == node and record.place is not None and bool(record.place.lease)


def test_frozen_daemon(leased: Leased) -> None:
    """Its primary stops at the deadline; another one takes over, not before; what comes back rejoins. No row is lost."""
    rig = leased.rig
    writer = Writer(rig)
    writer.start()
    writer.goes_on()
    lost = primary(rig)
    assert lost
    assert bound(leased, lost)
    server_of_lost = rig.keeper(lost).status().server
    promoted: list[tuple[int, bool]] = []
    call = rig.cluster.call

    def watched(command, timeout: float = 60.0):
        if command.name == "database.promote":
            promoted.append((command.node, start_time(server_of_lost) is None))
        return call(command, timeout)

    rig.cluster.call = watched
    leased.freeze(lost)
    deadline = rig.keeper(lost).status().until
    until(lambda: rig.keeper(lost).status().lapsed)
    assert deadline <= boottime()
    until(lambda: primary(rig) != lost)
    writer.goes_on()
    rig.cluster.call = call
    assert promoted
    assert all(stopped for _, stopped in promoted)
    assert rig.keeper(lost).status().keeper
    leased.thaw(lost)
    until(lambda: complete(rig))
    acknowledged = writer.end()
    for node in rig.hosts:
        until(lambda node=node: has(rig, node, acknowledged))


def test_etcd_is_gone_for_everybody(leased: Leased) -> None:
    """The primary stops, standbys stay and can be read, nobody is promoted; when etcd is back all goes on by itself."""
    rig, supervision, at = leased.rig, leased.rig.supervisions[0], primary(leased.rig)
    other = next(node for node in rig.hosts if node != at)
    rig.sql(at, "INSERT INTO written VALUES (1)")
    until(lambda: has(rig, other, {1}))
    leased.server.signal(signal.SIGSTOP)
    until(lambda: rig.keeper(at).status().lapsed)
    assert rows(rig, other) == {1}
    until(lambda: f"n{at} cannot renew its lease" in supervision.observe(NAME).info)
    assert f"n{at} stopped its instance" in supervision.observe(NAME).info
    leased.server.signal(signal.SIGCONT)
    until(lambda: complete(rig))
    assert primary(rig) == at
    rig.sql(at, "INSERT INTO written VALUES (2)")


def test_frozen_keeper(leased: Leased) -> None:
    """It cannot stop its server, so the daemon does, and the database goes on."""
    rig, at = leased.rig, primary(leased.rig)
    rig.sql(at, "INSERT INTO written VALUES (1)")
    status = rig.keeper(at).status()
    os.kill(status.keeper, signal.SIGSTOP)
    assert wait_gone(status.server, 20)
    assert wait_gone(status.keeper, 20)
    until(lambda: complete(rig))
    now = primary(rig)
    assert now
    rig.sql(now, "INSERT INTO written VALUES (2)")
    assert rows(rig, now) == {1, 2}


def test_frozen_node(leased: Leased) -> None:
    """Daemon and keeper frozen, its server not: it can acknowledge nothing, and stops as soon as its keeper goes on."""
    rig, lost = leased.rig, primary(leased.rig)
    rig.sql(lost, "INSERT INTO written VALUES (1)")
    status = rig.keeper(lost).status()
    leased.freeze(lost)
    os.kill(status.keeper, signal.SIGSTOP)
    until(lambda: primary(rig) != lost)
    until(lambda: rig.supervisions[0].observe(NAME).connectible)
    assert start_time(status.server)
    returned: list[object] = []

    def commit() -> None:
        with contextlib.suppress(psycopg.Error):
            returned.append(rig.sql(lost, "INSERT INTO written VALUES (2)"))

    threading.Thread(target=commit, daemon=True).start()
    until(lambda: rig.sql(lost, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == [(1,)])
    os.kill(status.keeper, signal.SIGCONT)
    assert wait_gone(status.server, 10)
    until(lambda: not processes_in(rig.data(lost)))
    leased.thaw(lost)
    until(lambda: complete(rig))
    now = primary(rig)
    assert now
    assert rows(rig, now) == {1}
    assert returned == []


def test_to_a_store_without_leases(leased: Leased) -> None:
    """A running database is released from its lease: nothing stops it, and the lease proves nothing any more."""
    rig, at = leased.rig, primary(leased.rig)
    assert at
    assert bound(leased, at)
    for node in rig.hosts:
        leased.daemons[node].close()
    assert rig.keeper(at).status().until > boottime() + RESTART_SECONDS / 2
    rig.cluster.leases = NoLeases()
    for node in rig.hosts:
        leases = NoLeases()
        rig.hosts[node] = dataclasses.replace(rig.hosts[node], leases=leases)
        leases.watch(Holding(rig.hosts[node]))
        leases.start()
    rig.cluster.changed()
    until(lambda: not bound(leased, at))
    until(lambda: rig.keeper(at).status().until is None)
    rig.sql(at, "INSERT INTO written VALUES (1)")
    assert [one.role for one in rig.supervisions[0].observe(NAME).instances].count(Role.PRIMARY) == 1
