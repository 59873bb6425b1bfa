"""A cluster with etcd as the store loses its master's node, gives mastership on, loses its majority, and is whole again.

The last is docs/operations.md, "Loss of the majority". The tests stand in the order in which they use their cluster.
"""

from __future__ import annotations

import contextlib
import itertools
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.harness import Cluster, cluster, until
from tests.servers import ETCD, require


@pytest.fixture(scope="module")
def in_etcd() -> Iterator[Cluster]:
    """Give a cluster that runs its own etcd; tests leave all nodes running."""
    require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd") as made:
        yield made


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


def wait_whole(made: Cluster, node: int) -> None:
    """Wait until all nodes are online, as one of them knows."""
    until(
        lambda: all(made.run("node_state", node=node)[str(one)] == "online" for one in made.addresses),
        "all nodes are online",
    )


class Caller(threading.Thread):
    """Makes one group after the other through one node; remembers which were acknowledged, and by which job."""

    _numbers = itertools.count(7000)

    def __init__(self, made: Cluster, node: int) -> None:
        super().__init__()
        self.made, self.node, self.ended = made, node, threading.Event()
        self.acknowledged: dict[str, str] = {}
        self.refused: list[dict[str, Any]] = []

    def run(self) -> None:
        """Call until told to end."""
        while not self.ended.is_set():
            number = next(self._numbers)
            answer = self.made.try_run("group_create", node=self.node, groupname=f"g{number}", groupid=number)
            if answer["result_code"]:
                self.refused.append(answer)
            else:
                self.acknowledged[f"g{number}"] = answer["result_jobid"]


def test_calls_go_on_when_the_masters_node_dies(in_etcd: Cluster) -> None:
    """They take a few seconds longer, none fails, what was acknowledged is there, each job exactly once."""
    (master,) = masters(in_etcd)
    callers = [Caller(in_etcd, node) for node in in_etcd.addresses if node != master]
    for caller in callers:
        caller.start()
    try:
        until(lambda: all(caller.acknowledged for caller in callers), "calls are answered")
        kill_everything(in_etcd, master)
        known = {caller.node: len(caller.acknowledged) for caller in callers}
        until(lambda: all(len(caller.acknowledged) > known[caller.node] + 2 for caller in callers), "calls work again")
    finally:
        for caller in callers:
            caller.ended.set()
        for caller in callers:
            caller.join()
    assert [answer for caller in callers for answer in caller.refused] == []
    (sitting,) = masters(in_etcd)
    assert sitting != master
    in_etcd.start()
    wait_whole(in_etcd, sitting)
    acknowledged = {name: job for caller in callers for name, job in caller.acknowledged.items()}
    assert acknowledged.keys() <= set(in_etcd.run("group_list", node=master))
    jobs = [row["job_id"] for row in in_etcd.run("job_history", node=master, limit=10_000)]
    assert all(jobs.count(job) == 1 for job in acknowledged.values())
    in_etcd.wait_same()


def test_mastership_goes_to_the_chosen_node(in_etcd: Cluster) -> None:
    """In order: the job that asks for it ends with the node that it became."""
    (master,) = masters(in_etcd)
    wanted = max(in_etcd.addresses.keys() - {master})
    assert in_etcd.run("master_change", node=master, nids=[wanted]) == wanted
    assert until(lambda: masters(in_etcd), "a master") == [wanted]
    in_etcd.run("group_create", node=master, groupname="changed", groupid=6900)
    in_etcd.run("affinity_reset", node=master)


@pytest.mark.timeout(300)
def test_a_survivor_goes_on_alone_and_the_others_follow_when_they_return(in_etcd: Cluster) -> None:
    """Nothing that was acknowledged is missing; while most nodes are gone changes are refused by name."""
    made = in_etcd
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
    wait_whole(made, 13)
    made.run("group_create", node=11, groupname="after", groupid=6002)
    made.wait_same()
    until(lambda: len(masters(made)) == 1, "one master")
    assert {"before", "alone", "after"} <= set(made.run("group_list", node=12))
