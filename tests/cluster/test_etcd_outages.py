"""A cluster with etcd as the store loses its master's node, gives mastership on, loses its majority, and is whole again.

Then a node joins and another one leaves. The tests stand in the order in which they use their cluster.
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

from confd.services.etcd.plan import votes
from confd.services.etcd.server import server_of
from confd.store.choice import load_choice
from confd.store.etcd.access import Endpoint
from tests.cluster.documented import blocks, follow
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import other_version
from tests.cluster.test_etcd import copied_access, shut_out
from tests.cluster.test_joining import join
from tests.servers import ETCD, require
from tests.torture import long


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


def accepts(made: Cluster, node: int) -> bool:
    """Whether a change is accepted through a node."""
    number = next(Caller._numbers)
    return bool(made.try_run("group_create", node, groupname=f"g{number}", groupid=number)["result_code"] == 0)


@long
def test_a_node_of_another_version_does_not_lead(in_etcd: Cluster) -> None:
    """Though it is the next in order when the master's node dies; what is missed is named, and not to be suspended."""
    made = in_etcd
    (master,) = masters(made)
    other, third = sorted(made.addresses.keys() - {master})
    with other_version(made, other, "0.0.1"):
        told = f"n{other} runs OpenConfD 0.0.1, the master n"
        until(lambda: told in str(made.run("node_info", master, nid=other)), "the master misses it")
        kill_everything(made, master)
        until(lambda: masters(made) == [third], "the node of the cluster's version leads")
        refused = made.try_run("group_create", third, groupname="refused", groupid=6901)
        assert refused["result_name"] == "NO_QUORUM"
        assert f"{told}{third}" in refused["result_desc"]
        assert f"n{other} lives and must not be suspended" in refused["result_desc"]
        made.c4("start", "-t", f"1.{master}")
        until(lambda: accepts(made, master), "the node that returns brings the quorum back")
    made.start()
    wait_whole(made, third)
    until(lambda: masters(made) == [third], "it leads on")


@long
@pytest.mark.timeout(300)
def test_a_survivor_goes_on_alone_and_the_others_follow_when_they_return(in_etcd: Cluster) -> None:
    """As written in docs/operations.md: nothing that was acknowledged is missing; who is missed is named."""
    made = in_etcd
    ((_, *recover),), suspending, _ = blocks("Loss of the majority")
    made.run("group_create", node=12, groupname="before", groupid=6000)
    made.wait_same()
    refused = made.c4(*recover, check=False)
    assert "nothing to recover" in refused
    for node in (11, 12):
        kill_everything(made, node)
    assert "confirm with --yes-others-are-down" in made.c4(*recover[:-1], check=False)
    until(lambda: not masters(made), "nobody is master without etcd's majority")
    read = until(lambda: (got := made.try_run("group_list", node=13)).get("result_stale") and got, "a stale answer")
    assert "before" in read["result_output"]

    told = made.c4(*recover)
    assert "n11, n12 could not be asked" in told
    assert masters(made) == [13]
    assert "before" in made.run("group_list", node=13)
    alone = made.try_run("group_create", node=13, groupname="alone", groupid=6001)
    assert (alone["result_name"], "n11, n12" in alone["result_desc"]) == ("NO_QUORUM", True)

    follow(made, suspending, 13)
    made.run("group_create", node=13, groupname="alone", groupid=6001)

    made.start()
    wait_whole(made, 13)
    made.run("group_create", node=11, groupname="after", groupid=6002)
    made.wait_same()
    until(lambda: len(masters(made)) == 1, "one master")
    assert {"before", "alone", "after"} <= set(made.run("group_list", node=12))


def runs_member(made: Cluster, node: int) -> bool:
    """Whether a node runs a member of etcd."""
    return server_of(made.root(node)) is not None


def test_a_node_joins_and_takes_the_member_of_one_that_leaves(in_etcd: Cluster) -> None:
    """With the way to etcd that the others have; the one that leaves runs no member any more, and nobody asks it."""
    made = in_etcd
    node = join(made, 14)
    assert made.run("node_state", node)[str(node)] == "online"
    made.run("group_create", node, groupname="joined", groupid=6050)
    made.wait_same()
    assert not runs_member(made, node)

    (master,) = until(lambda: masters(made), "one master")
    leaving = max({11, 12, 13} - {master})
    made.run("node_remove", node, nid=leaving)
    until(lambda: runs_member(made, node) and not runs_member(made, leaving), "the new node has the member")
    made.c4("rm", "-t", f"1.{leaving}")
    until(lambda: made.addresses[leaving] not in endpoints(made, master), "the old member is forgotten")
    del made.addresses[leaving]
    made.run("group_create", node, groupname="carried", groupid=6051)
    made.wait_same()


