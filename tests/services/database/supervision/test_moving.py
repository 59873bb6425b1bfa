"""Volumes that change their nodes and redundancy under a running database that is written to all the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from confd.model.errors import NodeError, NodeOffline, TimedOut, WrongState
from confd.services.database.record import Move, Quorum, Wanted
from confd.services.database.supervision.orders import unwant
from confd.services.storage.superblock import read_allocation
from tests.jobs.live import Live, LiveMaster
from tests.services.database.rig import NAME, PASSWORD, Rig
from tests.services.database.supervision.test_failover import kill_node
from tests.services.database.waiting import until


class Writer:
    """A client that commits one row after the other; a failed write fails the test."""

    def __init__(self, rig: Rig, node: int) -> None:
        rig.sql(node, "CREATE TABLE written (n int)")
        self._rig, self._node = rig, node
        self.rows, self._stop = 0, threading.Event()
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        try:
            with psycopg.connect(
                host=self._rig.address(self._node), port=self._rig.port, user="sys", password=PASSWORD, dbname=NAME,
                autocommit=True,
            ) as connection:  # fmt: skip
                while not self._stop.is_set():
                    connection.execute("INSERT INTO written VALUES (%s)", (self.rows,))
                    self.rows += 1
        except psycopg.Error as error:
            self.failed = error

    def more(self, rows: int = 20) -> None:
        """Wait until further rows are acknowledged."""
        wanted = self.rows + rows
        until(lambda: self.rows >= wanted or self.failed is not None)

    def end(self) -> int:
        """Stop writing; return how many rows were acknowledged."""
        self._stop.set()
        self._thread.join(20)
        assert self.failed is None
        return self.rows


@pytest.fixture
def live(make_rig: Callable[..., Rig]) -> Callable[..., Live]:
    """Make a stage with live nodes."""
    return lambda *nodes: Live(make_rig(*nodes))


@pytest.fixture
def writers() -> Iterator[list[Writer]]:
    """Writers that end with the test."""
    made: list[Writer] = []
    yield made
    for writer in made:
        writer._stop.set()
        writer._thread.join(20)


def count(rig: Rig, node: int) -> int:
    """Return how many rows a node shows."""
    return int(rig.sql(node, "SELECT count(*) FROM written")[0][0])


def test_a_copy_moves_while_rows_are_written(live: Callable[..., Live], writers: list[Writer]) -> None:
    """The destination has every acknowledged row and serves clients, the source has nothing left of its copy."""
    stage = live(11, 12, 13)
    rig = stage.rig
    stage.running_database(2, 11, 12)
    writers.append(writer := Writer(rig, 11))
    stage.run("st_volume_move_node", vname="DataVolume1", src_nodes=[12], dst_nodes=[13])
    writer.more()
    assert stage.conf.volumes["DataVolume1"].nodes == (11, 13)
    assert stage.conf.databases[NAME].nodes == (11, 13)
    record = stage.supervision.record(NAME)
    assert (record.quorum, record.guests, record.leaving) == (Quorum((13,), 1), (), ())
    rows = writer.end()
    until(lambda: count(rig, 13) == rows)
    assert not list(rig.hosts[12].root.rglob("pgdata*"))
    assert not read_allocation(rig.hosts[12].path("/exa/data/storage/dev.1")).segments
    assert not rig.hosts[12].path(f"/exa/etc/dwad/{NAME}").exists()
    assert rig.sql(11, "SELECT slot_name::text FROM pg_replication_slots") == [("n13",)]


def test_the_primary_moves(live: Callable[..., Live]) -> None:
    """The destination of the primary gets its copy first, then another node takes over, with every row."""
    stage = live(11, 12)
    rig = stage.rig
    stage.running_database(1, 11)
    rig.sql(11, "CREATE TABLE written AS SELECT generate_series(1, 1000) AS n")
    stage.run("st_volume_move_node", vname="DataVolume1", src_nodes=[11], dst_nodes=[12])
    assert stage.conf.databases[NAME].nodes == (12,)
    record = stage.supervision.record(NAME)
    assert (record.primary, record.quorum, record.guests, record.leaving) == (12, Quorum(), (), ())
    rig.sql(12, "INSERT INTO written VALUES (1001)")
    assert not list(rig.hosts[11].root.rglob("segments/0"))
    stage.supervision.want(NAME, Wanted.STOPPED)
    stage.supervision.want(NAME, Wanted.RUNNING)
    assert count(rig, 12) == 1001


def test_redundancy_follows_under_a_running_database(live: Callable[..., Live], writers: list[Writer]) -> None:
    """Copies are made and counted, given up and freed, nodes appended, while rows are written; none is lost."""
    stage = live(11, 12, 13)
    rig, run = stage.rig, stage.run
    stage.running_database(1, 11)
    writers.append(writer := Writer(rig, 11))
    run("st_volume_increase_redundancy", vname="DataVolume1", delta=2, nodes=[12, 13])
    until(lambda: stage.supervision.record(NAME).quorum == Quorum((12, 13), 2))
    until(lambda: run("st_volume_info", vname="DataVolume1").result["state"] == "ONLINE")
    writer.more()
    info = run("st_volume_info", vname="DataVolume1").result
    assert [(part["phys_nid"], part["type"]) for part in info["segments"]] == [
        (11, "MASTER"), (12, "REDUNDANT"), (13, "REDUNDANT")
    ]  # fmt: skip

    run("st_volume_decrease_redundancy", vname="DataVolume1", delta=1, nid=12)
    assert stage.conf.volumes["DataVolume1"].nodes == (11, 13)
    assert stage.supervision.record(NAME).quorum == Quorum((13,), 1)
    assert not list(rig.hosts[12].root.rglob("segments/0"))
    writer.more()

    run("st_volume_decrease_redundancy", vname="DataVolume1", delta=1)
    run("st_volume_append_node", vname="DataVolume1", node_num=1, node_ids=[12])
    writer.more()
    assert stage.conf.volumes["DataVolume1"].nodes == (11, 12)
    assert stage.supervision.observe(NAME).missing == ()
    rows = writer.end()
    assert count(rig, 11) == rows


def test_decrease_of_a_stopped_database(live: Callable[..., Live]) -> None:
    """Of a stopped database the copy goes too, and it starts without it."""
    stage = live(11, 12)
    stage.running_database(2, 11, 12, active=1)
    stage.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    stage.supervision.want(NAME, Wanted.STOPPED)
    stage.run("st_volume_decrease_redundancy", vname="DataVolume1", delta=1)
    assert stage.conf.volumes["DataVolume1"].nodes == (11,)
    assert not list(stage.rig.hosts[12].root.rglob("segments/0"))
    stage.supervision.want(NAME, Wanted.RUNNING)
    assert stage.rig.sql(11, "SELECT count(*) FROM t") == [(1,)]


def test_a_move_that_does_not_succeed_goes_back(
    live: Callable[..., Live], writers: list[Writer], monkeypatch: Any
) -> None:
    """What cannot move is named; a copy that fails, or one that counts already, is sent away; no write fails."""
    stage = live(11, 12, 13)
    stage.running_database(2, 11, 12)
    writers.append(writer := Writer(stage.rig, 11))
    conf, call = stage.conf, stage.rig.cluster.call
    move: dict[str, Any] = {"vname": "DataVolume1", "src_nodes": [12], "dst_nodes": [13]}

    def as_before() -> bool:
        record = stage.supervision.record(NAME)
        return (record.quorum, record.guests, record.leaving) == (Quorum((12,), 1), (), ())

    def broken(command: Any, timeout: float = 60.0) -> Any:
        if command.name == "database.clone" and command.node == 13:
            raise NodeError("the disk is broken")
        return call(command, timeout)

    def refused(*_: Any) -> None:
        assert stage.supervision.record(NAME).quorum == Quorum((13,), 1)
        raise WrongState("no")

    stage.rig.cluster.offline.add(13)
    with pytest.raises(NodeOffline, match="n13"):
        stage.run("st_volume_move_node", **move)
    stage.rig.cluster.offline.clear()
    with monkeypatch.context() as patch:
        patch.setattr(stage.rig.cluster, "call", broken)
        with pytest.raises(NodeError, match="the disk is broken"):
            stage.run("st_volume_move_node", **move)
    assert as_before()
    with monkeypatch.context() as patch:
        patch.setattr("confd.jobs.storage_reshaping._give_up", refused)
        with pytest.raises(WrongState, match="no"):
            stage.run("st_volume_move_node", **move)
    until(as_before)
    assert stage.conf is conf
    assert not list(stage.rig.hosts[13].root.rglob("segments/0"))
    writer.more()
    writer.end()
    stage.supervision.want(NAME, Wanted.STOPPED)
    with pytest.raises(WrongState, match="is stopped and has its data"):
        stage.run("st_volume_move_node", **move)
    assert stage.conf is conf


def test_a_stop_that_goes_back_forgets_no_move(live: Callable[..., Live]) -> None:
    """The volume follows a replacement as if nobody had tried to stop; the next start decides anew."""
    stage = live(11, 12, 13)
    stage.running_database(1, 11, 12)
    kill_node(stage.rig, 12)
    stage.put(msgspec.structs.replace(stage.conf.databases[NAME], nodes=(11, 13, 12)))
    before = (Move(12, 13, time.time()),)
    stage.supervision.change(NAME, lambda record: msgspec.structs.replace(record, moving=before))
    with pytest.raises(TimedOut):
        stage.supervision.want(NAME, Wanted.STOPPED, timeout=0)
    until(lambda: not stage.rig.servers())
    unwant.function(LiveMaster(stage), NAME, Wanted.STOPPED)
    assert (stage.supervision.record(NAME).wanted, stage.supervision.record(NAME).moving) == (Wanted.RUNNING, before)
    stage.supervision.want(NAME, Wanted.STOPPED)
    stage.supervision.want(NAME, Wanted.RUNNING, early=True)
    assert stage.supervision.record(NAME).moving == ()
