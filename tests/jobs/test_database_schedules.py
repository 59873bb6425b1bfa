"""Schedules of databases."""

from __future__ import annotations

from typing import Any

import pytest

from confd.exaconf import Database, ObjectType, ObjectVolume, RemoteType, RemoteVolume, Volume, VolumeType
from confd.model.errors import AlreadyExists, InUse, InvalidParameter, NotFound, Unsupported, WrongState
from confd.model.sizes import Bytes
from confd.services.backup.snapshots.snapshot import check_snapshot_volume
from tests.jobs.stage import Stage


def volume(name: str, vid: int, kind: VolumeType = VolumeType.DATA, **more: Any) -> Volume:
    """Make a volume."""
    given = {"nodes": (11, 12), **more}
    return Volume(name=name, type=kind, size=Bytes(1 << 30), disk="disk1", id=vid, **given)


def database(name: str = "DB1", **more: Any) -> Database:
    """Make a database."""
    return Database(
        name=name, id="x", version="18", mem_size=Bytes(1 << 30), nodes=(11, 12), num_active_nodes=2,
        data_volume="Data", **more,
    )  # fmt: skip


@pytest.fixture
def site(stage: Stage) -> Stage:
    """A database with a snapshot volume, one without, an archive volume, a remote one."""
    stage.put(
        volume("Data", 0), volume("Archive", 1, VolumeType.ARCHIVE), volume("Snaps", 2),
        volume("Double", 4, redundancy=2), volume("Narrow", 5, nodes=(11,)),
        RemoteVolume(name="r0001", type=RemoteType.S3, id=10001, url="u"),
        ObjectVolume(name="Cloud", type=ObjectType.S3),
        database(snapshot_volume="Snaps"), database("DB2"),
    )  # fmt: skip
    return stage


ADD = {"db_name": "DB1", "backup_name": "full backup", "backup_volume_name": "Archive", "level": 0}


def test_a_schedule_is_added_changed_and_removed(site: Stage) -> None:
    """Defaults of cron fields, numbers as well as texts; what is left out of a change stays."""
    site.run("db_backup_add_schedule", **ADD, hour=1, weekday="6", expire="1w 3d", enabled=True)
    added = site.conf.databases["DB1"].backups["full backup"]
    assert (added.volume, added.level, added.enabled, added.expire) == ("1", 0, True, "1w 3d")
    assert (added.minute, added.hour, added.day, added.month, added.weekday) == ("0", "1", "*", "*", "6")
    site.run("db_backup_modify_schedule", db_name="DB1", backup_name="full backup", minute="0,30", enabled=False)
    changed = site.conf.databases["DB1"].backups["full backup"]
    assert (changed.minute, changed.hour, changed.enabled, changed.expire) == ("0,30", "1", False, "1w 3d")
    site.run("db_backup_modify_schedule", db_name="DB1", backup_name="full backup", expire="")
    assert site.conf.databases["DB1"].backups["full backup"].expire is None
    site.run("db_backup_remove_schedule", db_name="DB1", backup_name="full backup")
    assert site.conf.databases["DB1"].backups == {}


def test_snapshot_schedules_are_apart(site: Stage) -> None:
    """They may have the name of a backup schedule; a database needs a snapshot volume for them."""
    site.run("db_backup_add_schedule", **ADD)
    site.run("db_snapshot_backup_add_schedule", db_name="DB1", backup_name="full backup", minute=15, expire="1d")
    site.run("db_snapshot_backup_modify_schedule", db_name="DB1", backup_name="full backup", hour="2", enabled="true")
    held = site.conf.databases["DB1"].snapshots["full backup"]
    assert (held.minute, held.hour, held.enabled, held.expire) == ("15", "2", True, "1d")
    site.run("db_snapshot_backup_remove_schedule", db_name="DB1", backup_name="full backup")
    assert (site.conf.databases["DB1"].snapshots, len(site.conf.databases["DB1"].backups)) == ({}, 1)
    with pytest.raises(WrongState, match="no snapshot volume"):
        site.run("db_snapshot_backup_add_schedule", db_name="DB2", backup_name="s")


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"db_name": "DB9"}, NotFound, "DB9"),
        ({"backup_volume_name": "Nowhere"}, NotFound, "There is no volume 'Nowhere'; known: Archive"),
        ({"backup_volume_id": 9}, NotFound, "no archive volume with id 9"),
        (
            {"backup_volume_name": "Data"},
            InvalidParameter,
            "volume Data holds databases, not backups; give an archive volume",
        ),
        ({"backup_volume_name": "r0001"}, Unsupported, "remote volume"),
        ({"level": 10}, InvalidParameter, "level: 10 is above the maximum of 9"),
        ({"level": -1}, InvalidParameter, "level: -1 is below"),
        ({"minute": "60"}, InvalidParameter, r"minute: '60' is no cron field: give \*, a number from 0 to 59"),
        ({"minute": 60}, InvalidParameter, "minute: 60 is above the maximum of 59"),
        ({"weekday": "noday"}, InvalidParameter, "weekday: 'noday'"),
        ({"day": "31", "month": "2"}, InvalidParameter, "day, month"),
        ({"expire": "soon"}, InvalidParameter, "expire: 'soon' is not a duration"),
        ({"backup_name": "a/b"}, InvalidParameter, "backup_name: 'a/b' cannot name a schedule"),
        ({"backup_name": " "}, InvalidParameter, "cannot name a schedule"),
    ],
)
def test_bad_input_changes_nothing(site: Stage, changes: dict[str, Any], error: type[Exception], text: str) -> None:
    """Each error names the parameter and what may be given."""
    before = site.conf
    with pytest.raises(error, match=text):
        site.run("db_backup_add_schedule", **(ADD | changes))
    assert site.conf is before


def test_names_are_used_once(site: Stage) -> None:
    """A name that is taken is refused, one that does not exist is, too."""
    site.run("db_backup_add_schedule", **ADD)
    with pytest.raises(AlreadyExists, match="db_backup_modify_schedule"):
        site.run("db_backup_add_schedule", **ADD)
    for job in ("db_backup_modify_schedule", "db_backup_remove_schedule"):
        with pytest.raises(NotFound, match="no backup schedule 'x'; it has 'full backup'"):
            site.run(job, db_name="DB1", backup_name="x")
    with pytest.raises(NotFound, match="no snapshot schedule"):
        site.run("db_snapshot_backup_remove_schedule", db_name="DB1", backup_name="full backup")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Nowhere", NotFound), ("Cloud", Unsupported), ("Archive", InvalidParameter), ("Data", InUse),
        ("Double", InvalidParameter), ("Narrow", InvalidParameter),
    ],
)  # fmt: skip
def test_what_cannot_take_snapshots(site: Stage, name: str, error: type[Exception]) -> None:
    """Object volumes come later; a local one must be of its own, single, and on each active node."""
    with pytest.raises(error, match=name):
        check_snapshot_volume(site.conf, name, "Other", (11, 12))
    check_snapshot_volume(site.conf, "Snaps", "Other", (11, 12))
