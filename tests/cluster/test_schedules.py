"""Schedules, deletion of backups and snapshots through real daemons, one of which dies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster import saving
from tests.cluster.harness import Cluster, until
from tests.cluster.saving import Saved

DATABASE = "planned"
PORT = 9763


@pytest.fixture(scope="module")
def planned(plain: Cluster) -> Iterator[Saved]:
    """Give a database on n11, a snapshot volume there, and an archive volume on n12 and n13."""
    volumes = {"D": {"nodes": [11]}, "S": {"nodes": [11]}, "A": {"type": "archive", "nodes": [12, 13]}}
    with saving.saved(plain, DATABASE, PORT, volumes, [11], snapshot_sync_volume="S") as made:
        yield made


def test_schedules_are_shown_with_their_next_run(planned: Saved) -> None:
    """In EXAConf as it was given, in db_info with the next run; the master goes on with them after its death."""
    planned.run("db_backup_add_schedule", 12, db_name=DATABASE, backup_name="full backup", backup_volume_name="A",
                level=0, enabled=True, expire="1w 3d", hour=4, weekday="Sunday")  # fmt: skip
    planned.run("db_snapshot_backup_add_schedule", db_name=DATABASE, backup_name="s", enabled=True, minute="0,30")
    config = planned.run("db_info", db_name=DATABASE)["config"]
    assert config["backups"]["full backup"]["next_run"][10:16] == " 04:00"
    assert config["snapshots"]["s"]["next_run"][14:16] in ("00", "30")
    assert "[[Backup : full backup]]" in (planned.cluster.root(13) / "etc/EXAConf").read_text()
    planned.cluster.kill(11)
    planned.cluster.start()
    until(lambda: planned.try_run("db_state", db_name=DATABASE)["result_code"] == 0, "the master is back")
    assert planned.run("db_info", db_name=DATABASE)["config"]["backups"] == config["backups"]
    planned.run("db_snapshot_backup_remove_schedule", db_name=DATABASE, backup_name="s")
    planned.run("db_backup_remove_schedule", db_name=DATABASE, backup_name="full backup")
    assert planned.run("db_info", db_name=DATABASE)["config"]["backups"] == {}


def test_backups_expire_and_are_deleted(planned: Saved) -> None:
    """The date is kept on the volume; a base that is deleted leaves an unusable backup, which goes as well."""
    full, one = planned.take(0), planned.take(1)
    number, files = full["expire_alterable"].split(" ")
    change = {"backup_volume_id": number, "backup_files": files}
    planned.run("db_backup_change_expiration", 13, **change, expire_time="2100-05-14 5:00:00")
    assert planned.run("db_backup_list", db_name=DATABASE)[0]["expire"] == "2100-05-14 05:00"
    past = planned.try_run("db_backup_change_expiration", **change, expire_time="2022-05-14 5:00:00")
    assert past["result_name"] == "INVALID_PARAMETER"
    deleted = planned.try_run("db_backups_delete", db_name=DATABASE, backup_list=[full["id"]])
    assert (deleted["result_code"], one["id"] in deleted["result_warnings"][0]) == (0, True)
    assert [shown["usable"] for shown in planned.run("db_backup_list", db_name=DATABASE)] == [False]
    planned.run("db_backup_delete_unusable", db_name=DATABASE)
    assert planned.listed() == []


def test_snapshots_are_taken_and_restored(planned: Saved) -> None:
    """Rows of the snapshot are back, later ones are gone; a snapshot is deleted when it is asked for."""
    planned.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    planned.run("db_snapshot_backup_start", 12, db_name=DATABASE)
    planned.sql("INSERT INTO t SELECT generate_series(1001, 1100)")
    (taken,) = planned.listed("db_snapshot_backup_list")
    planned.run("db_stop", db_name=DATABASE)
    planned.run("db_restore", db_name=DATABASE, backup_id=taken, restore_type="blocking")
    assert planned.sql("SELECT count(*), max(i) FROM t") == (1000, 1000)
    planned.run("db_snapshot_backups_delete", db_name=DATABASE, backup_list=[taken])
    assert planned.listed("db_snapshot_backup_list") == []


def test_a_daemon_that_dies_in_mid_snapshot(planned: Saved) -> None:
    """When it is back the snapshot is either whole and listed, or nothing of it is left."""
    client: Any = planned.cluster.client(11)
    job = client.job_start("db_snapshot_backup_start", {"params": {"db_name": DATABASE}})
    planned.cluster.kill(11)
    planned.cluster.start()
    ended = planned.result(client, job)
    found = planned.listed("db_snapshot_backup_list")
    assert len(found) == (ended["result_code"] == 0)
    shelves = list(planned.cluster.root(11).glob(f"data/storage/*/segments/*/snapshots/{DATABASE}/id_*/*/*/backup_*"))
    assert [str(shelf).partition("snapshots/")[2] for shelf in shelves] == found
    if found:
        planned.run("db_snapshot_backups_delete", db_name=DATABASE, snapshot_backup_list=found)
