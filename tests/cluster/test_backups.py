"""Backups and restores of a real database through real daemons, some of which die."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cluster.harness import SYS_PASSWORD, Cluster, until

DATABASE = "saved"
PORT = 9663


@pytest.fixture(scope="module")
def saved(plain: Cluster) -> Iterator[Cluster]:
    """Give a cluster with a database on n11 and n12, and an archive volume with two copies on n12 and n13."""
    run = plain.run
    run("st_volume_create", name="Data", type="data", disk="disk1", size="256 MiB", nodes=[11, 12], redundancy=2)
    run("st_volume_create", name="Arc", type="archive", disk="disk1", size="512 MiB", nodes=[12, 13],
        num_master_nodes=1, redundancy=2)  # fmt: skip
    run("db_create", db_name=DATABASE, version="18", data_volume_name="Data", mem_size="512 MiB", nodes=[11, 12],
        num_active_nodes=2, port=PORT)  # fmt: skip
    run("db_start", db_name=DATABASE)
    yield plain
    with contextlib.suppress(AssertionError):
        run("db_stop", db_name=DATABASE)
    run("db_delete", db_name=DATABASE)
    for name in ("Data", "Arc"):
        run("st_volume_delete", vname=name)


def sql(cluster: Cluster, statement: str) -> Any:
    """Run a statement on the primary."""
    hosts = ",".join(cluster.addresses[node] for node in (11, 12))
    with psycopg.connect(
        host=hosts, port=PORT, user="sys", password=SYS_PASSWORD, dbname=DATABASE, autocommit=True,
        target_session_attrs="read-write", connect_timeout=10,
    ) as connection:  # fmt: skip
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def ended(cluster: Cluster) -> dict[str, Any]:
    """Wait until no operation runs; return what db_info says."""

    def idle() -> dict[str, Any] | None:
        info: dict[str, Any] = cluster.run("db_info", db_name=DATABASE)
        return info if info["operation"] == "None" else None

    found: dict[str, Any] = until(idle, "the operation ends")
    return found


def take(cluster: Cluster, level: int, **more: Any) -> dict[str, Any]:
    """Take a backup and return it as it is listed."""
    known = {one["id"] for one in cluster.run("db_backup_list", db_name=DATABASE)}
    cluster.run("db_backup_start", 13, db_name=DATABASE, backup_volume_name="Arc", level=level, **more)
    info = ended(cluster)
    assert info["info"] == ""
    (new,) = [one for one in cluster.run("db_backup_list", db_name=DATABASE) if one["id"] not in known]
    assert new["usable"], info
    return dict(new)


def worker(cluster: Cluster) -> int:
    """Return the process of the backup that runs."""
    (state,) = cluster.home.glob(f"*/n*/metadata/backups/{DATABASE}/worker")
    return int(state.read_text())


def test_backups_and_restores_in_jobs(saved: Cluster) -> None:
    """Level 0 and 1, changed data, stop, restore of both: the rows of each are back; lists and errors are as documented."""
    assert saved.run("db_backup_list", db_name=DATABASE) == []
    sql(saved, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
    full = take(saved, 0, expire="1w 3d")
    sql(saved, "INSERT INTO t SELECT generate_series(1001, 1100)")
    one = take(saved, 1)
    (full,) = [shown for shown in saved.run("db_backup_list", db_name=DATABASE) if shown["id"] == full["id"]]
    assert (full["dependencies"], full["last_item"]) == ("-", False)
    assert (one["dependencies"], one["last_item"]) == (str(full["bid"]), True)
    assert saved.run("db_backup_verify", backup_id=one["id"])["backups"] == [full["id"], one["id"]]
    sql(saved, "DROP TABLE t")
    refused = saved.try_run("db_restore", db_name=DATABASE, backup_id=one["id"], restore_type="blocking")
    assert refused["result_name"] == "WRONG_STATE"
    saved.run("db_stop", db_name=DATABASE)
    for backup, rows, kind in ((one, 1100, "blocking"), (full, 1000, "nonblocking")):
        saved.run("db_restore", 12, db_name=DATABASE, backup_id=backup["id"], restore_type=kind)
        assert sql(saved, "SELECT count(*) FROM t") == (rows,)
        saved.run("db_stop", db_name=DATABASE)
    saved.run("db_start", db_name=DATABASE)
    assert sql(saved, "SELECT count(*) FROM t") == (1000,)


def test_bad_input(saved: Cluster) -> None:
    """Each mistake has its error, and nothing changes."""
    before = saved.run("db_backup_list", db_name=DATABASE)
    volume = {"db_name": DATABASE, "backup_volume_name": "Arc"}
    unknown = f"9 {DATABASE}/id_1/level_0/node_0/backup_202001010000 {DATABASE}"
    for job, params, name in (
        ("db_backup_start", volume | {"level": 0, "expire": "soon"}, "INVALID_PARAMETER"),
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


def test_a_backup_outlives_the_daemons(saved: Cluster) -> None:
    """The daemon of the primary's node, who is master too, dies in mid-backup: the backup goes on and is listed."""
    sql(saved, "CREATE TABLE big AS SELECT gen_random_uuid() AS u, i FROM generate_series(1, 400000) i")
    known = len(saved.run("db_backup_list", db_name=DATABASE))
    saved.run("db_backup_start", db_name=DATABASE, backup_volume_name="Arc", level=0)
    running = saved.try_run("db_backup_start", db_name=DATABASE, backup_volume_name="Arc", level=0)
    stopped = saved.try_run("db_stop", db_name=DATABASE)
    shown = saved.try_run("db_backup_progress", db_name=DATABASE)
    saved.kill(11)
    saved.start()
    if shown["result_code"] == 0:
        assert running["result_name"] == stopped["result_name"] == "WRONG_STATE"
        assert shown["result_output"]["Type"] == "Backup"
    ended(saved)
    listed = saved.run("db_backup_list", db_name=DATABASE)
    assert (len(listed), all(one["usable"] for one in listed)) == (known + 1, True)


