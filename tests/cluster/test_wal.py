"""Points in time before and after a failover, through real daemons."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest

from tests.cluster.harness import SYS_PASSWORD, Cluster, until

DATABASE = "logged"
PORT = 9863


@pytest.fixture
def logged(plain: Cluster) -> Iterator[Cluster]:
    """Give a cluster with a database on n12 and n13 that archives its WAL to n11 and n13."""
    run = plain.run
    run("st_volume_create", name="L", type="data", disk="disk1", size="256 MiB", nodes=[12, 13], redundancy=2)
    run("st_volume_create", name="W", type="archive", disk="disk1", size="512 MiB", nodes=[11, 13],
        num_master_nodes=1, redundancy=2)  # fmt: skip
    run("db_create", db_name=DATABASE, version="18", data_volume_name="L", mem_size="512 MiB", nodes=[12, 13],
        num_active_nodes=2, port=PORT, wal_archive_volume="W")  # fmt: skip
    run("db_start", db_name=DATABASE)
    yield plain
    plain.start()
    with contextlib.suppress(AssertionError):
        run("db_stop", db_name=DATABASE)
    run("db_delete", db_name=DATABASE)
    for name in ("L", "W"):
        run("st_volume_delete", vname=name)


def sql(cluster: Cluster, statement: str) -> Any:
    """Run a statement on the primary."""
    hosts = ",".join(cluster.addresses[node] for node in (12, 13))
    with psycopg.connect(
        host=hosts, port=PORT, user="sys", password=SYS_PASSWORD, dbname=DATABASE, autocommit=True,
        target_session_attrs="read-write", connect_timeout=10,
    ) as connection:  # fmt: skip
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def moment(cluster: Cluster) -> str:
    """Return the second after the last commit, once it has begun."""
    shown = sql(cluster, "SELECT to_char(date_trunc('second', clock_timestamp() AT TIME ZONE 'UTC') "
                         "+ interval '1 second', 'YYYY-MM-DD HH24:MI:SS')")[0]  # fmt: skip
    until(lambda: sql(cluster, f"SELECT clock_timestamp() AT TIME ZONE 'UTC' > '{shown}'") == (True,), shown)
    return str(shown)


def serves(cluster: Cluster) -> bool:
    """Whether there is a primary that takes rows."""
    with contextlib.suppress(psycopg.Error):
        return sql(cluster, "SELECT 1") == (1,)
    return False


def restored(cluster: Cluster, backup: str, time: str) -> bool:
    """Restore to a point in time; False while its WAL is on its way to the volume."""
    params = {"db_name": DATABASE, "backup_id": backup, "restore_type": "blocking", "restore_time": time}
    answer = cluster.try_run("db_restore", **params)
    assert answer["result_name"] in ("OK", "INVALID_PARAMETER"), answer
    return bool(answer["result_name"] == "OK")


def test_points_in_time_on_both_sides_of_a_failover(logged: Cluster) -> None:
    """The primary's node dies with all its processes: rows from before and from after are reached by restore_time."""
    logged.run("db_backup_start", db_name=DATABASE, backup_volume_name="W", level=0)
    until(lambda: logged.run("db_info", db_name=DATABASE)["operation"] == "None", "the backup ends")
    (backup,) = logged.run("db_backup_list", db_name=DATABASE)
    sql(logged, "CREATE TABLE t AS SELECT 1 AS i")
    before = moment(logged)
    sql(logged, "INSERT INTO t VALUES (2)")
    sql(logged, "SELECT pg_switch_wal()")
    root = str(logged.root(12))
    for process in logged.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(root in word for word in process.cmdline()):
                process.kill()
    until(lambda: serves(logged), "n13 takes over")
    sql(logged, "INSERT INTO t VALUES (3)")
    after = moment(logged)
    sql(logged, "INSERT INTO t VALUES (4)")
    logged.start()
    until(lambda: logged.run("db_state", db_name=DATABASE) == "running", "n12 is back")
    for time, rows in ((before, [1]), (after, [1, 2, 3])):
        logged.run("db_stop", db_name=DATABASE)
        until(lambda time=time: restored(logged, backup["id"], time), f"the WAL up to {time} is archived")
        assert sql(logged, "SELECT array_agg(i ORDER BY i) FROM t") == (rows,)
