"""Backups and restores of a real database through real daemons, some of which die."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

from tests.cluster import saving
from tests.cluster.harness import SYS_PASSWORD, Cluster, until
from tests.cluster.saving import Saved
from tests.services.backup.holding import held
from tests.torture import long

DATABASE = "saved"
PORT = 9663


@pytest.fixture(scope="module")
def saved(plain: Cluster) -> Iterator[Saved]:
    """Give a database on n11 and n12, and an archive volume with two copies on n12 and n13."""
    volumes = {
        "Data": {"nodes": [11, 12], "redundancy": 2},
        "Arc": {"type": "archive", "size": "512 MiB", "nodes": [12, 13], "num_master_nodes": 1, "redundancy": 2},
    }
    with saving.saved(plain, DATABASE, PORT, volumes, [11, 12]) as made:
        yield made


def worker(cluster: Cluster) -> int:
    """Return the process of the backup that runs."""
    (state,) = cluster.home.glob(f"*/n*/metadata/backups/{DATABASE}/worker")
    return int(state.read_text())


def waiting_for(lock: IO[str]) -> int:
    """Return how many wait for a lock on a file."""
    inode = os.fstat(lock.fileno()).st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return sum(f":{inode} " in line and " -> " in line for line in lines)


def test_backups_and_restores_in_jobs(saved: Saved) -> None:
    """Level 0 and 1, changed data, stop, restore of both: the rows of each are back; lists and errors are as documented."""
    assert saved.run("db_backup_list", db_name=DATABASE) == []
    saved.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    full = saved.take(0, expire="1w 3d")
    saved.sql("INSERT INTO t SELECT generate_series(1001, 1100)")
    one = saved.take(1)
    (full,) = [shown for shown in saved.run("db_backup_list", db_name=DATABASE) if shown["id"] == full["id"]]
    assert (full["dependencies"], full["last_item"]) == ("-", False)
    assert (one["dependencies"], one["last_item"]) == (str(full["bid"]), True)
    assert saved.run("db_backup_verify", backup_id=one["id"])["backups"] == [full["id"], one["id"]]
    saved.sql("DROP TABLE t")
    refused = saved.try_run("db_restore", db_name=DATABASE, backup_id=one["id"], restore_type="blocking")
    assert refused["result_name"] == "WRONG_STATE"
    saved.run("db_stop", db_name=DATABASE)
    for backup, rows, kind in ((one, 1100, "blocking"), (full, 1000, "nonblocking")):
        saved.run("db_restore", 12, db_name=DATABASE, backup_id=backup["id"], restore_type=kind)
        assert saved.sql("SELECT count(*) FROM t") == (rows,)
        saved.run("db_stop", db_name=DATABASE)
    saved.run("db_start", db_name=DATABASE)
    assert saved.sql("SELECT count(*) FROM t") == (1000,)


def test_bad_input(saved: Saved) -> None:
    """Each mistake has its error, and nothing changes."""
    before = saved.run("db_backup_list", db_name=DATABASE)
    volume = {"db_name": DATABASE, "backup_volume_name": "Arc"}
    unknown = f"9 {DATABASE}/id_1/level_0/node_0/backup_202001010000 {DATABASE}"
    for job, params, name in (
        ("db_backup_start", volume | {"level": 0, "expire": "soon"}, "INVALID_PARAMETER"),
        ("db_backup_start", volume | {"level": 0, "expire": "999999999999w"}, "INVALID_PARAMETER"),
        ("db_backup_start", volume | {"level": 10}, "INVALID_PARAMETER"),
        ("db_backup_start", volume | {"level": 0, "backup_volume_name": "Data"}, "INVALID_PARAMETER"),
        ("db_backup_start", volume | {"level": 0, "backup_volume_name": "nope"}, "NOT_FOUND"),
        ("db_backup_start", volume | {"level": 0, "db_name": "nope"}, "NOT_FOUND"),
        ("db_backup_abort", {"db_name": DATABASE}, "WRONG_STATE"),
        ("db_backup_progress", {"db_name": DATABASE}, "WRONG_STATE"),
        ("db_backup_verify", {"backup_id": "what"}, "INVALID_PARAMETER"),
        ("db_restore", {"db_name": DATABASE, "backup_id": unknown, "restore_type": "blocking"}, "NOT_FOUND"),
        ("db_restore", {"db_name": DATABASE, "backup_id": unknown, "restore_type": "fast"}, "INVALID_PARAMETER"),
    ):
        answer = saved.try_run(job, **params)
        assert answer["result_name"] == name, (job, params, answer)
    assert saved.run("db_backup_list", db_name=DATABASE) == before


def test_a_backup_outlives_the_daemons(saved: Saved) -> None:
    """While a backup runs its volume is in use and the database is not stopped; it goes on when the master dies."""
    known = len(saved.run("db_backup_list", db_name=DATABASE))
    backup = {"db_name": DATABASE, "backup_volume_name": "Arc", "level": 0}
    with held(saved.cluster.home):
        saved.run("db_backup_start", **backup)
        for job, params, name in (
            ("db_backup_start", backup, "WRONG_STATE"),
            ("db_stop", {"db_name": DATABASE}, "WRONG_STATE"),
            ("st_volume_delete", {"vname": "Arc"}, "IN_USE"),
        ):
            answer = saved.try_run(job, **params)
            assert answer["result_name"] == name, answer
        assert saved.run("db_backup_progress", db_name=DATABASE)["Type"] == "Backup"
        saved.cluster.kill(11)
        saved.cluster.start()
    saved.ended()
    listed = saved.run("db_backup_list", db_name=DATABASE)
    assert (len(listed), all(one["usable"] for one in listed)) == (known + 1, True)


def test_a_killed_worker_leaves_nothing(saved: Saved) -> None:
    """Kill -9 of the worker: db_info says so, the list is as before, all space is free, the next backup is taken."""
    before = saved.run("db_backup_list", db_name=DATABASE)
    with held(saved.cluster.home):
        saved.run("db_backup_start", db_name=DATABASE, backup_volume_name="Arc", level=0)
        os.kill(worker(saved.cluster), signal.SIGKILL)
        assert "interrupted" in saved.ended()["info"]
        assert saved.run("db_backup_list", db_name=DATABASE) == before
    saved.take(1)


def test_virtual_access(saved: Saved) -> None:
    """The job opens the backup for reading only; after db_stop and db_start the present data is back."""
    full = saved.take(0)
    saved.sql("CREATE TABLE later AS SELECT 1 AS i")
    saved.run("db_stop", db_name=DATABASE)
    saved.run("db_restore", 12, db_name=DATABASE, backup_id=full["id"], restore_type="virtual access")
    with psycopg.connect(
        host=saved.cluster.addresses[11], port=PORT, user="sys", password=SYS_PASSWORD, dbname=DATABASE, autocommit=True
    ) as connection:
        assert connection.execute("SELECT to_regclass('later')").fetchone() == (None,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE more (i int)")
    deleted = saved.try_run("st_volume_delete", vname="Arc")
    assert deleted["result_name"] == "IN_USE", deleted
    saved.run("db_stop", db_name=DATABASE)
    saved.run("db_start", db_name=DATABASE)
    assert saved.sql("SELECT i FROM later") == (1,)
    saved.sql("DROP TABLE later")


def test_a_restore_is_aborted_and_not_stopped(saved: Saved) -> None:
    """db_stop is refused at once instead of waiting; after db_backup_abort the database is stopped with its old data."""
    full = saved.take(0)
    saved.sql("CREATE TABLE later AS SELECT 1 AS i")
    saved.run("db_stop", db_name=DATABASE)
    (data,) = saved.cluster.root(11).glob("data/storage/*/segments/*/pgdata")
    client: Any = saved.cluster.client(12)
    params = {"db_name": DATABASE, "backup_id": full["id"], "restore_type": "blocking"}
    with (data.parent / "busy").open("a+") as lock:
        # The work begins once nobody else works on this data.
        fcntl.flock(lock, fcntl.LOCK_EX)
        restore = client.job_start("db_restore", {"params": params})
        until(lambda: saved.try_run("db_backup_progress", db_name=DATABASE)["result_code"] == 0, "the restore runs")
        stopped = saved.try_run("db_stop", db_name=DATABASE)
        assert (stopped["result_name"], "db_backup_abort" in stopped["result_desc"]) == ("WRONG_STATE", True), stopped
        abort = client.job_start("db_backup_abort", {"params": {"db_name": DATABASE}})
        # One waits to restore, the other for the end of that.
        until(lambda: waiting_for(lock) == 2, "the node is told")
    assert saved.result(client, abort)["result_name"] == "OK"
    result = saved.result(client, restore)
    assert (result["result_name"], "db_backup_abort" in result["result_desc"]) == ("CANCELED", True), result
    assert saved.run("db_state", db_name=DATABASE) == "setup"
    saved.run("db_start", db_name=DATABASE)
    assert saved.sql("SELECT i FROM later") == (1,)
    saved.sql("DROP TABLE later")


@long
def test_a_daemon_that_dies_in_mid_restore(saved: Saved) -> None:
    """Master and node die while the data is made: the old data is whole; the restore goes on, or is undone."""
    full = saved.take(0)
    saved.sql("CREATE TABLE later AS SELECT 1 AS i")
    saved.run("db_stop", db_name=DATABASE)
    (data,) = saved.cluster.root(11).glob("data/storage/*/segments/*/pgdata")
    generation = json.loads((data / "confd.json").read_text())["generation"]
    client: Any = saved.cluster.client(12)
    params = {"db_name": DATABASE, "backup_id": full["id"], "restore_type": "nonblocking"}
    with (data.parent / "busy").open("a+") as lock:
        # The work begins once nobody else works on this data.
        fcntl.flock(lock, fcntl.LOCK_EX)
        job = client.job_start("db_restore", {"params": params})
        until(lambda: saved.try_run("db_backup_progress", db_name=DATABASE)["result_code"] == 0, "the restore runs")
        saved.cluster.kill(11)
        assert json.loads((data / "confd.json").read_text())["generation"] == generation
    saved.cluster.start()
    result = saved.result(client, job)
    if result["result_code"]:
        saved.run("db_start", db_name=DATABASE)
    assert saved.sql("SELECT to_regclass('later') IS NULL") == (result["result_code"] == 0,), result
    saved.sql("DROP TABLE IF EXISTS later")
    # A nonblocking restore is over once the primary serves; the next test wants the standbys, too.
    until(lambda: saved.run("db_state", db_name=DATABASE) == "running", "the standbys follow")


@long
def test_backups_of_another_database(saved: Saved) -> None:
    """One with fewer active nodes is refused; else it takes the name of the database that it is restored into."""
    run = saved.run
    run("st_volume_create", name="One", type="data", disk="disk1", size="256 MiB", nodes=[13], redundancy=1)
    run("st_volume_create", name="Solo", type="archive", disk="disk1", size="256 MiB", nodes=[13], redundancy=1)
    single = {"version": "18", "data_volume_name": "One", "mem_size": "256 MiB", "nodes": [13], "num_active_nodes": 1,
              "port": PORT + 1}  # fmt: skip
    run("db_create", db_name="first", **single)
    run("db_start", db_name="first")
    run("db_backup_start", db_name="first", backup_volume_name="Arc", level=0)
    until(lambda: run("db_info", db_name="first")["operation"] == "None", "the backup ends")
    (backup,) = run("db_backup_list", db_name="first")
    assert backup["usable"]
    run("db_stop", db_name="first")
    run("db_delete", db_name="first")
    run("db_create", db_name="second", **single)
    run("db_start", db_name="second")
    run("db_stop", db_name="second")
    run("db_restore", db_name="second", backup_id=backup["id"], restore_type="blocking")
    with psycopg.connect(
        host=saved.cluster.addresses[13], port=PORT + 1, user="sys", password=SYS_PASSWORD, dbname="second"
    ) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("second",)
    run("db_stop", db_name="second")
    run("db_delete", db_name="second")
    run("db_stop", db_name=DATABASE)
    refused = saved.try_run("db_restore", db_name=DATABASE, backup_id=backup["id"], restore_type="blocking")
    assert (refused["result_name"], "1 active nodes" in refused["result_desc"]) == ("WRONG_STATE", True), refused
    run("db_start", db_name=DATABASE)
    saved.cluster.kill(13)
    away = saved.try_run("db_backup_start", db_name=DATABASE, backup_volume_name="Solo", level=0)
    saved.cluster.start()
    assert (away["result_name"], "Solo" in away["result_desc"]) == ("NODE_OFFLINE", True), away
    run("st_volume_delete", vname="One")
    run("st_volume_delete", vname="Solo")


def damage(cluster: Cluster, node: int, place: int) -> None:
    """Turn a byte in each large file of the archive volume on a node: at the half, or the third of it."""
    for path in cluster.root(node).glob("data/storage/*/segments/*/parts/**/*"):
        if path.is_file() and path.stat().st_size > 1 << 18:
            content = bytearray(path.read_bytes())
            content[len(content) // place] ^= 255
            path.write_bytes(content)


def test_the_volume_outlives_a_corrupt_copy_and_refuses_two(saved: Saved) -> None:
    """One damaged copy is not noticed by a restore; with both damaged it is refused and the database is as before."""
    full = saved.take(0)
    saved.run("db_stop", db_name=DATABASE)
    # The first damage may be repaired meanwhile, from the other node.
    for nodes, place, outcome in (((12,), 3, "OK"), ((12, 13), 2, "STE_CORRUPTED")):
        for node in nodes:
            damage(saved.cluster, node, place)
        answer = saved.try_run("db_restore", db_name=DATABASE, backup_id=full["id"], restore_type="blocking")
        assert answer["result_name"] == outcome, answer
        if outcome == "OK":
            saved.run("db_stop", db_name=DATABASE)
    assert saved.run("db_state", db_name=DATABASE) == "setup"
    saved.run("db_start", db_name=DATABASE)
    assert saved.sql("SELECT count(*) FROM t") == (1000,)
