"""Volumes that change under a running database, its WAL archive and a point-in-time restore, through real daemons."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.cluster.harness import SYS_PASSWORD, Cluster, until

DATABASE = "moving"
PORT = 9763


@pytest.fixture
def moving(plain: Cluster) -> Iterator[Cluster]:
    """Give a cluster with a database on n11 and n12 that archives its WAL to n13."""
    run = plain.run
    run("st_volume_create", name="MData", type="data", disk="disk1", size="256 MiB", nodes=[11, 12], redundancy=2)
    run("st_volume_create", name="MArc", type="archive", disk="disk1", size="512 MiB", nodes=[13], redundancy=1)
    run("db_create", db_name=DATABASE, version="18", data_volume_name="MData", mem_size="512 MiB", nodes=[11, 12],
        num_active_nodes=2, port=PORT, wal_archive_volume="MArc")  # fmt: skip
    run("db_start", db_name=DATABASE)
    yield plain
    with contextlib.suppress(AssertionError):
        run("db_stop", db_name=DATABASE)
    run("db_delete", db_name=DATABASE)
    for name in ("MData", "MArc"):
        run("st_volume_delete", vname=name)


def connect(cluster: Cluster) -> psycopg.Connection[Any]:
    """Connect to the primary, wherever it is."""
    hosts = ",".join(cluster.addresses[node] for node in (11, 12, 13))
    return psycopg.connect(
        host=hosts, port=PORT, user="sys", password=SYS_PASSWORD, dbname=DATABASE, autocommit=True,
        target_session_attrs="read-write", connect_timeout=10,
    )  # fmt: skip


def rows(cluster: Cluster) -> list[int]:
    """Return the rows that were written."""
    with connect(cluster) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM written ORDER BY n").fetchall()]


def clock(cluster: Cluster, after: datetime | None = None) -> datetime:
    """Return the database's time to the second, once it is later than another one."""

    def now() -> datetime | None:
        with connect(cluster) as connection:
            row = connection.execute("SELECT date_trunc('second', clock_timestamp())").fetchone()
        time: datetime = row[0].astimezone(UTC)
        return time if after is None or time > after else None

    found: datetime = until(now, "a second passes")
    return found


def test_a_copy_moves_and_moves_back(moving: Cluster) -> None:
    """While rows are written a copy moves to another node and back; no write fails and no row is lost."""
    stop, failures, count = threading.Event(), [], 0
    with connect(moving) as connection:
        connection.execute("CREATE TABLE written (n int)")

    def write() -> None:
        nonlocal count
        try:
            with connect(moving) as connection:
                while not stop.is_set():
                    connection.execute("INSERT INTO written VALUES (%s)", (count,))
                    count += 1
        except psycopg.Error as error:
            failures.append(error)

    with connect(moving) as connection:
        row = connection.execute("SELECT substr(current_setting('cluster_name'), 2)::int").fetchone()
    standby = next(node for node in (11, 12) if node != row[0])
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for source, target in ((standby, 13), (13, standby)):
            moving.run("st_volume_move_node", 12, vname="MData", src_nodes=[source], dst_nodes=[target])
            info = moving.run("st_volume_info", vname="MData")
            assert (source in info["volume_nodes"], target in info["volume_nodes"]) == (False, True)
            assert info["state"] == "ONLINE"
            assert f"n{target}" in moving.run("db_info", db_name=DATABASE)["nodes"]["active"]
    finally:
        stop.set()
        thread.join()
    assert not failures
    assert rows(moving) == list(range(count))
    assert moving.run("db_info", db_name=DATABASE)["nodes"] == {"active": ["n11", "n12"], "failed": [], "reserve": []}


def test_a_point_in_time(moving: Cluster) -> None:
    """A backup and the archived WAL lead to a second in between: what was committed later is not there."""
    run = moving.run
    assert moving.try_run("st_volume_delete", vname="MArc")["result_name"] == "IN_USE"
    with connect(moving) as connection:
        connection.execute("CREATE TABLE written AS SELECT 0 AS n")
    run("db_backup_start", db_name=DATABASE, backup_volume_name="MArc", level=0, expire="1w")
    until(lambda: run("db_info", db_name=DATABASE)["operation"] == "None", "the backup ends")
    (backup,) = run("db_backup_list", db_name=DATABASE)
    started = clock(moving, clock(moving))
    with connect(moving) as connection:
        connection.execute("INSERT INTO written VALUES (1)")
    wanted = clock(moving, clock(moving))
    clock(moving, wanted)
    with connect(moving) as connection:
        connection.execute("INSERT INTO written VALUES (2)")
    run("db_stop", db_name=DATABASE)
    given = {"db_name": DATABASE, "backup_id": backup["id"], "restore_type": "blocking"}

    def refused(time: str) -> dict[str, Any]:
        answer: dict[str, Any] = moving.try_run("db_restore", 12, **given, restore_time=time)
        assert answer["result_name"] == "INVALID_PARAMETER", answer
        return answer

    # The last piece is on its way to the volume.
    until(lambda: "lead to points in time" in refused("2001-01-01 00:00:00")["result_desc"], "WAL is archived")
    assert "YYYY-MM-DD hh:mm:ss" in refused("now")["result_desc"]
    assert "lead to points in time" in refused("2999-01-01 00:00:00")["result_desc"]
    until(lambda: _restored(moving, given, wanted), "all WAL is archived")
    assert rows(moving) == [0, 1]
    assert started < wanted


def _restored(cluster: Cluster, given: dict[str, Any], wanted: datetime) -> bool:
    answer = cluster.try_run("db_restore", 12, **given, restore_time=f"{wanted:%Y-%m-%d %H:%M:%S}")
    assert answer["result_code"] in (0, 104), answer
    return bool(answer["result_code"] == 0)
