"""A cluster of two nodes with a database on both: what goes on by itself when one of them is lost, and what does not."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster import saving
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import kill_node
from tests.cluster.saving import Saved


@pytest.fixture
def pair() -> Iterator[Saved]:
    """Two nodes; n11 has master and primary, n12 the other copy."""
    with (
        cluster("CCC_PLAY_WITH_DB=false", nodes=2) as made,
        saving.saved(made, "pair", 9363, {"Pair": {"nodes": [11, 12], "redundancy": 2}}, [11, 12]) as database,
    ):
        database.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        yield database


def takes_rows(pair: Saved) -> bool:
    """Whether a node takes a row."""
    with contextlib.suppress(psycopg.Error):
        pair.sql("INSERT INTO t VALUES (0)")
        return True
    return False


def whole(pair: Saved, node: int) -> bool:
    """Whether commits wait for both copies again, as a node that takes jobs says."""
    with contextlib.suppress(OSError, AssertionError):
        info, volume = pair.run("db_info", node, db_name=pair.name), pair.run("st_volume_info", node, vname="Pair")
        return (info["state"], info["info"], volume["state"]) == ("running", "", "ONLINE")
    return False


def take_over(running: Cluster, node: int) -> None:
    """Make the survivor master, as written in docs/operations.md."""
    command = [sys.executable, "-m", "confd.cli.confd", "--root", str(running.root(node)), "--take-over"]
    subprocess.run(command, check=True, env=running.env, timeout=120, capture_output=True)


def test_one_of_two_nodes_is_lost(pair: Saved) -> None:
    """Without the standby the primary goes on by itself; without the master the survivor waits for a take-over."""
    kill_node(pair.cluster, 12)
    until(lambda: takes_rows(pair), "n11 goes on alone")
    pair.cluster.start()
    until(lambda: whole(pair, 11), "n12 follows again")
    rows = pair.sql("SELECT count(*) FROM t")[0]
    # A job that is committed is on both nodes, with everything the master recorded before it.
    pair.run("group_create", groupname="after", groupid=62_000)
    kill_node(pair.cluster, 11)
    assert not takes_rows(pair)
    take_over(pair.cluster, 12)
    until(lambda: takes_rows(pair), "n12 serves")
    assert pair.sql("SELECT count(*) FROM t")[0] > rows
    pair.cluster.start()
    until(lambda: whole(pair, 12), "n11 follows now")
