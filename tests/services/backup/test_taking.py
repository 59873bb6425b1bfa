"""Backups of real servers through their worker process."""

from __future__ import annotations

import os
import signal

import pytest

from confd.model.errors import WrongState
from confd.services.backup.running import look, verify
from confd.services.backup.verification import links_of
from confd.services.backup.worker_client import WorkerClient
from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.database.rig import NAME
from tests.services.database.test_supervision import until


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


def test_a_killed_worker_leaves_nothing(site: Site) -> None:
    """Kill -9 of the worker: the operation ends with the reason, no file is listed, all space is free again."""
    site.fill(100_000)
    before = site.target.free()
    order = site.order()
    site.rig.sql(11, "ALTER ROLE exa_admin SET wal_sender_timeout = 0")
    site.attendant.begin(NAME, order)
    os.kill(int((WorkerClient(site.host, NAME).state / "worker").read_text()), signal.SIGKILL)
    site.ended(order)
    record = site.supervision.record(NAME)
    assert record.last and record.last.code and "interrupted" in record.last.message
    assert record.operation == "" and record.backup is None
    assert site.target.files() == []
    until(lambda: site.target.free() == before)
    assert site.take().complete


def test_abort(site: Site) -> None:
    """An aborted backup is gone when abort returns; a second backup is refused while one runs, abort without is fine."""
    site.fill(200_000)
    before = site.target.free()
    order = site.order()
    site.attendant.begin(NAME, order)
    with pytest.raises(WrongState, match="backup"):
        site.attendant.begin(NAME, site.order(0, began=1.0))
    site.attendant.abort(NAME, order)
    record = site.supervision.record(NAME)
    assert record.last and "aborted" in record.last.message
    assert (site.target.files(), site.target.free()) == ([], before)
    site.attendant.abort(NAME, order)
    assert look.function(site.host, NAME, order).ended


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
    site.fill(100_000)
    order = site.order()
    site.attendant.begin(NAME, order)
    site.supervision.close()
    site.supervision = site.rig.supervise()
    site.ended(order)
    assert site.backups().find(order.location.path)
    site.attendant.begin(NAME, order)
    assert site.supervision.record(NAME).operation == ""