@long
@pytest.mark.timeout(300)
def test_a_lonely_master_of_another_version_gives_way() -> None:
    """It led because nobody else was there; the others come back, and lead as soon as they have the quorum."""
    require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd") as made, other_version(made, 13, "0.0.1"):
        for node in (11, 12):
            made.kill(node)
        until(lambda: masters(made) == [13], "n13 leads")
        # It waits until they are ready, which takes a master that they follow.
        starting = threading.Thread(target=made.start)
        starting.start()
        until(lambda: masters(made) in ([11], [12]), "another one leads")
        until(lambda: accepts(made, 11), "changes are accepted")
        until(lambda: accepts(made, 13), "also through the other version's node")
        starting.join()


@long
@pytest.mark.timeout(300)
def test_a_single_node_grows_to_three() -> None:
    """Of two nodes one runs a member, of three each; then any of them may be lost, also the first."""
    require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd", nodes=1) as made:
        made.run("group_create", groupname="alone", groupid=6060)
        second = join(made, 12)
        assert not runs_member(made, second)
        third = join(made, 13)
        until(lambda: all(runs_member(made, node) for node in made.addresses), "each node runs a member")
        until(lambda: set(endpoints(made, third)) == set(made.addresses.values()), "all members are known")
        kill_everything(made, 11)
        until(lambda: made.try_run("group_create", third, groupname="x", groupid=6061)["result_code"] == 0, "a change")
        assert {"alone", "x"} <= set(made.run("group_list", second))
        made.start()
        made.wait_same()


def endpoints(made: Cluster, node: int) -> list[str]:
    """Return the addresses at which a node reaches etcd."""
    choice = load_choice(made.root(node))
    assert choice.etcd is not None
    return [Endpoint.of(url).host for url in choice.etcd.endpoints]


def answers_alone(made: Cluster, node: int) -> bool:
    """Whether a node answers what needs no master."""
    with contextlib.suppress(OSError):
        return "result_stale" in made.try_run("group_list", node)
    return False


@long
@pytest.mark.timeout(300)
def test_a_survivor_that_knows_an_old_password_only(in_etcd: Cluster) -> None:
    """Its daemon was down when a node was removed, and all who know the new password are lost.

    Its own member of etcd has what was acknowledged meanwhile: it lets the survivor in, and nobody who was removed.
    """
    made = in_etcd
    node = join(made, 15)
    (master,) = until(lambda: masters(made), "one master")
    survivor, leaving = [one for one in made.addresses if one not in (master, node)]
    # One that still learns would have to go on from its journal, without what it did not hear.
    until(lambda: runs_member(made, survivor) and votes(made.root(survivor)), "the survivor has a member that votes")
    made.kill(survivor)
    until(lambda: made.run("node_state", master)[str(survivor)] == "offline", "the survivor is missed")
    with copied_access(made, leaving) as access:
        made.run("node_remove", master, nid=leaving, force=True)
        made.run("group_create", master, groupname="unheard", groupid=6060)
        for lost in made.addresses.keys() - {survivor}:
            kill_everything(made, lost)
        # It is ready only when there is a master, so who starts it waits.
        starting = threading.Thread(target=made.c4, args=("start", "-t", f"1.{survivor}"), kwargs={"check": False})
        starting.start()
        until(lambda: answers_alone(made, survivor), "the survivor takes orders")
        told = made.c4("store", "recover", "-t", f"1.{survivor}", "--yes-others-are-down")
        starting.join()
        assert f"n{master}" in told
        assert "unheard" in made.run("group_list", node=survivor)
        assert shut_out(access)
    made.run("node_suspend", survivor, nid=[one for one in made.addresses if one not in (survivor, leaving)])
    del made.addresses[leaving]
    made.start()
    wait_whole(made, survivor)
    made.run("group_create", node=master, groupname="let-in", groupid=6061)
    made.wait_same()
