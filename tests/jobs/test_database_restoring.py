"""db_restore on a real database."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import psycopg
import pytest

from confd.services.database.record import Wanted
from confd.services.wal.archive import WalArchive
from tests.jobs.live import Live
from tests.services.database.conftest import installation, make_rig, user, wheel  # noqa: F401
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until


@pytest.fixture
def live(make_rig: Callable[..., Rig]) -> Live:  # noqa: F811 - the fixture of that name
    """A database on n11 that archives its WAL to A; backups go to B as well."""
    made = Live(make_rig(11))
    for name in ("A", "B"):
        made.run(
            "st_volume_create", name=name, type="archive", disk="disk1", size="256 MiB", nodes=[11], redundancy=1,
            num_master_nodes=1,
        )  # fmt: skip
    made.running_database(1, 11, wal_archive_volume="A")
    for directory in made.host(11).root.rglob("*"):
        if directory.is_dir() and directory.parent.name == "segments":
            directory.chmod(0o711)
    return made


def moment(live: Live) -> str:
    """Return the second after the last commit, once it has begun."""
    ((shown,),) = live.rig.sql(11, "SELECT to_char(date_trunc('second', clock_timestamp() AT TIME ZONE 'UTC') "
                                   "+ interval '1 second', 'YYYY-MM-DD HH24:MI:SS')")  # fmt: skip
    until(lambda: live.rig.sql(11, f"SELECT clock_timestamp() AT TIME ZONE 'UTC' > '{shown}'") == [(True,)])
    return str(shown)


def take(live: Live, volume: str) -> str:
    """Take a backup; return its id."""
    live.run("db_backup_start", db_name=NAME, backup_volume_name=volume, level=0)
    until(lambda: (last := live.supervision.record(NAME).last) is not None and last.code == 0)
    return str(live.run("db_backup_list", db_name=NAME).result[-1]["id"])


def test_wal_on_a_volume_that_was_changed(live: Live) -> None:
    """What a database archived before it got another volume, or none, leads on from backups on a third one."""
    backup = take(live, "B")
    live.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    then = moment(live)
    live.rig.sql(11, "INSERT INTO t VALUES (2)")
    live.supervision.want(NAME, Wanted.STOPPED)
    WalArchive(live.rig.cluster).work()
    live.put(msgspec.structs.replace(live.conf.databases[NAME], wal_archive_volume=""))
    live.run("db_restore", db_name=NAME, backup_id=backup, restore_type="blocking", restore_time=then)
    assert live.rig.sql(11, "SELECT i FROM t") == [(1,)]


def test_archiving_that_moved_to_another_volume(live: Live) -> None:
    """What each volume has of the WAL leads together to times before and after each change."""
    backup, times = take(live, "A"), []
    live.rig.sql(11, "CREATE TABLE t (i int)")
    for number, volume in enumerate(("B", "A", "")):
        live.rig.sql(11, f"INSERT INTO t VALUES ({number})")
        times.append(moment(live))
        live.rig.sql(11, "INSERT INTO t VALUES (99)")
        live.rig.sql(11, "DELETE FROM t WHERE i = 99")
        live.supervision.want(NAME, Wanted.STOPPED)
        WalArchive(live.rig.cluster).work()
        live.run("db_configure", db_name=NAME, wal_archive_volume=volume)
        live.supervision.want(NAME, Wanted.RUNNING)
    for number in (2, 1):
        live.supervision.want(NAME, Wanted.STOPPED)
        live.run("db_restore", db_name=NAME, backup_id=backup, restore_type="blocking", restore_time=times[number])
        assert live.rig.sql(11, "SELECT i FROM t ORDER BY i") == [(one,) for one in range(number + 1)]


def test_virtual_access_to_a_point_in_time(live: Live) -> None:
    """What is opened for reading is the data of that time, not the one of the backup."""
    backup = take(live, "A")
    live.rig.sql(11, "CREATE TABLE t AS SELECT 1 AS i")
    then = moment(live)
    live.rig.sql(11, "INSERT INTO t VALUES (2)")
    live.supervision.want(NAME, Wanted.STOPPED)
    WalArchive(live.rig.cluster).work()
    live.run("db_restore", db_name=NAME, backup_id=backup, restore_type="virtual access", restore_time=then)
    assert live.rig.sql(11, "SELECT i FROM t") == [(1,)]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        live.rig.sql(11, "INSERT INTO t VALUES (3)")
    live.supervision.want(NAME, Wanted.STOPPED)
    live.supervision.want(NAME, Wanted.RUNNING)
    assert live.rig.sql(11, "SELECT array_agg(i ORDER BY i) FROM t") == [([1, 2],)]
