"""Databases of several real instances under a supervisor."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import msgspec
import psycopg
import pytest

from confd.model.errors import Canceled, InUse, NodeError, NodeOffline, TimedOut, WrongState
from confd.model.states import DatabaseState
from confd.services.database.instance import operations
from confd.services.database.keeper.processes import wait_gone
from confd.services.database.observed import InstanceState, Role
from confd.services.database.record import PREFIX, Wanted, read_record
from confd.services.database.supervision.orders import unwant
from confd.services.database.supervision.supervision import Supervision
from tests.services.database.rig import NAME, PASSWORD, Rig
from tests.services.database.waiting import until


@pytest.fixture
def started(rig: Rig) -> Rig:
    """Three active nodes, each commit on two of them."""
    rig.volume(redundancy=2)
    rig.database()
    supervision = rig.supervise()
    rig.define()
    assert supervision.want(NAME, Wanted.RUNNING).state is DatabaseState.RUNNING
    return rig


def test_a_start_that_is_overridden_ends(rig: Rig) -> None:
    """Somebody else orders the database to stop: who waits for its start is told, and does not wait for ever."""
    rig.volume()
    rig.database()
    supervision = rig.supervise()
    rig.define()
    with ThreadPoolExecutor(1) as pool, (rig.data(11).parent / "busy").open("a+") as lock:
        # The work begins once nobody else works on this data.
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = pool.submit(supervision.want, NAME, Wanted.RUNNING)
        until(supervision._supervisor(NAME).doing)
        supervision.change(NAME, lambda record: msgspec.structs.replace(record, wanted=Wanted.STOPPED))
        with pytest.raises(WrongState, match="ordered otherwise meanwhile"):
            started.result(30)
        lock.close()
    supervision.want(NAME, Wanted.STOPPED)


def test_life_of_a_database(rig: Rig) -> None:
    """Created, started, written and read on every active node, stopped, started again with its rows."""
    rig.volume(redundancy=2)
    rig.database()
    supervision = rig.supervise()
    rig.define()
    assert supervision.observe(NAME).state is DatabaseState.SETUP
    said: list[str] = []

    supervision.want(NAME, Wanted.RUNNING, say=said.append)
    assert said[0] == "n11: make new data in place of what the volume holds"
    rig.sql(11, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    for node in (11, 12, 13):
        until(lambda node=node: rig.sql(node, "SELECT count(*) FROM pg_class WHERE relname = 't'") == [(1,)])
        until(lambda node=node: rig.sql(node, "SELECT count(*) FROM t") == [(1000,)])
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        rig.sql(12, "INSERT INTO t VALUES (0)")
    seen = supervision.observe(NAME)
    assert (seen.state, seen.connectible, seen.missing) == (DatabaseState.RUNNING, True, ())
    assert {one.node: one.role for one in seen.instances} == {
        11: Role.PRIMARY,
        12: Role.STANDBY,
        13: Role.STANDBY,
    }
    assert seen.instances[0].synchronous == "ANY 1 (n12, n13)"
    assert seen.record.quorum.standbys == (12, 13)
    assert seen.record.quorum.acks == 1

    supervision.want(NAME, Wanted.STOPPED, say=said.append)
    assert said[-3] == "n11: stop, the database is to stop"
    assert rig.servers() == []
    assert supervision.observe(NAME).state is DatabaseState.SETUP

    supervision.want(NAME, Wanted.RUNNING)
    assert rig.sql(13, "SELECT count(*) FROM t") == [(1000,)]


@pytest.mark.parametrize("node", [11, 13])
def test_killed_server_is_restarted_in_place(started: Rig, node: int) -> None:
    """Kill -9 of a postmaster: its keeper starts it again, nobody else does anything, no row is lost."""
    started.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    status = started.keeper(node).status()
    assert status
    os.kill(status.server, signal.SIGKILL)
    until(lambda: (now := started.keeper(node).status()) is not None and now.ready and now.server != status.server)
    started.sql(11, "INSERT INTO t VALUES (2)")
    until(lambda: started.sql(node, "SELECT count(*) FROM t") == [(2,)])
    now = started.keeper(node).status()
    assert now
    assert now.restarts >= 1
    assert now.keeper == status.keeper


@pytest.mark.parametrize("node", [11, 12])
def test_killed_keeper_leaves_no_server_behind(started: Rig, node: int) -> None:
    """Kill -9 of a keeper: its server stops, and the supervisor starts both again."""
    status = started.keeper(node).status()
    assert status
    os.kill(status.keeper, signal.SIGKILL)
    assert wait_gone(status.server, 10)
    started.cluster.changed()
    until(lambda: (now := started.keeper(node).status()) is not None and now.ready)
    until(lambda: started.sql(node, "SELECT 1") == [(1,)])
    until(lambda: started.supervisions[0].observe(NAME).missing == ())


def test_new_master_adopts_what_runs(started: Rig) -> None:
    """Another supervision finds the instances and leaves them alone."""
    before = {node: started.keeper(node).status() for node in started.hosts}
    started.supervisions[0].close()
    supervision = started.supervise()
    assert supervision.want(NAME, Wanted.RUNNING).state is DatabaseState.RUNNING
    assert {node: started.keeper(node).status() for node in started.hosts} == before


def test_commit_waits_for_the_copies(started: Rig) -> None:
    """With redundancy 2, a commit is on a second node when it returns, also while one standby is away."""
    started.cluster.offline.add(12)
    started.keeper(12).leave("immediate", 5)
    started.cluster.changed()
    until(lambda: started.supervisions[0].record(NAME).quorum.standbys == (13,))
    started.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    assert started.sql(13, "SELECT count(*) FROM t") == [(1,)]
    seen = started.supervisions[0].observe(NAME)
    assert (seen.state, seen.missing) == (DatabaseState.RUNNING, (12,))
    started.cluster.offline.clear()
    started.cluster.changed()
    until(lambda: started.supervisions[0].record(NAME).quorum.standbys == (12, 13))
    assert started.sql(12, "SELECT count(*) FROM t") == [(1,)]


def test_last_copy_goes_on_without_waiting(make_rig: Callable[..., Rig]) -> None:
    """When no standby is left, commits wait for none: it is recorded first."""
    rig = make_rig(11, 12)
    rig.volume(redundancy=2)
    rig.database()
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.cluster.offline.add(12)
    rig.keeper(12).leave("immediate", 5)
    rig.cluster.changed()
    until(lambda: supervision.record(NAME).quorum.acks == 0)
    rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")


def test_starts_without_an_offline_standby(rig: Rig) -> None:
    """A node that is away joins when it returns; the start says so."""
    rig.volume()
    rig.database()
    rig.cluster.offline.add(13)
    supervision = rig.supervise()
    rig.define()
    outcome = supervision.want(NAME, Wanted.RUNNING)
    assert "n13" in outcome.warnings[0]
    rig.cluster.offline.clear()
    rig.cluster.changed()
    until(lambda: supervision.observe(NAME).missing == ())
    assert rig.sql(13, "SELECT pg_is_in_recovery()") == [(True,)]


def test_missing_primary_is_named(make_rig: Callable[..., Rig]) -> None:
    """Without the node that holds the newest data nothing is started, and the error names it."""
    rig = make_rig(11, 12)
    rig.volume()
    rig.database()
    rig.define()
    supervision = rig.supervise()
    supervision.want(NAME, Wanted.RUNNING)
    supervision.want(NAME, Wanted.STOPPED)
    rig.cluster.offline.add(11)
    with pytest.raises(NodeOffline, match="n11"):
        supervision.want(NAME, Wanted.RUNNING)
    supervision.want(NAME, Wanted.STOPPED)
    assert rig.servers() == []


def test_create_new_replaces_the_data(started: Rig) -> None:
    """create_new gives an empty database on all nodes; clearing the flag in time keeps the rows."""
    supervision = started.supervisions[0]
    started.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    supervision.want(NAME, Wanted.STOPPED)
    assert supervision.set_create_new(NAME, True) is False
    assert supervision.set_create_new(NAME, False) is True
    supervision.want(NAME, Wanted.RUNNING)
    assert started.sql(11, "SELECT count(*) FROM t") == [(1,)]
    supervision.want(NAME, Wanted.STOPPED)
    supervision.set_create_new(NAME, True)
    supervision.want(NAME, Wanted.RUNNING)
    for node in started.hosts:
        assert started.sql(node, "SELECT count(*) FROM pg_class WHERE relname = 't'") == [(0,)]
    assert supervision.record(NAME).create_new is False


def test_lost_record_does_not_lose_data(started: Rig) -> None:
    """Without a record a running database is left alone, and its data is found again, not made anew."""
    supervision = started.supervisions[0]
    started.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    started.cluster.put_record(PREFIX + NAME, None)
    assert started.sql(11, "SELECT 1") == [(1,)]
    supervision.want(NAME, Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING)
    assert started.sql(12, "SELECT count(*) FROM t") == [(1,)]


def test_data_of_another_database_is_not_touched(started: Rig) -> None:
    """A database does not take a volume that holds another one's data, unless told to create its own."""
    supervision = started.supervisions[0]
    started.database("other")
    with pytest.raises(InUse, match=NAME):
        supervision.want("other", Wanted.RUNNING)
    status = started.keeper(11).status()
    assert started.cluster.call(operations.observe.on(11, "other")).state is InstanceState.STOPPED
    started.cluster.call(operations.stop.on(11, "other", immediate=True, patience=1.0))
    assert started.keeper(11).status() == status
    supervision.want(NAME, Wanted.STOPPED)
    with pytest.raises(WrongState, match="create_new_db"):
        supervision.want("other", Wanted.RUNNING)
    supervision.want("other", Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING)


