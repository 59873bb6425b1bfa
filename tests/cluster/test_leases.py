"""With etcd as the store nobody is needed: daemons freeze, the master's node dies, etcd is gone; the database goes on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from confd.services.database.keeper.client import KeeperClient, KeeperStatus
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME, Watcher, Writer, kill_node, primary, processes_of
from tests.servers import ETCD, require
from tests.torture import long


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


@long
def test_daemon_of_the_primary_freezes(running: Cluster, writer: Writer) -> None:
    """Its keeper stops the instance at the deadline, another one takes over; it rejoins when the daemon goes on."""
    lost = primary(running)
    assert lost
    os.kill(running.pid(lost), signal.SIGSTOP)
    until(lambda: (status := keeper(running, lost)) is not None and status.lapsed, "the instance was stopped")
    writer.goes_on()
    assert primary(running) != lost
    os.kill(running.pid(lost), signal.SIGCONT)


@long
def test_etcd_is_gone(running: Cluster, writer: Writer) -> None:
    """The primary stops by itself; calls are told so; when etcd is back all goes on by itself, with the same primary."""
    lost = primary(running)
    assert lost
    members = [one for node in running.addresses for one in processes_of(running, node) if one.name() == "etcd"]
    assert len(members) == 3
    for one in members:
        one.suspend()
    until(lambda: (status := keeper(running, lost)) is not None and status.lapsed, "the instance was stopped")
    assert primary(running) is None
    with ThreadPoolExecutor() as calls:
        changes = [
            calls.submit(running.try_run, "group_create", node, groupname="never", groupid=62_000)
            for node in running.addresses
        ]
        for node in running.addresses:
            read = until(lambda node=node: stale(running, node), f"n{node} answers and says how old that is")
            # The old master may answer before it has given up.
            told = read["result_warnings"][-1]
            assert "no master answers" in told or "may no longer be master" in told
        for change in changes:
            answer = change.result()
            assert answer["result_name"] == "NO_MASTER", answer
            assert "etcd" in answer["result_desc"]
            assert "bring its members back" in answer["result_desc"]
            assert "confd --take-over" not in answer["result_desc"]
    for one in members:
        one.resume()
    writer.goes_on(120)
    assert "never" not in running.run("group_list", lost)


def stale(running: Cluster, node: int) -> dict[str, Any] | None:
    """Read through a node; the answer when it says how old it is."""
    answer = running.try_run("group_list", node)
    return answer if answer["result_code"] == 0 and "result_stale" in answer else None
