"""What is deleted of archived WAL on real volumes, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.exaconf import VolumeType
from confd.model.errors import InsufficientSpace, NodeOffline
from confd.model.states import NodeState
from confd.services.backup.backup import Content, Status
from confd.services.backup.catalogue import write_status
from confd.services.backup.location import Location
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.engine.layout import data_place
from confd.services.database.record import PREFIX, Record
from confd.services.storage.segments import Extent, create_segment
from confd.services.wal.archive import WalArchive
from confd.services.wal.segment import SIZE, SUFFIX, Segment, directory, parse
from confd.services.wal.spool import GAP, VOLUME, spools
from tests.jobs.stage import Stage, StageCluster
from tests.jobs.test_database_schedules import database, volume

VOLUMES = {"W": (1, 11), "B": (2, 12), "Old": (3, 11)}
HISTORY = "00000002.history"


class Site(Stage):
    """Database DB1 archives to W; there are archive volumes for backups (B, on n12) and from before (Old)."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.put(volume("Data", 0), msgspec.structs.replace(database("DB1"), wal_archive_volume="W"))
        for name, (vid, node) in VOLUMES.items():
            made = volume(name, vid, VolumeType.ARCHIVE, nodes=(node,))
            self.put(msgspec.structs.replace(made, size=256 << 20))
            create_segment.function(self.host(node), name, vid, "11.0", [Extent("dev.1", 256 << 20)])
        create_segment.function(self.host(11), "Data", 0, "11.0", [Extent("dev.1", 1 << 20)])
        self.records[PREFIX + "DB1"] = msgspec.to_builtins(Record(generation="g"))
        self.later = 0.0
        cluster: Any = StageCluster(self)
        self.archive = WalArchive(cluster, clock=lambda: self.later, wall=self._wall)

    def _wall(self) -> float:
        return max((file.modified for name in VOLUMES for file in self.target(name).files()), default=0.0) + self.later

    def target(self, name: str) -> BackupTarget:
        """Open a volume, whatever is away."""
        return open_target(self.host(VOLUMES[name][1]), name)

    def write(self, name: str, path: str, content: bytes = b"x") -> None:
        with self.target(name).create(path) as writer:
            writer.write(content)
            writer.commit()

    def archived(self, name: str, *numbers: int, generation: str = "g", of: str = "DB1") -> None:
        """Have WAL on a volume."""
        for wanted in (*(Segment(number, 1).name for number in numbers), HISTORY):
            self.write(name, f"{directory(of, generation)}{wanted}{SUFFIX}")

    def saved(self, name: str, end: int, generation: str = "g", of: str = "DB1", bid: int = 1) -> Location:
        """Have a backup on a volume that ends in a segment."""
        location = Location(of, bid, 0, 0, "202601010000")
        position = end * SIZE + 1
        manifest = msgspec.json.encode({"WAL-Ranges": [{"End-LSN": f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"}]})
        self.write(name, location.path)
        self.write(name, location.metadata, manifest)
        status = Status(
            database=of, active_nodes=1, postgresql="18", generation=generation, system_id="1", timeline=1, began=1.0,
            ended=2.0, data=Content(1, "", 1), manifest=Content(len(manifest), "", 1),
        )  # fmt: skip
        write_status(self.target(name), location, status)
        return location

    def pruned(self, hours: float = 2) -> None:
        """Work some hours later."""
        self.later += hours * 3600
        self.archive.work()

    def spools(self) -> Path:
        """Return where the spools of n11 are."""
        return spools(data_place(self.host(11), self.conf.databases["DB1"]).segment)

    def left(self, name: str, generation: str = "g", of: str = "DB1") -> list[int]:
        """Return the numbers of the segments on a volume."""
        prefix = directory(of, generation)
        names = [file.path.removeprefix(prefix).removesuffix(SUFFIX) for file in self.target(name).files(prefix)]
        # It is small, and says to which timeline what comes later belongs.
        assert (HISTORY in names) == bool(names)
        return [segment.number for one in names if (segment := parse(one))]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Three archive volumes."""
    return Site(tmp_path)


def test_backups_on_other_volumes_need_it(site: Site) -> None:
    """WAL is kept from the end of the oldest backup on, wherever that one is."""
    site.archived("W", 3, 4, 5, 6)
    site.saved("W", 6, bid=2)
    site.saved("B", 5)
    site.pruned()
    assert site.left("W") == [5, 6]


def test_nothing_goes_while_not_everything_is_seen(site: Site) -> None:
    """A node of any archive volume may hold the oldest backup."""
    site.archived("W", 3, 4, 5, 6)
    site.saved("W", 6, bid=2)
    site.saved("B", 5)
    for state in (NodeState.OFFLINE, NodeState.SUSPENDED):
        site.states[12] = state
        site.pruned()
        assert site.left("W") == [3, 4, 5, 6]
    site.states[12] = NodeState.ONLINE
    site.pruned()
    assert site.left("W") == [5, 6]


def test_a_full_volume(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is made at once; db_info says why there is none while that cannot be."""
    spool = site.spools() / "g"
    spool.mkdir(parents=True)
    (spool / Segment(7, 1).name).write_bytes(b"x")
    site.archived("W", 3, 4, 5, 6)
    site.saved("B", 5)
    site.states[12] = NodeState.OFFLINE

    def refuse(*_: Any) -> Any:
        raise InsufficientSpace("volume W is full")

    monkeypatch.setattr("confd.services.wal.shipping.open_target", refuse)
    site.archive.work()
    assert site.archive.problem("DB1") == (
        "WAL cannot be archived (n11: volume W is full) WAL that is not needed any more is not deleted "
        "(n12 of volume B must be online: backups there may need it)"
    )
    site.states[12] = NodeState.ONLINE
    site.pruned(0.01)
    assert site.left("W") == [5, 6]
    assert site.archive.problem("DB1") == "WAL cannot be archived (n11: volume W is full)"


def test_a_backup_that_cannot_be_read_keeps_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far back it needs WAL is not known, be its status or its manifest out of reach."""
    site.archived("W", 3, 4, 5, 6)
    site.saved("W", 6, bid=2)
    location = site.saved("B", 5)
    opened = type(site.target("B")).open
    for path in (location.status(), location.metadata):

        def refuse(self: Any, wanted: str, path: str = path) -> Any:
            if wanted == path:
                raise NodeOffline("n13 cannot be reached")
            return opened(self, wanted)

        monkeypatch.setattr(type(site.target("B")), "open", refuse)
        site.pruned()
        assert site.left("W") == [3, 4, 5, 6]


def test_what_is_left_on_volumes_that_no_database_archives_to(site: Site) -> None:
    """After a change of the volume, and of deleted databases, WAL goes by the same rules."""
    site.archived("Old", 1, 2, 3)
    site.archived("Old", 1, 2, of="Gone")
    site.archived("Old", 1, 2, of="Kept", generation="h")
    site.saved("B", 2)
    site.saved("Old", 2, of="Kept", generation="h")
    site.pruned()
    assert site.left("Old") == [2, 3]
    assert site.left("Old", of="Gone") == []
    assert site.left("Old", of="Kept", generation="h") == [2]
    site.put(msgspec.structs.replace(site.conf.databases["DB1"], wal_archive_volume=""))
    site.target("B").delete(file.path for file in site.target("B").files())
    site.pruned()
    assert site.left("Old") == []


def test_a_volume_that_is_deleted_takes_wal_along(site: Site) -> None:
    """Whose is told before: what is archived there, and what waits for it although archiving was switched off."""
    site.archived("Old", 3, of="Gone")
    (site.spools() / "g").mkdir(parents=True)
    (site.spools() / "g" / Segment(4, 1).name).write_bytes(b"x")
    site.put(msgspec.structs.replace(site.conf.databases["DB1"], wal_archive_volume=""))
    (site.spools() / VOLUME).write_text("W")
    for deleted, told in (("Old", "Gone"), ("W", "DB1")):
        (warned,) = site.run("st_volume_delete", vname=deleted).warnings
        assert warned.startswith(f"archived WAL goes with volume {deleted}, of databases: {told}; ")
    site.archive.work()
    assert not list((site.spools() / "g").iterdir())


def test_without_a_backup_it_is_kept_for_an_hour(site: Site) -> None:
    """Also while the first one is being taken; that of replaced data has none to wait for."""
    site.archived("W", 1, 2)
    site.archived("W", 1, 2, generation="replaced")
    site.pruned(0.5)
    assert site.left("W", "replaced") == [1, 2]
    site.records[PREFIX + "DB1"] = msgspec.to_builtins(Record(generation="g", operation="backup"))
    site.pruned(1)
    assert (site.left("W"), site.left("W", "replaced")) == ([1, 2], [])
    site.records[PREFIX + "DB1"] = msgspec.to_builtins(Record(generation="g"))
    site.pruned()
    assert site.left("W") == []


def test_a_gap_is_forgotten_once_a_backup_lies_behind_it(site: Site) -> None:
    """On whichever volume, and while other volumes cannot be read."""
    site.spools().mkdir(parents=True)
    (site.spools() / GAP).write_text(f"{Segment(4, 1).name}\n{Segment(5, 1).name}\n")
    site.archived("W", 3)
    site.saved("Old", 5)
    site.pruned()
    assert "has a gap" in site.archive.problem("DB1")
    site.saved("Old", 6, bid=2)
    site.states[12] = NodeState.OFFLINE
    site.pruned()
    assert not (site.spools() / GAP).exists()
    assert site.archive.problem("DB1") == ""
