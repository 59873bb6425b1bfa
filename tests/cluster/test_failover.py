"""Nodes, daemons, servers and links are lost at random under a write loop: no acknowledged row is lost."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import (
    NAME,
    Watcher,
    Writer,
    cut,
    heal,
    kill_daemon,
    kill_keeper,
    kill_node,
    kill_server,
    primary,
)
from tests.seeds import seeds
from tests.torture import TORTURE, long

SECONDS = 600 if TORTURE else 8
SEEDS = seeds([1], 1 if TORTURE else 0)
EVENTS: dict[str, tuple[int, Callable[[Cluster, int], None]]] = {
    "kill_node": (4, kill_node),
    "kill_daemon": (2, kill_daemon),
    "kill_server": (2, kill_server),
    "kill_keeper": (1, kill_keeper),
    "cut": (3, cut),
}


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster of its own with a running database of three nodes and redundancy 2."""
    with cluster() as made:
        try:
            yield made
        finally:
            heal(made)


def whole(running: Cluster) -> bool:
    """Whether all daemons answer and the database has all its instances."""
    try:
        info = running.run("db_info", db_name=NAME)
    except (OSError, AssertionError):
        return False
    return info["nodes"]["failed"] == [] and info["connectible"] == "Yes" and info["info"] == ""


def test_primary_node_is_killed(running: Cluster) -> None:
    """Another node takes over without an administrator; db_info tells the truth; the dead one rejoins."""
    until(lambda: whole(running), "the cluster is whole")
    writer = Writer(running)
    writer.start()
    writer.goes_on()
    lost = primary(running)
    assert lost
    kill_node(running, lost)
    if lost == 11:
        done = take_over(running, 12)
        assert done.returncode == 0, done.stderr
        assert "n11 could not be asked" in done.stdout
    writer.goes_on()
    info = running.run("db_info", 12 if lost != 12 else 13, db_name=NAME)
    assert info["nodes"]["failed"] == [f"n{lost}"]
    assert info["connectible"] == "Yes"
    assert "missing redundancy" in info["info"]
    running.start()
    until(lambda: whole(running), "the lost node has rejoined")
    assert writer.end() == set()
    running.wait_same()


def take_over(running: Cluster, node: int) -> subprocess.CompletedProcess[str]:
    """Run ``confd --take-over`` on a node."""
    command = [sys.executable, "-m", "confd.cli.confd", "--root", str(running.root(node)), "--take-over"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=running.env)


@long
def test_what_only_the_lost_master_knew_is_kept(running: Cluster) -> None:
    """A survivor leads on; the old master, whose journal went another way, follows it and keeps its own in a file."""
    until(lambda: whole(running), "the cluster is whole")
    old = next(node for node in running.addresses if is_master(running, node))
    survivors = [node for node in running.addresses if node != old]
    for node in survivors:
        kill_daemon(running, node)
    until(lambda: running.try_run("group_create", old, groupname="x", groupid=61_000)["result_name"] == "NO_QUORUM", "")
    kill_daemon(running, old)
    for node in survivors:
        start_alone(running, node)
    done = take_over(running, survivors[0])
    assert done.returncode == 0, done.stderr
    assert f"n{old} could not be asked" in done.stdout
    # The server beside the dead daemon may be the primary: it goes on, only nobody sees it from here.
    running.run("group_create", survivors[1], groupname="after", groupid=61_001)
    assert take_over(running, survivors[1]).returncode == 1
    running.start()
    until(lambda: whole(running), "the old master follows")
    assert not is_master(running, old)
    assert list((running.root(old) / "metadata/confd").glob("journal-*-*.db"))
    running.wait_same()
    running.run("group_delete", old, groupname="after")


def is_master(running: Cluster, node: int) -> bool:
    """Whether a node leads."""
    with urllib.request.urlopen(
        f"https://{running.addresses[node]}:20003/is_master", context=ssl._create_unverified_context(), timeout=20
    ) as answer:
        return bool(answer.read() == b"true")


def start_alone(running: Cluster, node: int) -> None:
    """Start one daemon and wait until it takes orders."""
    command = [sys.executable, "-m", "confd.cli.confd", "--root", str(running.root(node))]
    environment = running.env
    subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    until(lambda: listens(running.addresses[node], 3250), f"the daemon of n{node} listens")


def listens(address: str, port: int) -> bool:
    """Whether somebody takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


@long
def test_anything_is_lost_at_random(running: Cluster) -> None:
    """No acknowledged row is lost, never two nodes take writes, EXAConf is the same everywhere at the end."""
    until(lambda: whole(running), "the cluster is whole")
    writer, watcher = Writer(running), Watcher(running)
    writer.start()
    watcher.start()
    for seed in SEEDS:
        print(f"seed {seed}")
        torture(running, writer, random.Random(seed), SECONDS / len(SEEDS))
    assert watcher.end() == []
    assert writer.end() == set()
    running.wait_same()


def torture(running: Cluster, writer: Writer, dice: random.Random, seconds: float) -> None:
    """Lose something, let it be so for a while, repair, wait until all is well; again until the time is over."""
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        writer.goes_on()
        name = dice.choices(list(EVENTS), [weight for weight, _ in EVENTS.values()])[0]
        victims = [dice.choice(list(running.addresses)) for _ in range(dice.choice((1, 1, 1, 2)))]
        at = primary(running) if dice.random() < 0.5 else None
        for node in {*victims[1:], at or victims[0]}:
            print(f"{name} n{node}")
            EVENTS[name][1](running, node)
        # How long it lasts is the random input of this test, not a wait for something.
        time.sleep(dice.choice((0.1, 1.0, 4.0, 8.0)) * dice.random())
        heal(running)
        running.start()
        until(lambda: whole(running), f"all is well after {name}", 90)
