"""Backups of real servers through their worker process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from confd.model.errors import Conflict, NodeOffline, Unsupported
from confd.services.backup.restoring.verification import links_of
from confd.services.backup.retention.removal import delete
from confd.services.backup.running import verify
from tests.servers import POSTGRESQL, require
from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.backup.holding import held
from tests.services.database.rig import NAME
from tests.services.database.waiting import until


def test_level_0_and_incremental_ones(site: Site) -> None:
    """Backups of several levels are whole and verified; what has not changed is not saved again."""
    site.fill(50_000)
    full = site.take()
    site.rig.sql(11, "UPDATE t SET x = 'new' WHERE i = 1")
    one = site.take(1)
    two = site.take(2)
    backups = site.backups()
    assert full.status and one.status and two.status
    assert backups.chain(two) == (full, one, two)
    assert (one.base, two.base) == (full.path, one.path)
    assert one.status.data.plain < full.status.data.plain
    assert full.status.data.size < full.status.data.plain / 2
    assert verify.function(site.host, ARCHIVE, links_of((full, one, two))) == []
    assert site.supervision.record(NAME).operation == ""
    assert site.rig.sql(11, "SELECT count(*) FROM pg_replication_slots") == [(0,)]
    assert not list(site.rig.layout(11).config.glob("base-*"))


def test_a_full_volume_ends_the_backup(make_site) -> None:  # type: ignore[no-untyped-def]
    """A volume that becomes full in the middle: the reason is recorded, nothing is left, the database goes on."""
    site = make_site(size=2 << 20)
    site.rig.sql(11, "CREATE TABLE t AS SELECT gen_random_uuid() FROM generate_series(1, 300000)")
    before = site.target.free()
    order = site.order()
    site.attendant.begin(NAME, order)
    site.ended(order)
    last = site.supervision.record(NAME).last
    assert last and last.code == 404
    assert (site.target.files(), site.target.free()) == ([], before)
    assert site.rig.sql(11, "SELECT count(*) FROM t") == [(300000,)]


def test_another_master_goes_on(site: Site) -> None:
    """A master that takes over finds the running backup in the record and sees its end."""
    order = site.order()
    with held(site.rig.base):
        site.attendant.begin(NAME, order)
        site.supervision.close()
        site.supervision = site.rig.supervise()
        assert site.supervision.record(NAME).backup == order
    site.ended(order)
    assert site.backups().find(order.location.path)
    site.attendant.begin(NAME, order)
    assert site.supervision.record(NAME).operation == ""


def test_a_backup_whose_base_was_deleted_fails(site: Site) -> None:
    """Also when it has read of it all that it needs: it would be whole, and could never be restored."""
    full = site.take()
    order = site.order(1)
    with held(site.rig.base):
        site.attendant.begin(NAME, order)
        until(lambda: any(site.rig.layout(11).config.glob("base-*")))
        delete.function(site.host, ARCHIVE, [full.path])
    site.ended(order)
    last = site.supervision.record(NAME).last
    assert last
    assert (last.code, full.path in last.message) == (Conflict.code, True), last
    assert site.target.files() == []


def test_a_backup_of_a_lost_node_is_not_aborted(site: Site) -> None:
    """Nobody can end it there: the error says that it is given up by itself, and what to do meanwhile."""
    order = site.order()
    with held(site.rig.base):
        site.attendant.begin(NAME, order)
        site.rig.cluster.offline.add(site.node)
        with pytest.raises(NodeOffline, match=r"n11, which takes the backup, .* itself .* db_suspend_nodes"):
            site.attendant.abort(NAME, order)
        site.rig.cluster.offline.clear()
        site.attendant.abort(NAME, order)
    assert site.supervision.record(NAME).backup is None


def test_incremental_backups_need_postgresql_17(make_site: Callable[..., Site]) -> None:
    """On PostgreSQL 15 a level above 0 is UNSUPPORTED and says what to install; level 0 is taken and restored."""
    require(POSTGRESQL)
    site = make_site(version="15", prefixes=(POSTGRESQL.parent.parent,))
    full = site.take()
    assert full.status
    assert full.status.postgresql.startswith("15")
    with pytest.raises(Unsupported, match="level 1"):
        site.attendant.begin(NAME, site.order(1, base=full.location))
    record = site.supervision.record(NAME)
    assert (record.backup, record.operation) == (None, "")
    assert [one.path for one in site.backups().all] == [full.path]
