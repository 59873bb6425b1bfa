"""Data volumes of running databases move to other nodes, while nodes and daemons die."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.cluster import saving
from tests.cluster.harness import Cluster, until
from tests.cluster.mayhem import kill_node
from tests.cluster.saving import Saved
from tests.services.backup.holding import held
from tests.torture import long


@pytest.fixture
def moved(plain: Cluster) -> Iterator[Saved]:
    """Give a database with copies on n11 and n12, and n13 as reserve node, with a table of 1,000 rows."""
    more = {"num_active_nodes": 2, "volume_move_delay": 1}
    with saving.saved(
        plain, "moved", 9463, {"Moved": {"nodes": [11, 12], "redundancy": 2}}, [11, 12, 13], **more
    ) as made:
        made.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i")
        yield made


def segments(moved: Saved, node: int) -> list[str]:
    """Return what is on the data devices of a node."""
    return [path.name for path in moved.cluster.root(node).glob("data/storage/*/segments/*/pgdata*")]


def settled(moved: Saved, nodes: list[int]) -> bool:
    """Whether the volume is on exactly these nodes, all of them serve, and nothing of it is elsewhere."""
    info, volume = moved.run("db_info", db_name=moved.name), moved.run("st_volume_info", vname="Moved")
    places = {node for node in moved.cluster.addresses if segments(moved, node)}
    return (volume["state"], sorted(part["phys_nid"] for part in volume["segments"]), info["info"], places) == (
        "ONLINE", nodes, "", set(nodes),
    )  # fmt: skip


def rows(moved: Saved, node: int) -> int:
    """Return how many rows a node shows, -1 when it does not serve."""
    try:
        with psycopg.connect(
            host=moved.cluster.addresses[node], port=moved.port, user="sys", password=saving.SYS_PASSWORD,
            dbname=moved.name, connect_timeout=10,
        ) as connection:  # fmt: skip
            found = connection.execute("SELECT count(*) FROM t").fetchone()
            return int(found[0]) if found else -1
    except psycopg.Error:
        return -1


@long
def test_the_volume_follows_a_dead_node(moved: Saved) -> None:
    """The reserve node takes its place, its segment is made there after the delay; what returns gives its own up."""
    kill_node(moved.cluster, 12)
    until(lambda: moved.run("db_info", db_name=moved.name)["nodes"]["active"] == ["n11", "n13"], "n13 is active")
    until(lambda: [part["phys_nid"] for part in moved.run("st_volume_info", vname="Moved")["segments"]] == [11, 13],
          "the segment is on n13")  # fmt: skip
    until(lambda: rows(moved, 13) == 1000, "n13 serves")
    moved.sql("INSERT INTO t VALUES (0)")
    moved.cluster.start()
    until(lambda: settled(moved, [11, 13]), "n12 has nothing left")
    assert moved.run("db_info", db_name=moved.name)["nodes"] == {
        "active": ["n11", "n13"], "failed": [], "reserve": ["n12"],
    }  # fmt: skip
    until(lambda: rows(moved, 13) == 1001, "n13 has all rows")


@long
@pytest.mark.parametrize("victims", [(11, 13), (11,), (13,)])
def test_daemons_that_die_in_mid_move(moved: Saved, victims: tuple[int, ...]) -> None:
    """n11 has master and primary, n13 gets the copy. While it is made: the move is finished afterwards, or undone without a trace; no row is lost."""
    client: Any = moved.cluster.client(12)
    params = {"vname": "Moved", "src_nodes": [12], "dst_nodes": [13]}
    with held(moved.cluster.home):
        job = client.job_start("st_volume_move_node", {"params": params})
        until(lambda: segments(moved, 13), "the copy is begun")
        for node in victims:
            moved.cluster.kill(node)
    moved.cluster.start()
    ended = moved.result(client, job)
    nodes = [11, 12] if ended["result_code"] else [11, 13]
    until(lambda: settled(moved, nodes), f"all is as it should be after {ended}")
    moved.sql("INSERT INTO t VALUES (0)")
    until(lambda: rows(moved, nodes[1]) == 1001, "the other copy has all rows")
