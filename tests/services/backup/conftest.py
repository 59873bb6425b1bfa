"""A real database with an archive volume beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.host import Host
from confd.exaconf import Volume, VolumeType
from confd.model.sizes import Bytes
from confd.services.backup.attendant import Attendant
from confd.services.backup.backup import Backup, Backups
from confd.services.backup.catalogue import read_backups
from confd.services.backup.location import Location, stamp_of
from confd.services.backup.order import BackupOrder
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.record import Wanted
from confd.services.database.supervision.supervision import Supervision
from confd.services.storage.devices import NewDevice, add_device
from confd.services.storage.segments import Extent, create_segment
from tests.services.database.conftest import installation, make_rig, rigs, user, wheel  # noqa: F401
from tests.services.database.rig import NAME, Rig
from tests.services.database.waiting import until

ARCHIVE = "Archive1"
SIZE = 256 << 20


class Site:
    """A rig with a database on some nodes and an archive volume on one."""

    def __init__(self, rig: Rig, size: int = SIZE, prefixes: tuple[Path, ...] = (), **settings: Any) -> None:
        self.rig, self.bid = rig, 0
        first = next(iter(rig.hosts))
        rig.hosts[first] = replace(rig.hosts[first], installations=(*rig.hosts[first].installations, *prefixes))
        self.host: Host = rig.hosts[first]
        add_device.function(self.host, NewDevice(name="dev.1", disk="disk1", uuid="u", sectors=(1 << 30) // 4096))
        rig.volume()
        rig.put(
            Volume(
                name=ARCHIVE,
                type=VolumeType.ARCHIVE,
                size=Bytes(size),
                disk="disk1",
                nodes=(first,),
                redundancy=1,
                id=7,
            )
        )
        create_segment.function(self.host, ARCHIVE, 7, "test", [Extent("dev.1", size)])
        for directory in self.host.root.rglob("*"):
            if directory.is_dir():
                directory.chmod(0o711)
        rig.database(**settings)
        self.supervision: Supervision = rig.supervise()
        rig.define()
        self.supervision.want(NAME, Wanted.RUNNING)

    @property
    def attendant(self) -> Attendant:
        return self.supervision.backups

    @property
    def target(self) -> BackupTarget:
        return open_target(self.host, ARCHIVE)

    def backups(self) -> Backups:
        return read_backups(self.target)

    def order(self, level: int = 0, **changes: Any) -> BackupOrder:
        """Order a backup as the job does."""
        record, backups = self.supervision.record(NAME), self.backups()
        self.bid += 1
        base = backups.base_for(NAME, level, record.generation, record.system_id, record.lineage)
        assert record.primary is not None
        settings: dict[str, Any] = {
            "node": record.primary, "volume": ARCHIVE, "volume_id": 7, "began": 1000.0 * self.bid,
            "location": Location(NAME, self.bid, level, 0, stamp_of(60.0)),
            "base": base.location if base else None,
        }  # fmt: skip
        return BackupOrder(**(settings | changes))

    def take(self, level: int = 0) -> Backup:
        """Take a backup and wait for its end."""
        order = self.order(level)
        self.attendant.begin(NAME, order)
        self.ended(order)
        record = self.supervision.record(NAME)
        assert record.last
        assert record.last.code == 0, record.last.message
        found = self.backups().find(order.location.path)
        assert found
        return found

    def ended(self, order: BackupOrder) -> None:
        until(lambda: (last := self.supervision.record(NAME).last) is not None and last.name == order.location.path)

    def fill(self, rows: int, table: str = "t") -> None:
        """Make a table with about 100 bytes a row."""
        self.rig.sql(
            self.node,
            f"CREATE TABLE {table} AS SELECT i, repeat(md5(i::text), 3) AS x FROM generate_series(1, {rows}) i",
        )

    @property
    def node(self) -> int:
        return self.host.node

    def tidy(self) -> None:
        """Be as after the start: a running database without tables, an empty volume."""
        self.rig.cluster.offline.clear()
        self.supervision.want(NAME, Wanted.RUNNING)
        for (table,) in self.rig.sql(self.node, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            self.rig.sql(self.node, f"DROP TABLE {table}")
        self.target.delete([file.path for file in self.target.files()])

    def store(self) -> list[Path]:
        """All files of the archive volume."""
        return [path for path in self.host.root.glob("data/storage/dev.1/segments/7/**/*") if path.is_file()]


@pytest.fixture
def make_site(make_rig: Callable[..., Rig]) -> Callable[..., Site]:  # noqa: F811
    """Make sites; nothing is left of them."""
    return lambda *nodes, **more: Site(make_rig(*(nodes or (11,))), **more)


@pytest.fixture(scope="module")
def lasting(installation: Path, user: str | None) -> Iterator[Site]:  # noqa: F811
    """One node for all tests of a module."""
    with rigs(installation, user) as make:
        yield Site(make(11))


@pytest.fixture
def site(lasting: Site) -> Site:
    """One node with a running database; what earlier tests made is gone."""
    lasting.tidy()
    return lasting
