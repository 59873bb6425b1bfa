"""Restores of real databases."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import psycopg
import pytest

from confd.model.errors import Canceled, ConfDError, NodeOffline, StorageCorrupted, WrongState
from confd.model.states import DatabaseState
from confd.services.backup.backup import Backup
from confd.services.backup.order import VirtualOrder
from confd.services.backup.orders import open_backup, put_back, stop_restore, unput
from confd.services.backup.restoring import operations as restoring
from confd.services.backup.restoring.operations import progress
from confd.services.backup.restoring.verification import restore_order
from confd.services.database.record import Restoring, Wanted, new_generation
from confd.services.database.record import restoring as restoring_now
from confd.services.database.supervision.supervision import Supervision
from tests.services.backup.conftest import Site
from tests.services.database.rig import NAME
from tests.services.database.waiting import until


class Place:
    """The master as operations see it."""

    canceled = False

    def __init__(self, site: Site) -> None:
        self.site, self.cluster = site, site.rig.cluster

    def service(self, kind: type[Any]) -> Supervision:
        return self.site.supervision

    def say(self, line: str) -> None:
        print(line)


def restore(site: Site, backup: Backup, *, early: bool = False, place: Any = None) -> None:
    """Restore as the job does."""
    chain = site.backups().chain(backup)
    assert chain
    generation = new_generation()
    place = place or Place(site)
    try:
        put_back.function(place, NAME, restore_order(chain), generation, early)
    except ConfDError:
        unput.function(place, NAME, generation, False, "")
        raise


def restoring_of(site: Site) -> Restoring:
    """Return the restore that is under way."""
    found = restoring_now(site.supervision.record(NAME))
    assert found
    return found


def stop(site: Site) -> None:
    """Stop the database."""
    site.supervision.want(NAME, Wanted.STOPPED)


def test_round_trip(make_site: Callable[..., Site]) -> None:
    """Each backup gives the rows of its time, on the primary and on a standby; backups go on from restored data."""
    site = make_site(11, 12)
    site.rig.sql(11, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    full = site.take()
    site.rig.sql(11, "INSERT INTO t SELECT generate_series(1001, 1500)")
    one = site.take(1)
    site.rig.sql(11, "DROP TABLE t")
    stop(site)
    restore(site, one)
    assert site.rig.sql(11, "SELECT count(*), max(i) FROM t") == [(1500, 1500)]
    until(lambda: site.rig.sql(12, "SELECT count(*) FROM t") == [(1500,)])
    record = site.supervision.record(NAME)
    assert (record.restore, record.operation, record.lineage) == (None, "", (full.path, one.path))
    site.rig.sql(11, "DELETE FROM t WHERE i > 10")
    two = site.take(2)
    site.rig.sql(11, "DROP TABLE t")
    stop(site)
    restore(site, two, early=True)
    assert site.rig.sql(11, "SELECT count(*) FROM t") == [(10,)]


def test_a_damaged_chain_is_refused(site: Site) -> None:
    """One wrong byte in any file of the chain: an error that names it, and the database stays as it was."""
    site.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    full, one = site.take(), site.take(1)
    site.rig.sql(11, "UPDATE t SET i = 2")
    stop(site)
    before = site.supervision.record(NAME)
    victim = max(site.store(), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(StorageCorrupted, match=full.location.directory):
        restore(site, one)
    record = site.supervision.record(NAME)
    assert record.last and record.last.code == StorageCorrupted.code
    assert (record.generation, record.create_new, record.restore, record.wanted) == (
        before.generation, False, None, Wanted.STOPPED,
    )  # fmt: skip
    assert not list(site.rig.data(11).parent.glob("pgdata.*"))
    site.supervision.want(NAME, Wanted.RUNNING)
    assert site.rig.sql(11, "SELECT i FROM t") == [(2,)]


def test_a_canceled_restore_is_undone(site: Site) -> None:
    """A nonblocking restore that is given up leaves the database stopped, with the data it had."""
    site.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    full = site.take()
    site.rig.sql(11, "UPDATE t SET i = 2")
    stop(site)
    place = Place(site)
    key, before = (site.host.root, NAME), set(restoring._CANCELED)
    with ThreadPoolExecutor(1) as pool, (site.rig.data(11).parent / "busy").open("a+") as lock:
        # The work begins once nobody else works on this data.
        fcntl.flock(lock, fcntl.LOCK_EX)
        restored = pool.submit(restore, site, full, early=True, place=place)
        until(lambda: progress.function(site.host, NAME))
        place.canceled = True
        until(lambda: restoring._RUNNING[key].ticker.stopped)
        lock.close()
        with pytest.raises(Canceled):
            restored.result()
    record = site.supervision.record(NAME)
    assert (record.restore, record.create_new, record.operation, record.wanted) == (None, False, "", Wanted.STOPPED)
    assert not list(site.rig.data(11).parent.glob("pgdata.*"))
    # What the master had decided before and the node hears of only now changes nothing any more.
    ((_, canceled),) = restoring._CANCELED - before
    with pytest.raises(Canceled):
        restoring.restore.function(site.host, NAME, canceled, restore_order(site.backups().chain(full) or []))
    site.supervision.want(NAME, Wanted.RUNNING)
    assert site.rig.sql(11, "SELECT i FROM t") == [(2,)]


def test_an_aborted_restore_is_taken_back(site: Site) -> None:
    """Its job is told so, also when it is run again; the database is stopped with the data it had."""
    site.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    full = site.take()
    site.rig.sql(11, "UPDATE t SET i = 2")
    stop(site)
    place: Any = Place(site)
    before, key = site.supervision.record(NAME), (site.host.root, NAME)
    with ThreadPoolExecutor(2) as pool, (site.rig.data(11).parent / "busy").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        restored = pool.submit(restore, site, full, place=place)
        until(lambda: progress.function(site.host, NAME))
        under_way = restoring_of(site)
        aborted = pool.submit(stop_restore.function, place, NAME, under_way.generation)
        until(lambda: restoring._RUNNING[key].ticker.stopped)
        lock.close()
        aborted.result()
        with pytest.raises(Canceled, match="aborted with db_backup_abort"):
            restored.result()
    record = site.supervision.record(NAME)
    assert (record.restore, record.generation, record.operation, record.wanted) == (
        None, before.generation, "", Wanted.STOPPED,
    )  # fmt: skip
    assert record.last and record.last.code == Canceled.code
    stop_restore.function(place, NAME, under_way.generation)
    with pytest.raises(WrongState, match="has ended already"):
        stop_restore.function(place, NAME, new_generation())
    with pytest.raises(Canceled, match="db_backup_abort"):
        put_back.function(place, NAME, under_way.order, under_way.generation, False)
    site.supervision.want(NAME, Wanted.RUNNING)
    assert site.rig.sql(11, "SELECT i FROM t") == [(2,)]


def test_it_is_too_late_to_abort_once_the_data_is_replaced(site: Site) -> None:
    """The restore goes on to its end; a node that is away is told about, and ends it nevertheless."""
    full = site.take()
    stop(site)
    place: Any = Place(site)
    order = restore_order(site.backups().chain(full) or ())
    generation = new_generation()
    site.supervision.change(
        NAME,
        lambda record: msgspec.structs.replace(record, restore=order, operation="restore", next_generation=generation),
    )
    before = site.supervision.record(NAME)
    restoring.restore.function(site.host, NAME, generation, order)
    with pytest.raises(WrongState, match="has the restored data already"):
        stop_restore.function(place, NAME, generation)
    assert site.supervision.record(NAME) == before
    site.rig.cluster.offline.add(11)
    with pytest.raises(NodeOffline, match=r"n11 does not answer.* taken back when that node returns"):
        stop_restore.function(place, NAME, generation)
    assert site.supervision.record(NAME).aborted == generation
    site.rig.cluster.offline.clear()
    site.supervision.change(NAME, lambda record: msgspec.structs.replace(record, operation=""))


def test_a_late_undo_leaves_alone_what_is_not_its_own(site: Site) -> None:
    """Of a restore that is undone already, or of a database that was deleted or made again: nothing is stopped."""
    before = site.supervision.record(NAME)
    for name in (NAME, "deleted"):
        unput.function(Place(site), name, new_generation(), False, "")
    assert site.supervision.record(NAME) == before
    assert site.rig.sql(11, "SELECT 1") == [(1,)]


def test_virtual_access(site: Site) -> None:
    """A backup is open for reading only; after a stop and a start the present data is back, untouched."""
    site.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    full = site.take()
    site.rig.sql(11, "UPDATE t SET i = 2")
    stop(site)
    chain = site.backups().chain(full)
    assert chain
    place: Any = Place(site)
    virtual = VirtualOrder(11, new_generation(), restore_order(chain))
    open_backup.function(place, NAME, virtual)
    seen = site.supervision.observe(NAME)
    assert (seen.state, seen.connectible, seen.missing) == (DatabaseState.RUNNING, True, ())
    assert full.path in seen.info
    assert site.rig.sql(11, "SELECT i FROM t") == [(1,)]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        site.rig.sql(11, "UPDATE t SET i = 3")
    with pytest.raises(WrongState, match="has ended already"):
        stop_restore.function(place, NAME, virtual.generation)
    stop(site)
    assert site.supervision.record(NAME).virtual is None
    assert not (site.rig.data(11).parent / "virtual").exists()
    assert site.rig.servers() == []
    site.supervision.want(NAME, Wanted.RUNNING)
    assert site.rig.sql(11, "SELECT i FROM t") == [(2,)]


def test_a_backup_that_is_being_opened_is_given_up(site: Site) -> None:
    """Nothing of it is left, and the present data is back with the next start."""
    site.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    full = site.take()
    stop(site)
    place: Any = Place(site)
    key = (site.host.root, NAME)
    virtual = VirtualOrder(11, new_generation(), restore_order(site.backups().chain(full) or ()))
    segment = site.rig.data(11).parent / "virtual"
    segment.mkdir()
    with ThreadPoolExecutor(2) as pool, (segment / "busy").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        opened = pool.submit(open_backup.function, place, NAME, virtual)
        until(lambda: progress.function(site.host, NAME))
        assert restoring_of(site) == Restoring(virtual.order, virtual.generation)
        aborted = pool.submit(stop_restore.function, place, NAME, virtual.generation)
        until(lambda: restoring._RUNNING[key].ticker.stopped)
        lock.close()
        aborted.result()
        with pytest.raises(Canceled, match="db_backup_abort"):
            opened.result()
    assert site.supervision.record(NAME).virtual is None
    assert not segment.exists()
    site.supervision.want(NAME, Wanted.RUNNING)
    assert site.rig.sql(11, "SELECT i FROM t") == [(1,)]
