"""Snapshots of a real database: consistent, restorable, and nothing is left of those that failed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psycopg
import pytest

from confd.exaconf import Volume
from confd.model.errors import InsufficientSpace, Unsupported, WrongState
from confd.model.sizes import Bytes
from confd.services.backup.location import Location
from confd.services.backup.orders import put_back
from confd.services.backup.snapshots import operations as snapshotting
from confd.services.backup.snapshots.operations import (
    list_snapshots,
    remove_expired,
    remove_snapshots,
    take_snapshot,
)
from confd.services.backup.snapshots.snapshot import snapshot_order
from confd.services.database.record import Wanted
from confd.services.database.supervision.supervision import Supervision
from tests.filesystems import sharing, taken
from tests.servers import POSTGRESQL, require
from tests.services.database.rig import NAME, Rig

GENERATION = "restored"


@pytest.fixture(scope="module")
def shared(installation: Path, user: str | None) -> Iterator[tuple[Rig, Supervision]]:
    """One running database for all tests."""
    made = running(installation, user)
    yield made
    made[0].close()


def running(installation: Path, user: str | None) -> tuple[Rig, Supervision]:
    """Make a running database with a volume for snapshots."""
    rig = Rig(installation, user, (11,))
    rig.volume()
    rig.volume(name="Snaps", vid=1)
    rig.database(snapshot_volume="Snaps")
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    rig.sql(11, "CREATE TABLE t AS SELECT 0 AS i")
    return rig, supervision


@pytest.fixture
def site(shared: tuple[Rig, Supervision]) -> Iterator[Rig]:
    """The database, without snapshots."""
    yield shared[0]
    host = shared[0].hosts[11]
    remove_snapshots.function(host, "Snaps", [one.id for one in list_snapshots.function(host, "Snaps", NAME)])


def location(bid: int) -> Location:
    """Return where a snapshot lies."""
    return Location(NAME, bid, 0, 0, "202108121809")


def take(rig: Rig, bid: int, expires: float | None = None, taken: float = 1000.0) -> None:
    """Take one."""
    take_snapshot.function(rig.hosts[11], "Snaps", location(bid), taken, expires)


def held(rig: Rig) -> list[int]:
    """Return the numbers of those that are listed."""
    return [one.location.bid for one in list_snapshots.function(rig.hosts[11], "Snaps", NAME)]


def shelf(rig: Rig) -> Path:
    """Return where they lie."""
    return rig.hosts[11].path("/exa/data/storage/dev.1/segments/1/snapshots") / NAME


def test_a_snapshot_is_restored_with_what_was_committed(shared: tuple[Rig, Supervision], site: Rig) -> None:
    """Taken while rows are written, it holds all that was acknowledged before and none that began after."""
    rig, supervision = shared
    written, stop = [0], threading.Event()

    def write() -> None:
        while not stop.is_set():
            rig.sql(11, f"INSERT INTO t VALUES ({written[0] + 1})")
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = written[0]
        take(rig, 1)
        after = written[0] + 1
    finally:
        stop.set()
        writer.join()
    rig.sql(11, "DROP TABLE t")
    supervision.want(NAME, Wanted.STOPPED)
    (about,) = list_snapshots.function(rig.hosts[11], "Snaps", NAME)
    order = snapshot_order(about, rig.conf_now.require_volume("Snaps"), 11)
    master: Any = SimpleNamespace(
        cluster=rig.cluster, service=lambda _: supervision, say=lambda _: None, canceled=False
    )
    for _ in range(2):
        put_back.function(master, NAME, order, GENERATION, early=False)
    record = supervision.record(NAME)
    assert (record.generation, record.lineage, record.operation) == (GENERATION, (), "")
    rows = [row for (row,) in rig.sql(11, "SELECT i FROM t ORDER BY i")]
    assert rows == list(range(len(rows)))
    assert before < len(rows) <= after + 1
    assert (about.size > 10_000_000, about.active_nodes, about.postgresql[:2]) == (True, 1, "18")


def test_a_snapshot_takes_no_space_where_blocks_are_shared(
    installation: Path, user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that can, a snapshot takes a small part of its size: WAL that its end makes, and names."""
    with sharing() as place, monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(place))
        rig, _ = running(installation, user)
        with contextlib.closing(rig):
            rig.sql(11, "CREATE TABLE large AS SELECT md5(i::text) FROM generate_series(1, 500000) AS i")
            rig.sql(11, "CHECKPOINT")
            before = taken(place)
            take(rig, 1)
            (about,) = list_snapshots.function(rig.hosts[11], "Snaps", NAME)
            assert about.size > 64 << 20
            assert taken(place) - before < 24 << 20