def test_a_killed_worker_leaves_nothing(saved: Cluster) -> None:
    """Kill -9 of the worker: db_info says so, the list is as before, all space is free, the next backup is taken."""
    before = saved.run("db_backup_list", db_name=DATABASE)
    saved.run("db_backup_start", db_name=DATABASE, backup_volume_name="Arc", level=0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker(saved), signal.SIGKILL)
        assert "interrupted" in ended(saved)["info"]
        assert saved.run("db_backup_list", db_name=DATABASE) == before
    take(saved, 1)


def damage(cluster: Cluster, node: int, share: int) -> None:
    """Flip a byte of every larger file of the archive volume on a node."""
    for path in cluster.root(node).glob("data/storage/*/segments/*/**/*"):
        if path.is_file() and "pgdata" not in str(path) and path.stat().st_size > 1 << 18:
            content = bytearray(path.read_bytes())
            content[len(content) // share] ^= 255
            path.write_bytes(content)


def test_the_volume_outlives_a_corrupt_copy_and_refuses_two(saved: Cluster, tmp_path: Path) -> None:
    """One damaged copy is not noticed by a restore; with both damaged it is refused and the database is as before."""
    full = take(saved, 0)
    saved.run("db_stop", db_name=DATABASE)
    # What a restore finds damaged is repaired meanwhile: both copies have to be damaged at once, each elsewhere.
    for share, nodes, outcome in ((3, (12,), "OK"), (2, (12, 13), "STE_CORRUPTED")):
        for node in nodes:
            damage(saved, node, share)
        answer = saved.try_run("db_restore", db_name=DATABASE, backup_id=full["id"], restore_type="blocking")
        assert answer["result_name"] == outcome, answer
        if outcome == "OK":
            saved.run("db_stop", db_name=DATABASE)
    assert saved.run("db_state", db_name=DATABASE) == "setup"
    saved.run("db_start", db_name=DATABASE)
    assert sql(saved, "SELECT count(*) FROM t") == (1000,)