def test_standby_with_foreign_data_is_cloned_anew(started: Rig) -> None:
    """A standby whose copy is not of this database gets a new one."""
    supervision = started.supervisions[0]
    supervision.want(NAME, Wanted.STOPPED)
    (started.data(12) / "confd.json").write_text('{"database": "x", "generation": "y"}')
    supervision.want(NAME, Wanted.RUNNING)
    assert ("database.clone", 12) in started.cluster.called
    assert started.sql(12, "SELECT pg_is_in_recovery()") == [(True,)]


def test_promoted_standby_is_stopped_and_rebuilt(started: Rig) -> None:
    """A superuser who promotes a standby by hand does not get a second primary for long."""
    started.sql(13, "SELECT pg_promote()")
    started.cluster.changed()
    until(lambda: ("database.stop", 13) in started.cluster.called)
    until(lambda: started.supervisions[0].observe(NAME).missing == ())
    assert started.sql(13, "SELECT pg_is_in_recovery()") == [(True,)]
    assert started.supervisions[0].record(NAME).primary == 11


def test_server_that_does_not_start_shows_its_log(make_rig: Callable[..., Rig]) -> None:
    """The error of a start carries the last lines of the server's log; nothing is left running."""
    rig = make_rig(11)
    rig.volume()
    rig.database(params="-max_wal_size=32MB -min_wal_size=16MB -shared_buffers=900GB")
    supervision = rig.supervise()
    rig.define()
    with pytest.raises(NodeError, match="FATAL"):
        supervision.want(NAME, Wanted.RUNNING)
    supervision.want(NAME, Wanted.STOPPED)
    assert rig.servers() == []


