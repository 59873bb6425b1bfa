"""Jobs on snapshots."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from confd.model.errors import InvalidParameter, NodeOffline, NotFound, Unsupported, WrongState
from confd.model.states import DatabaseState, NodeState
from confd.scheduler.locks import shared
from confd.scheduler.registry import load
from confd.services.backup.location import Location
from confd.services.backup.snapshots.snapshot import Snapshot
from confd.services.database.record import Record
from confd.services.database.supervision.supervision import Supervision
from confd.services.storage.segments import Extent, create_segment, segment_directory
from tests.jobs.stage import Stage
from tests.jobs.test_database_schedules import database, volume

ID = "DB1/id_1/level_0/node_0/backup_202108121809"


@pytest.fixture
def site(stage: Stage) -> Stage:
    """A running database with a snapshot on n11 and one on n12, and a database without a snapshot volume."""
    stage.put(volume("Data", 0), volume("Snaps", 2), database(snapshot_volume="Snaps"), database("DB2"))
    for node, bid in ((11, 1), (12, 2)):
        create_segment.function(stage.host(node), "Snaps", 2, "11.0", [Extent("dev.1", 1 << 20)])
        location = Location("DB1", bid, 0, 0, "202108121809")
        put_snapshot(stage, node, "Snaps", location, expires=2e9 if bid == 1 else None)
    seen(stage, DatabaseState.RUNNING, 11)
    return stage


def put_snapshot(stage: Stage, node: int, volume: str, location: Location, expires: float | None = None) -> Path:
    """Put a snapshot on a volume; its directory."""
    place = segment_directory(stage.host(node), volume) / "snapshots" / location.path
    (place / "data").mkdir(parents=True)
    about = Snapshot(
        location=location, active_nodes=2, postgresql="18.4", generation="g", system_id="1", timeline=1, stop="0/1",
        taken=1.0, expires=expires, size=1 << 30,
    )  # fmt: skip
    (place / "snapshot.json").write_bytes(msgspec.json.encode(about))
    return place


def seen(stage: Stage, state: DatabaseState, primary: int | None) -> None:
    """Have the supervision see a database in a state."""
    observation = SimpleNamespace(state=state, record=Record(primary=primary))
    stage.services[Supervision] = SimpleNamespace(observe=lambda name: observation)


def test_a_snapshot_relies_on_its_volume(site: Stage) -> None:
    """No segment of it is given up meanwhile; a database without one claims none."""
    rules = load()["db_snapshot_backup_start"].locks
    assert shared("volume", 2) in rules(site.conf, {"db_name": "DB1"})
    assert {lock.name for lock in rules(site.conf, {"db_name": "DB2"})} == {"db:DB2", "snapshots:DB2"}


def test_snapshots_of_all_nodes_are_listed(site: Stage) -> None:
    """In the form of backups, with the path as id; nodes that are away are named."""
    ran = site.run("db_snapshot_backup_list", db_name="DB1")
    assert [one["bid"] for one in ran.result] == [1, 2]
    assert ran.result[0] == {
        "bid": 1, "comment": "", "dependencies": "-", "expire": "2033-05-18 03:33", "expired": False, "id": ID,
        "last_item": True, "level": 0, "path": ID, "system": "DB1", "timestamp": "2021-08-12 18:09",
        "ts": "202108121809", "usable": True, "usage": "1.000 GiB", "volume": "Snaps",
    }  # fmt: skip
    site.states[12] = NodeState.OFFLINE
    ran = site.run("db_snapshot_backup_list", db_name="DB1")
    assert ([one["bid"] for one in ran.result], ran.warnings) == (
        [1], ["n12 cannot be asked; snapshots there are not shown"],
    )  # fmt: skip
    assert site.run("db_snapshot_backup_list", db_name="DB2").result == []


def test_snapshots_are_deleted(site: Stage) -> None:
    """On the node where they lie, once the job cannot go back; under the older name of the parameter, too."""
    second = ID.replace("id_1", "id_2")
    ran = site.run("db_snapshot_backups_delete", db_name="DB1", backup_list=[second])
    assert [(one.name, one.node) for one in ran.settled] == [("snapshot.remove", 12)]
    assert [one["id"] for one in site.run("db_snapshot_backup_list", db_name="DB1").result] == [ID]


@pytest.mark.parametrize(
    ("ids", "error", "text"),
    [
        ([ID, "DB1/id_9/level_0/node_0/backup_202108121809"], NotFound, "no snapshot 'DB1/id_9"),
        ([ID, f"2 {ID} DB1"], InvalidParameter, "snapshot_backup_list: .* is not the id of a snapshot"),
        ([ID, "DB1/id_1/../../x"], InvalidParameter, "is not the id of a snapshot"),
        ([], InvalidParameter, "at least one"),
    ],
)
def test_nothing_is_deleted_when_one_is_wrong(site: Stage, ids: list[str], error: type[Exception], text: str) -> None:
    """Malformed and unknown ids are refused before anything is deleted."""
    with pytest.raises(error, match=text):
        site.run("db_snapshot_backups_delete", db_name="DB1", snapshot_backup_list=ids)
    assert len(site.run("db_snapshot_backup_list", db_name="DB1").result) == 2


def test_what_may_be_on_a_node_that_is_away(site: Stage) -> None:
    """It is not called unknown."""
    site.states[11] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match="may be on n11"):
        site.run("db_snapshot_backups_delete", db_name="DB1", snapshot_backup_list=[ID])


@pytest.mark.parametrize(
    ("name", "state", "primary", "text"),
    [
        ("DB2", DatabaseState.RUNNING, 11, "no snapshot volume"),
        ("DB1", DatabaseState.SETUP, None, "in state setup; only a running one"),
        ("DB1", DatabaseState.RUNNING, 13, "on n13, where snapshot volume Snaps has no segment"),
    ],
)
def test_when_none_is_taken(site: Stage, name: str, state: DatabaseState, primary: Any, text: str) -> None:
    """The error says what is missing."""
    seen(site, state, primary)
    with pytest.raises(WrongState, match=text):
        site.run("db_snapshot_backup_start", db_name=name)


def test_one_is_taken_where_the_primary_is(site: Stage) -> None:
    """With an undo there, and what has expired goes afterwards from all nodes of the volume."""
    planned = site.plan("db_snapshot_backup_start", db_name="DB1", expire="1w")
    assert [(one.name, one.node) for one in planned.commands] == [
        ("snapshot.take", 11), ("snapshot.remove_expired", 11), ("snapshot.remove_expired", 12),
    ]  # fmt: skip
    first = planned.commands[0].arguments
    assert first["expires"] == first["taken"] + 7 * 86400
    with pytest.raises(InvalidParameter, match="expire: 'soon'"):
        site.run("db_snapshot_backup_start", db_name="DB1", expire="soon")


def test_a_snapshot_is_restored_by_its_path(site: Stage) -> None:
    """The id of a snapshot has no volume; it is restored on the node where it lies, which has to be an active one."""
    seen(site, DatabaseState.SETUP, 11)
    site.services[Supervision].record = lambda name: Record()
    with pytest.raises(NotFound, match="snapshot volume Snaps has no snapshot DB1/id_9"):
        site.run("db_restore", db_name="DB1", backup_id=ID.replace("id_1", "id_9"), restore_type="blocking")
    with pytest.raises(WrongState, match="DB2 has no snapshot volume"):
        site.run("db_restore", db_name="DB2", backup_id=ID, restore_type="blocking")
    with pytest.raises(Unsupported, match="restore_type: a snapshot"):
        site.run("db_restore", db_name="DB1", backup_id=ID, restore_type="virtual access")
    narrow = msgspec.structs.replace(site.conf.databases["DB1"], nodes=(12,), num_active_nodes=1)
    site.put(narrow)
    with pytest.raises(WrongState, match="lies on n11, which is no active node of DB1"):
        site.run("db_restore", db_name="DB1", backup_id=ID, restore_type="blocking")
