"""A cluster of two nodes with a database on both: what goes on by itself when one of them is lost, and what does not."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster import saving
from tests.cluster.harness import SYS_PASSWORD, Cluster, cluster, until
from tests.cluster.mayhem import comes_back_removed, kill_node
from tests.cluster.saving import Saved
from tests.torture import TORTURE, long


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


def writable(pair: Saved) -> list[int]:
    """Return the nodes whose servers take writes."""
    return [node for node in pair.nodes if _takes_writes(pair, node)]


def _takes_writes(pair: Saved, node: int) -> bool:
    where = {"host": pair.cluster.addresses[node], "port": pair.port, "user": "sys", "password": SYS_PASSWORD}
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(dbname=pair.name, connect_timeout=5, **where) as connection,
    ):
        return connection.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,)
    return False


@long
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
    removed_while_it_was_down(pair)


def removed_while_it_was_down(pair: Saved) -> None:
    """The daemon of n12, master and primary, is killed, n11 goes on and removes n12: its daemon ends with its server."""
    running = pair.cluster
    running.kill(12)
    take_over(running, 11)
    pair.run("node_suspend", nid=12)
    until(lambda: 11 in writable(pair), "n11 serves")
    assert pair.try_run("node_remove", nid=12, force=True)["result_code"] == 0
    assert 12 in writable(pair), "its server goes on without a daemon"
    comes_back_removed(running, 12)
    assert writable(pair) == [11]
    assert takes_rows(pair)
    if not TORTURE:
        return
    # Who was told once needs nobody to tell it.
    running.kill(11)
    comes_back_removed(running, 12, "--take-over")
    running.start()
    until(lambda: pair.run("node_state").keys() & {"11", "12"} == {"11"}, "n11 leads on")
