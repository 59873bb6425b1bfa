"""Restores to a point in time, of real databases: rows from before are there, rows from after are not."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from confd.model.errors import ConfDError, InvalidParameter, NodeOffline
from confd.services.backup.backup import Backup
from confd.services.backup.order import RestoreOrder, WalOrder
from confd.services.backup.orders import put_back, unput
from confd.services.backup.restoring.verification import restore_order
from confd.services.database.record import new_generation
from confd.services.wal.archive import WalArchive
from confd.services.wal.recovery import Reach, check_reached, check_time, reach, read_time, show_time
from confd.services.wal.segment import directory
from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.backup.restoring.test_restoring import Place, stop
from tests.services.database.rig import NAME

Archiving = Callable[..., Site]


def _now(site: Site) -> str:
    return str(
        site.rig.sql(11, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")[0][0]
    )


def _reach(site: Site, backup: Backup) -> Reach:
    assert backup.status
    return reach.function(site.host, NAME, NAME, backup.status.generation, ARCHIVE, backup.location, [ARCHIVE])


def _restore(site: Site, backup: Backup, until: str) -> None:
    chain = site.backups().chain(backup)
    assert chain
    assert backup.status
    prefix = directory(NAME, backup.status.generation)
    wal = WalOrder(volume=ARCHIVE, prefix=prefix, first=_reach(site, backup).first, until=until)
    order: RestoreOrder = msgspec.structs.replace(restore_order(chain), wal=wal)
    generation, place = new_generation(), Place(site)
    try:
        put_back.function(place, NAME, order, generation, False)
    except ConfDError:
        unput.function(place, NAME, generation, False, "")
        raise


def test_exactly_the_rows_of_that_time(archiving: Archiving) -> None:
    """A chain and the WAL behind it lead to any point in time up to the last commit, and no further."""
    site = archiving()
    site.rig.sql(11, "CREATE TABLE t AS SELECT 0 AS i")
    site.take(0)
    site.rig.sql(11, "INSERT INTO t VALUES (1)")
    backup = site.take(1)
    times = []
    for number in (2, 3, 4):
        site.rig.sql(11, f"INSERT INTO t VALUES ({number})")
        times.append(_now(site))
        site.rig.sql(11, "SELECT pg_switch_wal()")
    stop(site)
    WalArchive(site.rig.cluster).work()
    found = _reach(site, backup)
    assert found.until is not None
    assert found.until > read_time(times[-1][:19])

    _restore(site, backup, times[1])
    assert site.rig.sql(11, "SELECT array_agg(i ORDER BY i) FROM t") == [([0, 1, 2, 3],)]
    # What was restored has a history of its own: the same backup leads to the other points in time as before.
    site.rig.sql(11, "INSERT INTO t VALUES (99)")
    backups, record = site.backups(), site.supervision.record(NAME)
    assert backups.base_for(NAME, 1, record.generation, record.system_id, record.lineage) is None
    again = site.take(0)
    stop(site)
    WalArchive(site.rig.cluster).work()
    _restore(site, backup, times[2])
    assert site.rig.sql(11, "SELECT array_agg(i ORDER BY i) FROM t") == [([0, 1, 2, 3, 4],)]
    assert again.complete

    stop(site)
    with pytest.raises(ConfDError, match="recovery ended before configured recovery target was reached"):
        _restore(site, backup, "2999-01-01 00:00:00")
    assert site.rig.servers() == []


def test_without_wal_nothing_is_promised(archiving: Archiving) -> None:
    """A backup that no archived segment follows leads nowhere."""
    site = archiving()
    backup = site.take(0)
    assert _reach(site, backup).until is None


def test_times() -> None:
    """Times are UTC seconds; other forms are refused with the right one."""
    assert show_time(read_time(" 2026-01-31 23:59:00 ")) == "2026-01-31 23:59:00"
    assert read_time("1970-01-02 00:00:00") == 86400
    for wrong in ("2026-01-31", "2026-02-30 00:00:00", "yesterday", "2026-01-31T23:59:00Z"):
        with pytest.raises(InvalidParameter, match="YYYY-MM-DD hh:mm:ss"):
            check_time(wrong)


def test_what_cannot_be_reached_is_refused_with_the_range() -> None:
    """Before the end of the backup and after the last commit there is nothing to restore to."""
    found = Reach(("A", "B"), 1, read_time("2026-01-01 12:00:00") + 0.5)
    check_reached(read_time("2026-01-01 12:00:00"), 1000.0, found)
    for wanted in (999.0, read_time("2026-01-01 12:00:01")):
        with pytest.raises(
            InvalidParameter, match=r"on A, B lead .* from 1970-01-01 00:16:41 to 2026-01-01 12:00:00 UTC"
        ):
            check_reached(wanted, 1000.0, found)
    with pytest.raises(InvalidParameter, match="no archived WAL follows"):
        check_reached(0.0, 0.0, Reach((), 1))


def test_what_cannot_be_seen_may_lead_further() -> None:
    """Then the time is not wrong; before the end of the backup it is, whatever the volumes have."""
    unread = ("C (n12 is offline)",)
    for found in (Reach((), 1, None, unread), Reach(("A",), 1, 2000.0, unread)):
        with pytest.raises(NodeOffline, match=r"cannot be read now: C .n12 is offline."):
            check_reached(2000.0, 1000.0, found)
        with pytest.raises(InvalidParameter):
            check_reached(999.0, 1000.0, found)
    check_reached(1999.0, 1000.0, Reach(("A",), 1, 2000.0, unread))