def test_limit_and_cancel(started: Rig) -> None:
    """A wait that takes too long says what it waits for; a canceled one ends."""
    supervision = started.supervisions[0]
    supervision.want(NAME, Wanted.STOPPED)
    with pytest.raises(TimedOut, match="not running after 0 s"):
        supervision.want(NAME, Wanted.RUNNING, timeout=0)
    with pytest.raises(Canceled):
        supervision.want(NAME, Wanted.RUNNING, canceled=lambda: True)
    supervision.want(NAME, Wanted.STOPPED)


def test_more_copies_than_active_nodes(rig: Rig) -> None:
    """Redundancy above the number of active nodes makes copies that take no clients."""
    rig.volume(redundancy=2)
    rig.database(active=1)
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    seen = supervision.observe(NAME)
    assert {one.node: one.state for one in seen.instances} == {
        11: InstanceState.READY,
        12: InstanceState.READY,
    }
    with pytest.raises(psycopg.OperationalError, match="reject"):
        rig.sql(12, "SELECT 1")
    record = read_record(rig.cluster, NAME)
    assert record
    assert record.quorum.names() == "ANY 1 (n12)"


def test_closed_supervision_refuses(started: Rig) -> None:
    """A node that is master no longer does not take orders; databases go on."""
    supervision: Supervision = started.supervisions[0]
    supervision.close()
    with pytest.raises(Exception, match="master"):
        supervision.want(NAME, Wanted.STOPPED)
    assert started.sql(11, "SELECT 1") == [(1,)]