def test_taking_it_again_is_the_same_snapshot(site: Rig) -> None:
    """A repeated command finds the snapshot that its first run took."""
    take(site, 1)
    first = list_snapshots.function(site.hosts[11], "Snaps", NAME)
    take(site, 1)
    assert list_snapshots.function(site.hosts[11], "Snaps", NAME) == first


def test_a_snapshot_that_fails_leaves_nothing(site: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the list nor on the volume, and no slot in the database keeps WAL for it."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(snapshotting, "sync_tree", fail)
        with pytest.raises(InsufficientSpace, match="is full"):
            take(site, 1)
    assert held(site) == []
    assert list(shelf(site).glob("id_*/*/*/*")) == []
    assert site.sql(11, "SELECT slot_name FROM pg_replication_slots WHERE slot_name ~ 'snapshot'") == []


def test_a_daemon_that_dies_leaves_nothing(site: Rig) -> None:
    """What it had copied is not listed; the undo removes it, or else the next snapshot."""
    for clean in (
        lambda: remove_snapshots.function(site.hosts[11], "Snaps", [location(1).path]),
        lambda: take(site, 2),
    ):
        dead = shelf(site).parent / location(1).directory / "backup_202108121809.new" / "data"
        dead.mkdir(parents=True)
        (dead / "PG_VERSION").write_text("18\n")
        assert 1 not in held(site)
        clean()
        assert not dead.parent.exists()
    assert held(site) == [2]


def test_expired_ones_are_removed(site: Rig) -> None:
    """At their time and not before; removing anything twice is fine."""
    take(site, 1, expires=2000.0)
    take(site, 2)
    remove_expired.function(site.hosts[11], "Snaps", NAME, 1999.0)
    assert held(site) == [1, 2]
    for _ in range(2):
        remove_expired.function(site.hosts[11], "Snaps", NAME, 2000.0)
        assert held(site) == [2]
    for _ in range(2):
        remove_snapshots.function(site.hosts[11], "Snaps", [location(2).path])
        assert held(site) == []


def test_the_space_of_the_volume_is_respected(site: Rig) -> None:
    """A snapshot that does not fit is refused; one that has expired gives way to the next."""
    take(site, 1, expires=1500.0)
    (about,) = list_snapshots.function(site.hosts[11], "Snaps", NAME)
    volume = site.conf_now.require_volume("Snaps")
    site.put(msgspec.structs.replace(volume, size=Bytes(about.size * 7 // 4)))
    try:
        with pytest.raises(InsufficientSpace, match=r"snapshot volume Snaps has .* left on n11"):
            take(site, 2, taken=1499.0)
        assert held(site) == [1]
        take(site, 2, taken=1500.0)
        assert held(site) == [2]
    finally:
        site.put(volume)


def test_tablespaces_are_not_forgotten(site: Rig, user: str | None) -> None:
    """A snapshot would miss them, so it is refused."""
    elsewhere = site.base / "elsewhere"
    elsewhere.mkdir()
    if user is not None:
        shutil.chown(elsewhere, user)
    with psycopg.connect(
        host=str(site.layout(11).sockets), port=site.port, user="exa_admin", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE TABLESPACE x LOCATION '{elsewhere}'".encode())
        try:
            with pytest.raises(Unsupported, match="tablespaces"):
                take(site, 1)
        finally:
            connection.execute("DROP TABLESPACE x")


@pytest.mark.parametrize("version", ["15", "18"])
def test_limits_of_sessions_do_not_end_a_snapshot(make_rig: Callable[..., Rig], version: str) -> None:
    """What params allow sessions of users does not count for the daemon's own, which waits while it copies."""
    limits = ["idle_session_timeout", "statement_timeout", *(["transaction_timeout"] if version == "18" else [])]
    if version == "15":
        require(POSTGRESQL)
    rig = make_rig(11)
    rig.volume()
    rig.volume(name="Snaps", vid=1)
    rig.database(version=version, snapshot_volume="Snaps", params=" ".join(f"-{limit}=10ms" for limit in limits))
    supervision = rig.supervise()
    rig.define()
    supervision.want(NAME, Wanted.RUNNING)
    take(rig, 1)
    assert held(rig) == [1]


def test_snapshots_are_of_the_primary(make_rig: Callable[..., Rig]) -> None:
    """Without data here there is nothing to copy."""
    rig = make_rig(11)
    rig.volume()
    volume: Volume = rig.volume(name="Snaps", vid=1)
    rig.database(snapshot_volume=volume.name)
    with pytest.raises(WrongState, match="no data on n11"):
        take(rig, 1)
    assert held(rig) == []
