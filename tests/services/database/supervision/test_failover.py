"""Real instances lose their primary: no acknowledged row is lost, one instance is writable, what returns rejoins."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable

import psycopg
import pytest

from confd.services.database.keeper.processes import processes_in, wait_gone
from confd.services.database.observed import Role
from confd.services.database.record import Wanted
from tests.services.database.rig import NAME, PASSWORD, Rig
from tests.services.database.waiting import until
from tests.torture import long


class Writer(threading.Thread):
    """Writes rows to whichever instance takes them; remembers which were acknowledged."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(daemon=True)
        self.rig = rig
        self.acknowledged: list[int] = []
        self._numbers = itertools.count(1)
        self._ended = threading.Event()

    def run(self) -> None:
        """Write until told to end, connecting again after every error."""
        while not self._ended.is_set():
            with contextlib.suppress(psycopg.Error):
                self._write()
            self._ended.wait(0.02)

    def _write(self) -> None:
        with psycopg.connect(
            host=",".join(self.rig.address(node) for node in self.rig.hosts), port=self.rig.port, user="sys",
            password=PASSWORD, dbname=NAME, target_session_attrs="read-write", connect_timeout=2, autocommit=True,
        ) as connection:  # fmt: skip
            while not self._ended.wait(0.002):
                number = next(self._numbers)
                connection.execute("INSERT INTO written VALUES (%s)", (number,))
                self.acknowledged.append(number)

    def goes_on(self) -> None:
        """Wait for the next acknowledged row."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) > before + 5)

    def end(self) -> set[int]:
        """Stop writing; the acknowledged rows."""
        self._ended.set()
        self.join(20)
        return set(self.acknowledged)


@pytest.fixture
def running(rig: Rig) -> Rig:
    """Three active nodes, each commit on two of them, and a table to write to."""
    return begun(rig, redundancy=2)


def begun(rig: Rig, redundancy: int, **settings: object) -> Rig:
    """Make and start a database with a table to write to."""
    rig.volume(redundancy=redundancy)
    rig.database(**settings)
    rig.define()
    supervision = rig.supervise()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "CREATE TABLE written (n bigint PRIMARY KEY)")
    return rig


def kill_node(rig: Rig, node: int) -> None:
    """Kill -9 of all that belongs to a node's instance, and nobody answers there."""
    rig.cluster.offline.add(node)
    status = rig.keeper(node).status()
    assert status
    os.kill(status.keeper, signal.SIGKILL)
    for pid in processes_in(rig.data(node)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_gone(pid, 10)
    rig.cluster.changed()


def revive(rig: Rig, node: int) -> None:
    """Let a node answer again."""
    rig.cluster.offline.discard(node)
    rig.cluster.changed()


def primary(rig: Rig) -> int | None:
    """Return the recorded primary."""
    return rig.supervisions[-1].record(NAME).primary


def complete(rig: Rig) -> bool:
    """Whether every instance serves and streams."""
    seen = rig.supervisions[-1].observe(NAME)
    roles = sorted(str(one.role) for one in seen.instances)
    return not seen.missing and roles == ["primary", "standby", "standby"] and len(seen.record.quorum.standbys) == 2


def rows(rig: Rig, node: int) -> set[int]:
    """Return the rows that a node has."""
    return {number for (number,) in rig.sql(node, "SELECT n FROM written")}


def has(rig: Rig, node: int, wanted: set[int]) -> bool:
    """Whether a node serves and has at least these rows."""
    try:
        return wanted <= rows(rig, node)
    except psycopg.Error:
        return False


def test_primary_is_lost_again_and_again(running: Rig) -> None:
    """Kill -9 of everything on the primary's node: another one takes over, the lost one is rewound and rejoins."""
    writer = Writer(running)
    writer.start()
    for _ in range(3):
        writer.goes_on()
        lost = primary(running)
        assert lost
        kill_node(running, lost)
        until(lambda lost=lost: primary(running) != lost)
        writer.goes_on()
        revive(running, lost)
        until(lambda: complete(running))
        assert ("database.rewind", lost) in running.cluster.called
    acknowledged = writer.end()
    assert len(acknowledged) > 30
    clones = [one for one in running.cluster.called if one[0] == "database.clone"]
    assert len(clones) == 2, "\n".join(f"{a} {b}" for a, b in running.cluster.called if a != "database.observe")
    now = primary(running)
    assert now
    assert acknowledged <= rows(running, now)
    for node in running.hosts:
        until(lambda node=node: has(running, node, acknowledged))


def test_no_promotion_without_proof(running: Rig) -> None:
    """A primary that cannot be reached but runs goes on serving; nobody else becomes writable."""
    running.cluster.offline.add(11)
    running.cluster.changed()
    supervision = running.supervisions[0]
    until(lambda: 11 in supervision.observe(NAME).missing)
    assert "n11" in supervision.observe(NAME).info
    running.sql(11, "INSERT INTO written VALUES (1)")
    assert primary(running) == 11
    assert running.sql(12, "SELECT pg_is_in_recovery()") == [(True,)]
    revive(running, 11)
    until(lambda: complete(running))
    assert primary(running) == 11


def test_an_administrator_answers_for_a_node(running: Rig) -> None:
    """A suspended node counts as stopped; were it alive, its commits would reach nobody and so never return."""
    running.cluster.offline.add(11)
    supervision = running.supervisions[0]
    supervision.suspend(NAME, [11], [11])
    until(lambda: primary(running) in (12, 13))
    until(lambda: supervision.observe(NAME).connectible)
    returned: list[object] = []

    def commit() -> None:
        with contextlib.suppress(psycopg.Error):
            returned.append(running.sql(11, "INSERT INTO written VALUES (1)"))

    threading.Thread(target=commit, daemon=True).start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    until(lambda: running.sql(11, waiting) == [(1,)])
    supervision.resume(NAME, [11])
    revive(running, 11)
    until(lambda: complete(running))
    assert running.sql(11, "SELECT pg_is_in_recovery()") == [(True,)]
    now = primary(running)
    assert now
    assert rows(running, now) == set()
    assert returned == []


def test_one_copy_is_not_given_up_by_itself(rig: Rig) -> None:
    """With redundancy 1 the database waits for its node, until an administrator accepts the loss."""
    begun(rig, redundancy=1)
    supervision = rig.supervisions[0]
    rig.sql(11, "INSERT INTO written VALUES (1)")
    until(lambda: has(rig, 12, {1}))
    kill_node(rig, 11)
    until(lambda: "accept_loss" in supervision.observe(NAME).info)
    assert primary(rig) == 11
    supervision.want(NAME, Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING, accept_loss=True)
    assert primary(rig) in (12, 13)
    assert rows(rig, primary(rig) or 0) == {1}
    assert supervision.record(NAME).accept_loss is False


def test_suspended_primary_hands_over(running: Rig) -> None:
    """Suspending the primary's node is a planned change: it stops first, so nothing is lost or rewound."""
    writer = Writer(running)
    writer.start()
    writer.goes_on()
    supervision = running.supervisions[0]
    supervision.suspend(NAME, [11])
    until(lambda: primary(running) in (12, 13))
    writer.goes_on()
    until(lambda: running.keeper(11).status() is None)
    supervision.resume(NAME, [11])
    until(lambda: complete(running))
    acknowledged = writer.end()
    until(lambda: has(running, 11, acknowledged))


def test_lost_data_of_the_primary(running: Rig) -> None:
    """A primary whose data is gone is replaced by a standby and gets a copy."""
    running.sql(11, "INSERT INTO written VALUES (1)")
    status = running.keeper(11).status()
    assert status
    running.supervisions[0].close()
    running.keeper(11).leave("immediate", 5)
    running.data(11).rename(running.data(11).with_name("lost"))
    running.supervise()
    until(lambda: primary(running) != 11)
    until(lambda: complete(running))
    assert rows(running, 11) == {1}


@long
def test_standby_that_does_not_stream_leaves_the_quorum(make_rig: Callable[..., Rig]) -> None:
    """A standby that is up but receives nothing does not stop commits for ever, and is repaired."""
    rig = make_rig(11, 12)
    begun(rig, redundancy=2)
    place = rig.layout(12).config / "role.conf"
    place.write_text(place.read_text().replace(str(rig.port), "1"))
    rig.sql(12, "SELECT pg_reload_conf()")
    rig.sql(11, "INSERT INTO written VALUES (1)", wait=30)
    until(lambda: has(rig, 12, {1}), 60)


def test_roles_are_told(running: Rig) -> None:
    """After a failover db_info's view names the failed node and its database is connectible."""
    kill_node(running, 11)
    until(lambda: primary(running) != 11)
    supervision = running.supervisions[0]
    until(lambda: supervision.observe(NAME).connectible)
    seen = supervision.observe(NAME)
    assert seen.missing == (11,)
    assert [one.role for one in seen.instances].count(Role.PRIMARY) == 1
