"""Points in time before and after a failover, through real daemons."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster import saving
from tests.cluster.harness import Cluster, until
from tests.cluster.mayhem import kill_node
from tests.cluster.saving import Saved
from tests.torture import long

DATABASE = "logged"
PORT = 9863


@pytest.fixture
def logged(plain: Cluster) -> Iterator[Saved]:
    """Give a database on n12 and n13 that archives its WAL to n11 and n13."""
    volumes = {
        "L": {"nodes": [12, 13], "redundancy": 2},
        "W": {"type": "archive", "size": "512 MiB", "nodes": [11, 13], "num_master_nodes": 1, "redundancy": 2},
    }
    with saving.saved(plain, DATABASE, PORT, volumes, [12, 13], wal_archive_volume="W") as made:
        yield made


def moment(cluster: Saved) -> str:
    """Return the second after the last commit, once it has begun."""
    shown = cluster.sql("SELECT to_char(date_trunc('second', clock_timestamp() AT TIME ZONE 'UTC') "
                         "+ interval '1 second', 'YYYY-MM-DD HH24:MI:SS')")[0]  # fmt: skip
    until(lambda: cluster.sql(f"SELECT clock_timestamp() AT TIME ZONE 'UTC' > '{shown}'") == (True,), shown)
    return str(shown)


def serves(cluster: Saved) -> bool:
    """Whether there is a primary that takes rows."""
    with contextlib.suppress(psycopg.Error):
        return cluster.sql("SELECT 1") == (1,)
    return False


def restored(cluster: Saved, backup: str, time: str) -> bool:
    """Restore to a point in time; False while its WAL is on its way to the volume."""
    params = {"db_name": DATABASE, "backup_id": backup, "restore_type": "blocking", "restore_time": time}
    answer = cluster.try_run("db_restore", **params)
    assert answer["result_name"] in ("OK", "INVALID_PARAMETER"), answer
    return bool(answer["result_name"] == "OK")


@long
def test_points_in_time_on_both_sides_of_a_failover(logged: Saved) -> None:
    """The primary's node dies with all its processes: rows from before and from after are reached by restore_time."""
    backup = logged.take(0)
    logged.sql("CREATE TABLE t AS SELECT 1 AS i")
    before = moment(logged)
    logged.sql("INSERT INTO t VALUES (2)")
    logged.sql("SELECT pg_switch_wal()")
    kill_node(logged.cluster, 12)
    until(lambda: serves(logged), "n13 takes over")
    logged.sql("INSERT INTO t VALUES (3)")
    after = moment(logged)
    logged.sql("INSERT INTO t VALUES (4)")
    logged.cluster.start()
    until(lambda: logged.run("db_state", db_name=DATABASE) == "running", "n12 is back")
    for time, rows in ((before, [1]), (after, [1, 2, 3])):
        logged.run("db_stop", db_name=DATABASE)
        until(lambda time=time: restored(logged, backup["id"], time), f"the WAL up to {time} is archived")
        assert logged.sql("SELECT array_agg(i ORDER BY i) FROM t") == (rows,)
