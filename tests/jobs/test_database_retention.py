"""Backups are deleted, and get other dates of expiry."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from confd.exaconf import VolumeType
from confd.model.errors import InUse, InvalidParameter, NodeOffline, NotFound
from confd.model.states import NodeState
from confd.services.backup.backup import Content, Status
from confd.services.backup.catalogue import read_backups, write_status
from confd.services.backup.location import Location
from confd.services.backup.order import BackupOrder
from confd.services.backup.retention.removal import delete_all_expired, delete_expired, expired, set_expiry
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.record import PREFIX, Record
from confd.services.storage.segments import Extent, create_segment
from tests.jobs.stage import Stage, StageCluster
from tests.jobs.test_database_schedules import database, volume

STAMP = "202108121809"
FULL, FIRST, OTHER = Location("DB1", 1, 0, 0, STAMP), Location("DB1", 2, 1, 0, STAMP), Location("DB2", 1, 0, 0, STAMP)
LATER = "2100-05-14 5:00:00"


def write(target: BackupTarget, location: Location, base: Location | None = None, whole: bool = True) -> None:
    """Write a backup."""
    for path in (location.path, location.metadata):
        with target.create(path) as writer:
            writer.write(b"12345")
            writer.commit()
    content = Content(5, "", 5)
    status = Status(
        database=location.database, active_nodes=1, postgresql="18", generation="g", system_id="1", timeline=1,
        base=base.path if base else None, began=1.0, ended=2.0, data=content, manifest=content,
    )  # fmt: skip
    if whole:
        write_status(target, location, status)


@pytest.fixture
def site(stage: Stage) -> Stage:
    """A chain of two backups of DB1 and a backup of DB2 on an archive volume of n11."""
    stage.put(
        volume("Data", 0), database("DB1"), database("DB2"), volume("Archive", 1, VolumeType.ARCHIVE, nodes=(11,))
    )
    create_segment.function(stage.host(11), "Archive", 1, "11.0", [Extent("dev.1", 1 << 30 >> 1)])
    stage.conf = stage.conf.with_changes(
        {"EXAVolume : Archive": msgspec.structs.replace(stage.conf.volumes["Archive"], size=1 << 29)}, 9
    )
    target = open_target(stage.host(11), "Archive")
    write(target, FULL)
    write(target, FIRST, FULL)
    write(target, OTHER)
    return stage


def held(stage: Stage) -> list[str]:
    """Return the paths of the backups on the volume."""
    return [one.path for one in read_backups(open_target(stage.host(11), "Archive")).all]


def expiry(stage: Stage, location: Location) -> float | None:
    """Return when a backup expires."""
    found = read_backups(open_target(stage.host(11), "Archive")).find(location.path)
    assert found is not None
    assert found.status is not None
    return found.status.expires


def settled(ran: Any) -> list[str]:
    """Return the paths that were deleted, by the master, once the job could not go back."""
    paths = [path for command in ran.settled for path in command.arguments["paths"]]
    assert {(one.name, one.node) for one in ran.settled} <= {("backup.delete_backups", 0)}
    return paths


def test_backups_of_several_databases_are_deleted(site: Stage) -> None:
    """In one call; what builds on them becomes unusable, and the job says so."""
    ran = site.run("db_backups_delete", db_name="DB1", backup_list=[FULL.id(1), OTHER.id(1)])
    assert settled(ran) == [FULL.path, OTHER.path]
    assert ran.warnings == [f"backup {FIRST.id(1)} cannot be restored any more: it builds on what is deleted"]
    assert held(site) == [FIRST.path]


def test_a_base_is_deleted_last(site: Stage) -> None:
    """So that at no moment a backup lacks its base; an id that is given twice is deleted once, without a warning."""
    ran = site.run("db_backups_delete", db_name="DB1", backup_list=[FULL.id(1), FIRST.id(1), FIRST.id(1)])
    assert (settled(ran), ran.warnings, held(site)) == ([FIRST.path, FULL.path], [], [OTHER.path])


@pytest.mark.parametrize(
    ("ids", "error", "text"),
    [
        ([FULL.id(1), "nonsense"], InvalidParameter, "backup_list: 'nonsense' is not the id of a backup"),
        ([FULL.id(1), FULL.path], InvalidParameter, "backup_list: .* is not the id of a backup"),
        ([FULL.id(1), Location("DB1", 7, 0, 0, STAMP).id(1)], NotFound, "no backup DB1/id_7.*nothing was deleted"),
        ([FULL.id(1), FULL.id(3)], NotFound, "no archive volume with id 3"),
        ([FULL.id(0)], InvalidParameter, "holds databases"),
        ([], InvalidParameter, "at least one"),
    ],
)
def test_nothing_is_deleted_when_one_is_wrong(site: Stage, ids: list[str], error: type[Exception], text: str) -> None:
    """Malformed and unknown ids are refused before anything is deleted."""
    with pytest.raises(error, match=text):
        site.run("db_backups_delete", db_name="DB1", backup_list=ids)
    assert len(held(site)) == 3


def test_what_a_running_backup_uses_stays(site: Stage) -> None:
    """Its base, and what that builds on."""
    third = Location("DB1", 3, 2, 0, STAMP)
    order = BackupOrder(node=11, volume="Archive", volume_id=1, location=third, base=FIRST, began=3.0)
    site.records[PREFIX + "DB1"] = msgspec.to_builtins(Record(backup=order, operation="backup"))
    for one in (FULL, FIRST):
        with pytest.raises(InUse, match="used by a backup or restore that runs"):
            site.run("db_backups_delete", db_name="DB1", backup_list=[one.id(1)])
    site.run("db_backups_delete", db_name="DB1", backup_list=[OTHER.id(1)])


def test_the_expiry_of_a_backup_is_changed(site: Stage) -> None:
    """To a date, to seconds, to never; it is kept with the backup on the volume, and changing it twice is fine."""
    for _ in range(2):
        site.run("db_backup_change_expiration", backup_volume_id=1, backup_files=FULL.set, expire_time=LATER)
        assert expiry(site, FULL) == 4113954000.0
    site.run(
        "db_backup_change_expiration",
        backup_volume_name="Archive",
        backup_files=FULL.set,
        expire_time="4000000000",
    )
    assert expiry(site, FULL) == 4e9
    site.run("db_backup_change_expiration", backup_volume_id=1, backup_files=f"1 {FULL.set}", expire_time="")
    assert expiry(site, FULL) is None
    assert expiry(site, FIRST) is None


@pytest.mark.parametrize(
    ("files", "date", "error", "text"),
    [
        (FULL.set, "2022-05-14 5:00:00", InvalidParameter, "expire_time: .* is in the past"),
        (FULL.set, "1000", InvalidParameter, "is in the past"),
        (FULL.set, "some day", InvalidParameter, "expire_time: 'some day' is no date of expiry: give YYYY-MM-DD"),
        ("DB1/id_9/level_0", LATER, NotFound, "no backup DB1/id_9/level_0"),
        ("DB1/id_1", LATER, InvalidParameter, "backup_files: 'DB1/id_1' names no backup"),
        (f"2 {FULL.set}", LATER, InvalidParameter, "is on volume 2, given is volume 1"),
    ],
)
def test_dates_and_backups_that_are_wrong(
    site: Stage, files: str, date: str, error: type[Exception], text: str
) -> None:
    """The error names the parameter, and nothing changes."""
    with pytest.raises(error, match=text):
        site.run("db_backup_change_expiration", backup_volume_id=1, backup_files=files, expire_time=date)
    assert expiry(site, FULL) is None


def test_a_change_of_expiry_is_taken_back(site: Stage) -> None:
    """Its undo puts the date back that was there, and does nothing where nothing was changed."""
    host = site.host(11)
    set_expiry.function(host, "Archive", {FULL.path: 5000.0})
    for _ in range(2):
        set_expiry.function(host, "Archive", {FULL.path: None, "DB9/id_1/level_0/node_0/backup_202108121809": None})
        assert expiry(site, FULL) is None


def test_unusable_backups_are_deleted(site: Stage) -> None:
    """Incomplete ones and those without a base, of the database named; and only while the whole volume is seen."""
    target = open_target(site.host(11), "Archive")
    torn, lost = Location("DB1", 5, 0, 0, STAMP), Location("DB2", 5, 1, 0, STAMP)
    write(target, torn, whole=False)
    write(target, lost, Location("DB2", 4, 0, 0, STAMP))
    assert settled(site.run("db_backup_delete_unusable", db_name="DB1")) == [torn.path]
    assert settled(site.run("db_backup_delete_unusable", db_name="DB2")) == [lost.path]
    assert settled(site.run("db_backup_delete_unusable", db_name="DB2")) == []
    with pytest.raises(NotFound):
        site.run("db_backup_delete_unusable", db_name="DB9")


def test_what_is_out_of_reach_is_not_unusable(site: Stage) -> None:
    """With a node of the volume away nothing is deleted."""
    write(open_target(site.host(11), "Archive"), Location("DB1", 5, 0, 0, STAMP), whole=False)
    site.put(msgspec.structs.replace(site.conf.volumes["Archive"], nodes=(11, 12)))
    site.states[12] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match=r"n12 of volume Archive .* nothing was deleted"):
        site.run("db_backup_delete_unusable", db_name="DB1")


def test_a_volume_that_is_away_does_not_keep_the_others(site: Stage) -> None:
    """Unusable backups go where all can be seen; the warning names where nothing was deleted."""
    site.run("st_volume_create", name="Far", type="archive", disk="disk1", size="1 MiB", nodes=[12], redundancy=1)
    torn = Location("DB1", 5, 0, 0, STAMP)
    write(open_target(site.host(11), "Archive"), torn, whole=False)
    site.states[12] = NodeState.OFFLINE
    ran = site.run("db_backup_delete_unusable", db_name="DB1")
    assert settled(ran) == [torn.path]
    assert [warning.partition(":")[0] for warning in ran.warnings] == ["the backups on volume Far cannot be read"]


def test_a_volume_goes_with_its_backups(site: Stage) -> None:
    """The job names the databases that could have been restored; of a volume without backups it says nothing."""
    ran = site.run("st_volume_delete", vname="Archive")
    assert ran.warnings == ["usable backups go with volume Archive, of databases: DB1 (2), DB2 (1)"]
    site.run("st_volume_create", name="A", type="archive", disk="disk1", size="1 MiB", nodes=[11], redundancy=1)
    assert site.run("st_volume_delete", vname="A").warnings == []


def test_a_volume_that_cannot_be_read_goes_too(site: Stage) -> None:
    """With a word that nobody has seen what it holds."""
    site.states[11] = NodeState.OFFLINE
    (warning,) = site.run("st_volume_delete", vname="Archive").warnings
    assert warning.startswith("whether volume Archive holds backups could not be seen")


def test_what_can_be_read_is_listed(site: Stage) -> None:
    """A volume without a node online is named in a warning; only when none can be read the list is an error."""
    site.run("st_volume_create", name="Far", type="archive", disk="disk1", size="1 MiB", nodes=[12], redundancy=1)
    site.states[12] = NodeState.OFFLINE
    ran = site.run("db_backup_list", db_name="DB1")
    assert [one["path"] for one in ran.result] == [FULL.path, FIRST.path]
    assert [warning.partition(":")[0] for warning in ran.warnings] == ["the backups on volume Far cannot be read"]
    site.states[11] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match="volume Archive"):
        site.run("db_backup_list", db_name="DB1")


def test_expired_backups_go_and_their_bases_with_them(site: Stage) -> None:
    """A base stays as long as something living builds on it; deleting again does nothing."""
    host = site.host(11)
    set_expiry.function(host, "Archive", {FULL.path: 100.0, FIRST.path: 200.0, OTHER.path: 100.0})
    assert expired.function(host, "Archive", "DB1", 150.0, []) == []
    assert expired.function(host, "Archive", "DB1", 200.0, [FIRST.path]) == []
    assert expired.function(host, "Archive", "DB1", 200.0, []) == [FIRST.path, FULL.path]
    assert expired.function(host, "Archive", None, 200.0, []) == [FIRST.path, FULL.path, OTHER.path]
    assert not delete_expired.function(host, "Archive", FULL.path, 200.0, [FIRST.path])
    for path in (FIRST.path, FULL.path, OTHER.path):
        assert [delete_expired.function(host, "Archive", path, 200.0, []) for _ in range(2)] == [True, False]
    assert open_target(host, "Archive").files() == []


def test_what_a_backup_chooses_meanwhile_stays(site: Stage) -> None:
    """While the expired backups of all databases are deleted, one of another database begins to build on one of them."""
    set_expiry.function(site.host(11), "Archive", {FULL.path: 1.0, FIRST.path: 1.0, OTHER.path: 1.0})
    order = BackupOrder(node=11, volume="Archive", volume_id=1, location=Location("DB1", 3, 0, 0, STAMP), began=3.0)
    second = Location("DB2", 2, 1, 0, STAMP)

    class Cluster(StageCluster):
        def call(self, command: Any, timeout: float = 60.0) -> Any:
            answer = site.call(command, timeout)
            if command.arguments.get("path") == FULL.path:
                chosen = msgspec.structs.replace(order, location=second, base=OTHER)
                site.records[PREFIX + "DB2"] = msgspec.to_builtins(Record(backup=chosen, operation="backup"))
            return answer

    cluster: Any = Cluster(site)
    delete_all_expired(cluster, order)
    assert held(site) == [OTHER.path]
