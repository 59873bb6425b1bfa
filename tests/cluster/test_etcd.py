"""A cluster whose store is etcd, run by its own nodes: it loses any node, and its master, without an administrator."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest

from confd.services.etcd.server import server_of
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME, Writer, kill_node
from tests.cluster.test_mastership import Callers, agree_on, master
from tests.servers import ETCD, require


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """Three nodes with etcd and the database Exasol."""
    require(ETCD)
    with cluster("CCC_PLAY_STORE=etcd") as made:
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
