"""Nodes, daemons, servers and links are lost at random under a write loop: no acknowledged row is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
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

SECONDS = 600 if os.environ.get("TORTURE") else 8
SEEDS = [1]
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


def test_anything_is_lost_at_random(running: Cluster) -> None:
    """No acknowledged row is lost, never two nodes take writes, EXAConf is the same everywhere at the end."""
    seeds = [int(os.environ["SEED"])] if "SEED" in os.environ else [*SEEDS, random.randrange(10**6)]
    until(lambda: whole(running), "the cluster is whole")
    writer, watcher = Writer(running), Watcher(running)
    writer.start()
    watcher.start()
    for seed in seeds:
        print(f"seed {seed}")
        torture(running, writer, random.Random(seed), SECONDS / len(seeds))
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
