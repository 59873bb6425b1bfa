"""A node from outside saves a database: it joins, stands by, takes over, and leaves again."""

from __future__ import annotations

import psycopg
import pytest

from tests.cluster.documented import blocks, follow, with_places
from tests.cluster.harness import SYS_PASSWORD, Cluster, cluster, until
from tests.cluster.mayhem import NAME, Writer, kill_node
from tests.cluster.test_joining import join
from tests.torture import long


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


def join_reserve(made: Cluster, node: int) -> None:
    """Add a node, have it join, and make it a reserve node of the database; the id is its address's last part.

    Where an active node is missing, it may stand in at once.
    """
    assert join(made, node) == node
    reserve, _, _ = blocks("Replacing a node")
    follow(made, with_places(reserve, {"[15]": f"[{node}]"}))
    nodes = nodes_of(made)
    assert f"n{node}" in nodes["reserve"] + nodes["active"]


def is_done(made: Cluster, words: list[str], reason: str) -> bool:
    """Whether a call of confd_client ends well; it may fail for this reason only."""
    done = made.confd_client(*words)
    assert done.returncode == 0 or reason in done.stdout + done.stderr, done
    return done.returncode == 0


@long
@pytest.mark.timeout(400)
def test_a_fourth_node_takes_over_and_leaves() -> None:
    """No acknowledged row is lost on the way, and the cluster is as before: the procedures of docs/operations.md.

    Adding a node that takes over, removing it, and replacing one that is lost for good.
    """
    with cluster("CCC_PLAY_DB_MEM_SIZE=768") as made:
        _, fetching, taking_out = blocks("Replacing a node")
        writer = Writer(made)
        writer.start()
        writer.goes_on()
        before = sorted(made.run("node_list"))
        join_reserve(made, 14)
        kill_node(made, 13)
        until(lambda: "n14" in nodes_of(made)["active"], "the fourth node takes the place of n13")
        follow(made, with_places(fetching, {"[12]": "[13]", "[15]": "[14]"}))
        until(lambda: answers(made, 14), "the fourth node has the data")
        writer.goes_on()
        made.start()
        until(lambda: made.run("node_state")["13"] == "online", "n13 is back")
        assert nodes_of(made)["reserve"] == ["n13"]

        emptying, removing = blocks("Removing a node")
        # What n13 held before is deleted soon after its return; until then there is no place for another copy.
        (_, *moving), leaving = emptying
        until(lambda: is_done(made, moving, "of n13 already"), "n13 is clear and gets its copy back")
        assert nodes_of(made)["active"] == ["n11", "n12", "n13"]
        follow(made, [leaving, *removing])
        made.c4("rm", "-t", "1.14")
        del made.addresses[14]
        assert sorted(made.run("node_list")) == before
        assert answers(made, 13)
        writer.goes_on()

        kill_node(made, 12)
        join_reserve(made, 15)
        follow(made, fetching)
        assert "n15" in nodes_of(made)["active"]
        until(lambda: answers(made, 15), "the new node has the data")
        follow(made, taking_out)
        made.c4("rm", "-t", "1.12")
        del made.addresses[12]
        assert sorted(made.run("node_list")) == ["11", "13", "15"]
        writer.goes_on()
        assert writer.end() == set()
        made.wait_same()
