"""A cluster whose store is etcd, run by its own nodes: it loses any node, and its master, without an administrator."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psutil
import pytest

from confd.services.etcd.server import server_of
from confd.store.choice import load_choice
from confd.store.etcd.client import EtcdClient, MemberRow
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME
from tests.cluster.test_mastership import Callers, agree_on, master
from tests.servers import ETCD, require


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """Three nodes with etcd and the database Exasol."""
    require(ETCD)
    with cluster("CCC_PLAY_STORE=etcd") as made:
        yield made


def kill_all(running: Cluster, node: int) -> None:
    """Kill -9 everything that a node runs: daemon, keeper, servers, etcd."""
    root = str(running.root(node))
    victims = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(f"{root}/") or any(root in word for word in process.info["cmdline"] or ()):
                victims.append(process)
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(victims, 20)


def members(running: Cluster, node: int) -> list[MemberRow]:
    """List the members of etcd, as a node sees them."""
    access = load_choice(running.root(node)).etcd
    assert access is not None
    client = EtcdClient(access)
    try:
        return client.member_list()
    finally:
        client.close()


def whole(running: Cluster, node: int) -> bool:
    """Whether the database has all its instances."""
    try:
        info = running.run("db_info", node, db_name=NAME)
    except (OSError, AssertionError):
        return False
    return info["nodes"]["failed"] == [] and info["connectible"] == "Yes"


def test_the_masters_node_is_lost(running: Cluster) -> None:
    """Calls to other nodes go on within seconds, nothing that was acknowledged is missing, and the node returns."""
    agree_on(running, 11)
    with Callers(running, 12, 13) as callers:
        before = time.monotonic()
        kill_all(running, 11)
        callers.go_on()
        print(f"calls went on after {time.monotonic() - before:.1f} s")
        assert master(running, 13) in ("n12", "n13")
    callers.check()
    running.start()
    running.wait_same()
    callers.nodes = (11,)
    callers.check()


def test_planned_change_and_back(running: Cluster) -> None:
    """master_change and affinity_reset do here what they do with the embedded store."""
    with Callers(running) as callers:
        assert running.run("master_change", 12, nids=[13]) == 13
        agree_on(running, 13)
        callers.go_on()
        running.run("affinity_reset", 12)
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
