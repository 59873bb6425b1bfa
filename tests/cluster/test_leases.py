"""With etcd as the store nobody is needed: daemons freeze, the master's node dies, etcd is gone; the database goes on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from confd.services.database.keeper.client import KeeperClient, KeeperStatus
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME, Watcher, Writer, kill_node, primary, processes_of
from tests.servers import ETCD, require


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster on etcd with a running database of three nodes and redundancy 2."""
    require(ETCD)
    with cluster("CCC_PLAY_STORE=etcd") as made:
        yield made


@pytest.fixture
def writer(running: Cluster) -> Iterator[Writer]:
    """A write loop on a whole cluster; no acknowledged row is lost, never two nodes take writes."""
    until(lambda: whole(running), "the cluster is whole", 120)
    made, watcher = Writer(running), Watcher(running)
    made.start()
    watcher.start()
    made.goes_on()
    yield made
    for node in running.addresses:
        for process in processes_of(running, node):
            with contextlib.suppress(psutil.Error):
                process.resume()
    running.start()
    until(lambda: whole(running), "the cluster is whole again", 120)
    assert watcher.end() == []
    assert made.end() == set()


def whole(running: Cluster) -> bool:
    """Whether every node answers and the database has all its instances."""
    return all(told(running, node) for node in running.addresses)


def told(running: Cluster, node: int) -> bool:
    """Whether a node says that all is well."""
    try:
        info = running.run("db_info", node, db_name=NAME)
    except (OSError, AssertionError):
        return False
    return info["nodes"]["failed"] == [] and info["connectible"] == "Yes" and info["info"] == ""


def keeper(running: Cluster, node: int) -> KeeperStatus | None:
    """Ask the keeper of a node's instance."""
    root = running.root(node)
    process = next(one for one in processes_of(running, node) if any("keeper.keeper" in word for word in one.cmdline()))
    socket = next(word for word in process.cmdline() if word.startswith("/") and word.endswith(".keeper"))
    return KeeperClient(root / "metadata/dwad" / NAME, Path(socket)).status()


def test_node_of_master_and_primary_dies(running: Cluster, writer: Writer) -> None:
    """Kill -9 of everything there, its member of etcd included: jobs and writes go on elsewhere by themselves."""
    lost = primary(running)
    assert lost
    kill_node(running, lost)
    writer.goes_on()
    left = next(node for node in running.addresses if node != lost)
    until(lambda: job_works(running, left), "jobs run again")


def job_works(running: Cluster, node: int) -> bool:
    """Whether a node gets a job done."""
    try:
        running.run("db_info", node, db_name=NAME)
    except (OSError, AssertionError):
        return False
    return True


@pytest.mark.skipif("TORTURE" not in os.environ, reason="supervision/test_leases tries it without daemons")
def test_daemon_of_the_primary_freezes(running: Cluster, writer: Writer) -> None:
    """Its keeper stops the instance at the deadline, another one takes over; it rejoins when the daemon goes on."""
    lost = primary(running)
    assert lost
    os.kill(running.pid(lost), signal.SIGSTOP)
    until(lambda: (status := keeper(running, lost)) is not None and status.lapsed, "the instance was stopped")
    writer.goes_on()
    assert primary(running) != lost
    os.kill(running.pid(lost), signal.SIGCONT)


@pytest.mark.skipif("TORTURE" not in os.environ, reason="supervision/test_leases tries it without daemons")
def test_etcd_is_gone(running: Cluster, writer: Writer) -> None:
    """The primary stops by itself; when etcd is back all goes on by itself, with the same primary."""
    lost = primary(running)
    assert lost
    members = [one for node in running.addresses for one in processes_of(running, node) if one.name() == "etcd"]
    assert len(members) == 3
    for one in members:
        one.suspend()
    until(lambda: (status := keeper(running, lost)) is not None and status.lapsed, "the instance was stopped")
    assert primary(running) is None
    for one in members:
        one.resume()
    writer.goes_on(120)