def test_maintenance_is_for_sys_only(make_rig: Callable[..., Rig]) -> None:
    """In maintenance only sys gets in; the next start is for everybody again."""
    rig = make_rig(11)
    rig.volume()
    rig.database()
    rig.define()
    supervision = rig.supervise()
    supervision.want(NAME, Wanted.RUNNING, maintenance=True)
    rig.sql(11, f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    with pytest.raises(psycopg.OperationalError, match="reject"):
        rig.sql(11, "SELECT 1", user="guest")
    supervision.want(NAME, Wanted.STOPPED)
    supervision.want(NAME, Wanted.RUNNING)
    assert rig.sql(11, "SELECT 1", user="guest") == [(1,)]


def test_a_stop_that_is_undone_leaves_it_in_maintenance(make_rig: Callable[..., Rig]) -> None:
    """A stop that was late is taken back: the database runs as it ran before, for sys only."""
    rig = make_rig(11)
    rig.volume()
    rig.database()
    rig.define()
    supervision = rig.supervise()
    supervision.want(NAME, Wanted.RUNNING, maintenance=True)
    rig.sql(11, f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    with pytest.raises(TimedOut):
        supervision.want(NAME, Wanted.STOPPED, timeout=0)
    until(lambda: not rig.servers())
    master: Any = SimpleNamespace(
        cluster=rig.cluster, service=lambda _: supervision, say=lambda _: None, canceled=False
    )
    unwant.function(master, NAME, Wanted.STOPPED)
    assert rig.sql(11, "SELECT 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="reject"):
        rig.sql(11, "SELECT 1", user="guest")


def test_standby_that_missed_too_much_is_cloned_anew(make_rig: Callable[..., Rig]) -> None:
    """When the primary has no longer the WAL that a returning standby lacks, the standby gets a new copy."""
    rig = make_rig(11, 12)
    rig.volume()
    rig.database(params="-wal_keep_size=0")
    rig.define()
    supervision = rig.supervise()
    supervision.want(NAME, Wanted.RUNNING)
    rig.cluster.offline.add(12)
    rig.keeper(12).leave("fast", 10)
    rig.sql(11, "SELECT pg_drop_replication_slot('n12')")
    rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    for _ in range(3):
        rig.sql(11, "SELECT pg_switch_wal()")
        rig.sql(11, "CHECKPOINT")
    rig.cluster.called.clear()
    rig.cluster.offline.clear()
    rig.cluster.changed()
    until(lambda: supervision.observe(NAME).missing == () and ("database.clone", 12) in rig.cluster.called)
    until(lambda: rig.sql(12, "SELECT count(*) FROM pg_class WHERE relname = 't'") == [(1,)])
