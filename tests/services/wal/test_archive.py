"""The WAL of a real database on a real archive volume: nothing is lost, nothing stays that no restore needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from backports import zstd

from confd.model.errors import NodeOffline
from confd.services.backup.catalogue import read_file
from confd.services.database.engine.layout import data_place
from confd.services.database.record import Wanted
from confd.services.wal import shipping
from confd.services.wal.archive import WalArchive
from confd.services.wal.segment import SUFFIX, directory, parse
from confd.services.wal.spool import generations, has_gap, spools, waiting
from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.database.rig import NAME
from tests.services.database.waiting import until

Archiving = Callable[..., Site]


def _waiting(site: Site) -> list[str]:
    place = data_place(site.host, site.rig.conf_now.require_database(NAME))
    return [name for spool in generations(place.segment) for name in waiting(spool)]


def _archived(site: Site) -> list[str]:
    prefix = directory(NAME, site.supervision.record(NAME).generation)
    return [file.path.removeprefix(prefix).removesuffix(SUFFIX) for file in site.target.files(prefix)]


def _switch(site: Site, times: int = 1) -> None:
    for _ in range(times):
        site.rig.sql(11, "CREATE TABLE IF NOT EXISTS t (i int)")
        site.rig.sql(11, "INSERT INTO t VALUES (1)")
        site.rig.sql(11, "SELECT pg_switch_wal()")


def test_finished_segments_come_to_the_volume(archiving: Archiving) -> None:
    """What PostgreSQL finished is stored as it was, leaves the spool, and the last piece comes with the stop."""
    site = archiving()
    _switch(site, 2)
    until(lambda: len(_waiting(site)) >= 2)
    first = _waiting(site)[0]
    place = data_place(site.host, site.rig.conf_now.require_database(NAME))
    original = hashlib.sha256((generations(place.segment)[0] / first).read_bytes()).digest()
    archive = WalArchive(site.rig.cluster)
    archive.work()
    path = f"{directory(NAME, site.supervision.record(NAME).generation)}{first}{SUFFIX}"
    assert hashlib.sha256(zstd.decompress(read_file(site.target, path, 1 << 25))).digest() == original
    assert _waiting(site) == []
    site.rig.sql(11, "INSERT INTO t VALUES (2)")
    site.supervision.want(NAME, Wanted.STOPPED)
    archive.work()
    numbers = [segment.number for name in _archived(site) if (segment := parse(name))]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(numbers) >= 3
    assert archive.problem(NAME) == ""


def test_a_full_or_absent_volume_does_not_stop_the_database(archiving: Archiving, monkeypatch: Any) -> None:
    """While the volume cannot be reached WAL waits; beyond the bound a gap is made and named, and rows are accepted."""
    monkeypatch.setattr("confd.services.wal.preparing._LEAST", 0)
    monkeypatch.setattr("confd.services.wal.preparing._SHARE", 1 << 60)
    site = archiving()
    archive = WalArchive(site.rig.cluster)

    def refuse(*_: Any) -> Any:
        raise NodeOffline("n12 is away")

    monkeypatch.setattr("confd.services.wal.shipping.open_target", refuse)
    _switch(site, 2)
    until(lambda: len(_waiting(site)) == 2)
    archive.work()
    assert len(_waiting(site)) == 2
    assert archive.problem(NAME) == "WAL cannot be archived (n11: n12 is away)"
    _switch(site, 4)
    place = data_place(site.host, site.rig.conf_now.require_database(NAME))
    until(lambda: has_gap(place.segment))
    _switch(site)
    assert "has a gap" in archive.problem(NAME)
    assert len(_waiting(site)) == 4
    assert (spools(place.segment) / "gap").read_text().startswith("0000000")


def test_only_what_a_backup_needs_stays(archiving: Archiving) -> None:
    """WAL from before the oldest backup goes; before the first backup it goes when it is old."""
    site = archiving()
    now = [0.0]
    archive = WalArchive(site.rig.cluster, clock=lambda: now[0], wall=lambda: 0.0)
    _switch(site, 2)
    until(lambda: len(_waiting(site)) >= 2)
    archive.work()
    before = _archived(site)
    assert len(before) >= 2
    site.take(0)
    _switch(site)
    now[0] += 1000
    until(lambda: bool(_waiting(site)))
    archive.work()
    after = _archived(site)
    assert not set(before[:-1]) & set(after)
    assert after


def test_what_waits_when_the_archive_is_switched_off(archiving: Archiving, monkeypatch: Any) -> None:
    """It goes to the volume it was meant for as soon as that can be; once that is gone, nothing stays for ever."""
    site = archiving()
    archive = WalArchive(site.rig.cluster, clock=lambda: now[0], wall=lambda: 0.0)
    now, opened = [0.0], shipping.open_target

    def refuse(*_: Any) -> Any:
        raise NodeOffline("n12 is away")

    def waits_while_off() -> list[str]:
        monkeypatch.setattr(shipping, "open_target", refuse)
        _switch(site, 2)
        site.supervision.want(NAME, Wanted.STOPPED)
        site.rig.put(msgspec.structs.replace(site.rig.conf_now.databases[NAME], wal_archive_volume=""))
        site.supervision.want(NAME, Wanted.RUNNING)
        assert len(_waiting(site)) >= 2
        now[0] += 60
        archive.work()
        return _waiting(site)

    waited = waits_while_off()
    assert archive.problem(NAME) == "WAL cannot be archived (n11: n12 is away)"
    monkeypatch.setattr(shipping, "open_target", opened)
    now[0] += 60
    archive.work()
    assert set(waited) <= set(_archived(site))
    assert (_waiting(site), archive.problem(NAME)) == ([], "")

    site.supervision.want(NAME, Wanted.STOPPED)
    site.rig.put(msgspec.structs.replace(site.rig.conf_now.databases[NAME], wal_archive_volume=ARCHIVE))
    site.supervision.want(NAME, Wanted.RUNNING)
    assert waits_while_off() != []
    conf = site.rig.conf_now
    site.rig.conf_now = conf.with_changes({conf.volumes[ARCHIVE].key: None}, conf.revision + 1)
    now[0] += 60
    archive.work()
    assert (_waiting(site), archive.problem(NAME)) == ([], "")
