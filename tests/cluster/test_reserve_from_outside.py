"""A node from outside saves a database: it joins, stands by, takes over, and leaves again."""

from __future__ import annotations

from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME, Writer, kill_node


def nodes_of(made: Cluster) -> dict[str, list[str]]:
    """Return which nodes the database has, and for what."""
    nodes: dict[str, list[str]] = made.run("db_info", db_name=NAME)["nodes"]
    return nodes


def test_a_fourth_node_takes_over_and_leaves() -> None:
    """No acknowledged row is lost on the way, and the cluster is as before at the end."""
    with cluster("CCC_PLAY_DB_MEM_SIZE=768") as made:
        made.run("db_stop", db_name=NAME)
        made.run("db_configure", db_name=NAME, volume_move_delay=0)
        made.run("db_start", db_name=NAME)
        writer = Writer(made)
        writer.start()
        writer.goes_on()
        before = sorted(made.run("node_list"))
        node = made.run("node_add", priv_net=f"{made.net}.14/8")
        made.addresses[node] = f"{made.net}.14"
        made.c4("host", "join", made.c4("host", "token", str(node)).strip())
        made.run("db_add_reserve_nodes", db_name=NAME, node_list=[node])
        assert nodes_of(made)["reserve"] == [f"n{node}"]
        kill_node(made, 13)
        until(lambda: f"n{node}" in nodes_of(made)["active"], "the fourth node takes the place of n13", 90)
        until(lambda: not nodes_of(made)["failed"], "the fourth node has its instance", 90)
        writer.goes_on()
        made.start()
        until(lambda: made.run("node_state")["13"] == "online", "n13 is back")
        assert nodes_of(made)["reserve"] == ["n13"]
        made.run("node_remove", nid=node, force=True)
        assert sorted(made.run("node_list")) == before
        until(lambda: nodes_of(made)["active"] == ["n11", "n12", "n13"], "n13 is active again", 90)
        until(lambda: not nodes_of(made)["failed"], "n13 has its instance", 90)
        made.c4("rm", "-t", f"1.{node}")
        del made.addresses[node]
        writer.goes_on()
        assert writer.end() == set()
        made.wait_same()
