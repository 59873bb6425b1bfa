"""docs/operations.md, "Loss of the majority": a survivor goes on, and those who return follow it."""

from __future__ import annotations

import contextlib
import ssl
import urllib.request

from tests.cluster.harness import Cluster, cluster, until
from tests.servers import ETCD, require


def kill_everything(made: Cluster, node: int) -> None:
    """Kill all processes of a node, as the loss of its machine does."""
    root = str(made.root(node))
    for process in made.processes():
        if any(word.startswith(root) for word in [*process.cmdline(), process.cwd()]):
            process.kill()


def masters(made: Cluster) -> list[int]:
    """Return the nodes that say that they are master."""
    found = []
    for node, address in made.addresses.items():
        url = f"https://{address}:20003/is_master"
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context()) as answer,
        ):
            if answer.read() == b"true":
                found.append(node)
    return found


def test_a_survivor_goes_on_alone_and_the_others_follow_when_they_return() -> None:
    """Nothing that was acknowledged is missing; while most nodes are gone changes are refused by name."""
    require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd") as made:
        made.run("group_create", node=12, groupname="before", groupid=6000)
        made.wait_same()
        refused = made.c4("store", "recover", "-t", "1.13", "--yes-others-are-down", check=False)
        assert "nothing to recover" in refused
        for node in (11, 12):
            kill_everything(made, node)
        assert "confirm with --yes-others-are-down" in made.c4("store", "recover", "-t", "1.13", check=False)
        until(lambda: not masters(made), "nobody is master without etcd's majority")

        told = made.c4("store", "recover", "-t", "1.13", "--yes-others-are-down")
        assert "n11, n12 could not be asked" in told
        assert masters(made) == [13]
        assert "before" in made.run("group_list", node=13)
        alone = made.try_run("group_create", node=13, groupname="alone", groupid=6001)
        assert (alone["result_name"], "n11, n12" in alone["result_desc"]) == ("NO_QUORUM", True)

        made.run("node_suspend", node=13, nid=[11, 12])
        made.run("group_create", node=13, groupname="alone", groupid=6001)

        made.start()
        until(
            lambda: all(made.run("node_state", node=13)[str(node)] == "online" for node in made.addresses),
            "all nodes are online",
        )
        made.run("group_create", node=11, groupname="after", groupid=6002)
        made.wait_same()
        until(lambda: len(masters(made)) == 1, "one master")
        assert {"before", "alone", "after"} <= set(made.run("group_list", node=12))
