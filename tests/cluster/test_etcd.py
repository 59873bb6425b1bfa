"""A cluster whose store is etcd, run by its own nodes: it loses any node, and its master, without an administrator."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from confd.cluster.identity import NodeFiles
from confd.daemon.belonging import secrets_of
from confd.services.etcd.plan import DATA, PLAN_FILE
from confd.services.etcd.process import server_of
from confd.store.choice import StoreChoice, load_choice
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdDenied
from tests.cluster.documented import blocks, with_places
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME, Writer, comes_back_removed, kill_node
from tests.cluster.test_joining import join
from tests.cluster.test_mastership import Callers, agree_on, master
from tests.servers import ETCD, etcd, require
from tests.torture import long


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """Three nodes with etcd and the database Exasol, made as written in docs/operations.md."""
    require(ETCD)
    (own,), _ = blocks("Which store to choose")
    with cluster(*own[: own.index("c4")]) as made:
        yield made


def whole(running: Cluster, node: int) -> bool:
    """Whether the database has all its instances."""
    try:
        info = running.run("db_info", node, db_name=NAME)
    except (OSError, AssertionError):
        return False
    return info["nodes"]["failed"] == [] and info["connectible"] == "Yes"


def test_the_masters_node_is_lost(running: Cluster) -> None:
    """Calls to other nodes go on within seconds, so does the database; nothing acknowledged is missing; it returns."""
    agree_on(running, 11)
    until(lambda: whole(running, 12), "the database is whole")
    writer = Writer(running)
    writer.start()
    writer.goes_on()
    with Callers(running, 12, 13) as callers:
        before = time.monotonic()
        kill_node(running, 11)
        callers.go_on()
        print(f"calls went on after {time.monotonic() - before:.1f} s")
        assert master(running, 13) in ("n12", "n13")
        writer.goes_on()
        print(f"writes went on after {time.monotonic() - before:.1f} s")
    callers.check()
    running.start()
    until(lambda: whole(running, 11), "the node has rejoined")
    assert writer.end() == set()
    running.wait_same()
    callers.nodes = (11,)
    callers.check()


def test_planned_change_and_back(running: Cluster) -> None:
    """master_change and affinity_reset do here what they do with the embedded store."""
    with Callers(running) as callers:
        # Under load a node may look dead for a moment, and the change is refused then.
        until(lambda: running.try_run("master_change", 12, nids=[13])["result_code"] == 0, "n13 leads")
        agree_on(running, 13)
        callers.go_on()
        until(lambda: running.try_run("affinity_reset", 12)["result_code"] == 0, "n11 may lead again")
        agree_on(running, 11)
        callers.go_on()
    callers.check()


def test_a_daemon_finds_its_member_again(running: Cluster) -> None:
    """After a kill -9 of the daemon the same etcd goes on; one that is killed is started again."""
    before = server_of(running.root(12))
    assert before
    running.kill(12)
    assert server_of(running.root(12)) == before
    running.start()
    assert server_of(running.root(12)) == before
    psutil.Process(before).kill()
    until(lambda: server_of(running.root(12)) not in (None, before), "etcd runs again")


@long
def test_members_follow_nodes() -> None:
    """A node that is lost and given up loses its member, another one gets it; the lost one returns without."""
    require(ETCD)
    with cluster("CCC_PLAY_STORE=etcd", "CCC_PLAY_WITH_DB=false", nodes=4) as made:
        assert server_of(made.root(14)) is None
        until(lambda: "15" not in made.run("node_state"), "the cluster answers")
        kill_node(made, 13)
        until(lambda: made.run("node_state")["13"] == "offline", "n13 is missed")
        made.run("node_suspend", nid=13)
        until(lambda: server_of(made.root(14)) is not None, "n14 runs a member")
        kept = made.root(11) / "etc/cluster/store.json"
        until(lambda: f"{made.addresses[14]}:2379" in kept.read_text(), "all know the new member")
        # The new majority carries the cluster without one of the old members.
        kill_node(made, 12)
        until(lambda: made.try_run("group_create", groupname="x", groupid=61_000)["result_code"] == 0, "jobs go on")
        made.start()
        until(lambda: server_of(made.root(13)) is None, "the returned node runs no member")
        made.wait_same()
        removed_while_it_was_down(made)


@long
def test_members_that_cannot_run() -> None:
    """A cluster grows past a node whose port is taken; then a member loses what it kept. Calls go on all the while."""
    require(ETCD)
    with cluster("CCC_PLAY_STORE=etcd", "CCC_PLAY_WITH_DB=false", nodes=1) as made:
        with socket.create_server((f"{made.net}.12", 2379)):
            assert [join(made, last) for last in (12, 13)] == [12, 13]
            until(lambda: members(made, 11) == {11, 13}, "n13 runs a member")
            taken = f"port 2379 on {made.addresses[12]}, wanted for etcd, is taken"
            until(lambda: taken in str(made.run("node_info", nid=12)), "n12 says why not")
            made.run("group_create", groupname="x", groupid=61_000)
        until(lambda: members(made, 11) == {11, 12, 13}, "n12 runs a member, too")
        for number, gone in enumerate(((PLAN_FILE, DATA), (DATA,))):
            before = members_of(made)
            made.c4("stop", "-t", "1.13")
            for path in (made.root(13) / name for name in gone):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            made.start()
            until(lambda before=before: len(members_of(made) - before) == 1, "n13's member is made anew")
            until(lambda: members(made, 11) == {11, 12, 13}, "it votes")
            until(lambda: "info" not in made.run("node_info", nid=13), "nothing is wrong with n13")
            made.run("group_create", groupname=f"x{number}", groupid=61_001 + number)
        # It is the majority with one of the others.
        made.c4("stop", "-t", "1.12")
        until(lambda: made.try_run("group_create", groupname="y", groupid=61_010)["result_code"] == 0, "jobs go on")


def members_of(made: Cluster) -> set[int]:
    """Return the numbers of the members that vote, as etcd lists them."""
    access = load_choice(made.root(11)).etcd
    assert access is not None
    client = EtcdClient(access)
    try:
        return {row.id for row in client.member_list() if not row.learner}
    finally:
        client.close()


def shut_out(access: EtcdAccess) -> bool:
    """Whether etcd answers this client, and refuses it."""
    client = EtcdClient(access)
    try:
        client.get(b"/openconfd/master")
    except EtcdDenied:
        return True
    finally:
        client.close()
    return False


@contextlib.contextmanager
def copied_access(made: Cluster, node: int) -> Iterator[EtcdAccess]:
    """Give what lets a node into etcd, copied to another place: by whoever has its disk."""
    own = made.root(node) / "etc/cluster"
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(own, place, dirs_exist_ok=True)
        text = (Path(place) / "store.json").read_text().replace(str(own), place)
        access = msgspec.json.decode(text, type=StoreChoice).etcd
        assert access is not None
        yield access


def members(made: Cluster, node: int) -> set[int]:
    """Return the nodes whose members of etcd a node knows."""
    known = (made.root(node) / "etc/cluster/store.json").read_text()
    return {one for one, address in made.addresses.items() if f"{address}:2379" in known}


def removed_while_it_was_down(made: Cluster) -> None:
    """The master's node is lost and removed. It comes back and ends, and the master that is killed then has a successor.

    What it has on its disk does not let anybody into etcd any more; n13, which is away meanwhile, gets in again.
    """
    until(lambda: master(made, 14) == "n11", "n11 leads")
    made.kill(13)
    kill_node(made, 11)
    until(lambda: made.try_run("node_suspend", 14, nid=11)["result_code"] == 0, "another node leads")
    with copied_access(made, 11) as access:
        assert not shut_out(access)
        until(lambda: made.run("node_state", 14)["13"] == "offline", "n13 is missed")
        removed = made.try_run("node_remove", 14, nid=11, force=True)
        assert (removed["result_code"], removed.get("result_warnings", [])) == (0, []), removed
        assert shut_out(access)
    made.start()
    returned = load_choice(made.root(13)).etcd
    assert returned is not None
    until(lambda: not shut_out(returned), "n13 is let in again")
    comes_back_removed(made, 11)
    assert [path for path in secrets_of(NodeFiles(made.root(11))) if path.exists()] == []
    comes_back_removed(made, 11)
    for node in (12, 13, 14):
        until(lambda known=node: members(made, known) == {12, 13, 14}, "n13 has the vote that n11 had")
    leading = int(until(lambda: master(made, 14), "a node leads")[1:])
    kill_node(made, leading)
    alive = next(node for node in (12, 13, 14) if node != leading)
    until(
        lambda: made.try_run("group_create", alive, groupname="y", groupid=61_001)["result_code"] == 0,
        "another node leads without n11",
    )
    assert master(made, alive) != "n11"


@long
def test_an_etcd_that_exists() -> None:
    """The nodes use it and run no members; another cluster may use the same one."""
    require(ETCD)
    _, given = blocks("Which store to choose")
    with etcd() as server:
        (words,) = with_places(given, {"http://127.0.0.1:2379": server.url})
        words = words[: words.index("c4")]
        with cluster("CCC_PLAY_WITH_DB=false", *words, nodes=1) as one, cluster(
            "CCC_PLAY_WITH_DB=false", *words, nodes=1
        ) as other:  # fmt: skip
            one.run("group_create", groupname="x", groupid=61_000)
            assert "x" not in other.run("group_list")
            assert server_of(one.root(11)) is None
            one.kill(11)
            one.start()
            assert "x" in one.run("group_list")
