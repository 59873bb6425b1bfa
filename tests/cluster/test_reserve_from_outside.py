"""A node from outside saves a database: it joins, stands by, takes over, and leaves again."""

from __future__ import annotations

import psycopg
import pytest

from tests.cluster.harness import SYS_PASSWORD, Cluster, cluster, until
from tests.cluster.mayhem import NAME, Writer, kill_node


def nodes_of(made: Cluster) -> dict[str, list[str]]:
    """Return which nodes the database has, and for what."""
    nodes: dict[str, list[str]] = made.run("db_info", db_name=NAME)["nodes"]
    return nodes


def answers(made: Cluster, node: int) -> bool:
    """Whether the instance of a node takes SQL."""
    where = {"host": made.addresses[node], "port": 8563, "user": "sys", "password": SYS_PASSWORD, "dbname": NAME}
    try:
        with psycopg.connect(**where, connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def join(made: Cluster, last: int) -> int:
    """Add a node on an address, have it join, and make it a reserve node of the database; its id.

    Where an active node is missing, it may stand in at once.
    """
    node: int = made.run("node_add", priv_net=f"{made.net}.{last}/8")
    made.addresses[node] = f"{made.net}.{last}"
    made.c4("host", "join", made.c4("host", "token", str(node)).strip())
    made.run("db_add_reserve_nodes", db_name=NAME, node_list=[node])
    nodes = nodes_of(made)
    assert f"n{node}" in nodes["reserve"] + nodes["active"]
    return node


def take_out(made: Cluster, node: int) -> None:
    """Remove a reserve node from the database, the cluster and the machine."""
    made.run("db_remove_reserve_nodes", db_name=NAME, node_list=[node])
    made.run("node_remove", nid=node)
    made.c4("rm", "-t", f"1.{node}")
    del made.addresses[node]


@pytest.mark.timeout(400)
def test_a_fourth_node_takes_over_and_leaves() -> None:
    """No acknowledged row is lost on the way, and the cluster is as before: the procedures of docs/operations.md.

    Adding a node that takes over, removing it, and replacing one that is lost for good.
    """
    with cluster("CCC_PLAY_DB_MEM_SIZE=768") as made:
        made.run("db_stop", db_name=NAME)
        made.run("db_configure", db_name=NAME, volume_move_delay=0)
        made.run("db_start", db_name=NAME)
        writer = Writer(made)
        writer.start()
        writer.goes_on()
        before = sorted(made.run("node_list"))
        node = join(made, 14)
        kill_node(made, 13)
        until(lambda: f"n{node}" in nodes_of(made)["active"], "the fourth node takes the place of n13")
        until(lambda: answers(made, node), "the fourth node has the data")
        writer.goes_on()
        made.start()
        until(lambda: made.run("node_state")["13"] == "online", "n13 is back")
        assert nodes_of(made)["reserve"] == ["n13"]

        # What n13 held before is deleted soon after its return; until then there is no place for another copy.
        back = {"vname": "DataVolume1", "src_nodes": [node], "dst_nodes": [13]}
        until(lambda: made.try_run("st_volume_move_node", **back)["result_name"] != "STE_DUPLICATE", "n13 is clear")
        assert nodes_of(made)["active"] == ["n11", "n12", "n13"]
        take_out(made, node)
        assert sorted(made.run("node_list")) == before
        assert answers(made, 13)
        writer.goes_on()

        kill_node(made, 12)
        another = join(made, 15)
        until(lambda: f"n{another}" in nodes_of(made)["active"], "the new node takes the place of n12")
        until(lambda: answers(made, another), "the new node has the data")
        take_out(made, 12)
        assert sorted(made.run("node_list")) == ["11", "13", str(another)]
        writer.goes_on()
        assert writer.end() == set()
        made.wait_same()
