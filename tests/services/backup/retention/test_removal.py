"""Expired backups go after the next one, deleted ones at once, with real backups on a real volume."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from confd.model.errors import NodeOffline
from confd.services.backup.retention.removal import delete_backups, make_room, set_expiry
from tests.services.backup.conftest import ARCHIVE, Site
from tests.services.database.rig import NAME
from tests.services.database.waiting import until


def levels(site: Site) -> list[int]:
    """Return the levels of the backups on the volume."""
    return [one.location.level for one in site.backups().all]


def test_expired_backups_go_after_the_next(site: Site) -> None:
    """A base that has expired stays as long as the backup on it lives; what was deleted once is gone for good."""
    full, first = site.take(), site.take(1)
    set_expiry.function(site.host, ARCHIVE, {full.path: 1.0})
    site.take(0)
    until(lambda: levels(site) == [0, 1, 0])
    set_expiry.function(site.host, ARCHIVE, {first.path: 2.0})
    last = site.take(0)
    until(lambda: levels(site) == [0, 0])
    master: Any = SimpleNamespace(cluster=site.rig.cluster)
    for _ in range(2):
        delete_backups.function(master, ARCHIVE, [last.path])
        assert levels(site) == [0]
    delete_backups.function(master, "Gone", [last.path])
    site.rig.cluster.offline.add(site.node)
    with pytest.raises(NodeOffline, match=ARCHIVE):
        delete_backups.function(master, ARCHIVE, [last.path])


def test_expired_backups_give_way(make_site: Callable[..., Site]) -> None:
    """Before a backup begins that may not fit otherwise; while there is space they stay."""
    site = make_site(size=40 << 20)
    full = site.take()
    set_expiry.function(site.host, ARCHIVE, {full.path: 1.0})
    make_room(site.rig.cluster, NAME, site.order(1, base=None))
    assert levels(site) == [0]
    make_room(site.rig.cluster, NAME, site.order(0))
    assert levels(site) == []
