"""docs/operations.md, "Moving between stores" and "Loss of the majority": a cluster gets etcd members, and loses them.

The tests stand in the order in which they use their cluster.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from confd.services.etcd.plan import DATA, PLAN_FILE, SHARED
from confd.services.etcd.server import server_of
from tests.cluster.documented import blocks
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.test_etcd_outages import Caller, kill_everything, masters, wait_whole
from tests.cluster.test_moving_store import history, kind
from tests.servers import ETCD, require
from tests.torture import long

MEMBERS = (11, 12, 13)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    """Give a cluster of four nodes in the embedded store; tests leave all nodes running."""
    require(ETCD)
    with cluster("CCC_PLAY_WITH_DB=false", nodes=4) as running:
        yield running


class PatientCaller(Caller):
    """Calls on while the daemon it calls starts anew; what became of a call that it broke off is not known."""

    def run(self) -> None:
        """Call until told to end."""
        while not self.ended.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                super().run()


def moves() -> tuple[list[str], list[str]]:
    """Return the words after c4 that move play 1 to etcd and back, as docs/operations.md has them."""
    (there, back), _ = blocks("Moving between stores")
    assert there[0] == back[0] == "c4"
    return there[1:], back[1:]


def running(made: Cluster) -> set[int]:
    """Return the nodes that run a member of etcd."""
    return {node for node in made.addresses if server_of(made.root(node)) is not None}


def traces(made: Cluster) -> list[str]:
    """Return what members need and leave below the roots of all nodes."""
    names = (PLAN_FILE, DATA, *SHARED)
    return [f"n{node}/{name}" for node in made.addresses for name in names if (made.root(node) / name).exists()]


def wait_kind(made: Cluster, wanted: str) -> None:
    """Wait until all nodes use a store."""
    until(lambda: {kind(made, node) for node in made.addresses} == {wanted}, f"all nodes use {wanted}")


def wait_group(made: Cluster, node: int, name: str, number: int) -> None:
    """Wait until jobs are done again."""
    answer = until(
        lambda: (
            (told := made.try_run("group_create", node=node, groupname=name, groupid=number))["result_code"] == 0
            and told
        ),
        f"{name} is created",
    )
    assert answer["result_name"] == "OK"


def test_what_stands_in_the_way_is_said_before_anything_is_done(made: Cluster) -> None:
    """No etcd, a port that is taken; nothing is left of these tries."""
    for number in range(3):
        made.run("group_create", groupname=f"before{number}", groupid=6000 + number)
    missing = made.c4(*moves()[0], "--binary", "/nowhere/etcd", check=False)
    assert "n11: /nowhere/etcd does not run" in missing
    with socket.create_server((made.addresses[12], 2380)):
        taken = made.c4(*moves()[0], check=False)
    assert f"port 2380 on {made.addresses[12]}, wanted for etcd, is taken" in taken
    assert traces(made) == []


def test_a_move_that_fails_half_way_leaves_nothing(made: Cluster) -> None:
    """Members that run already are ended again; the old store goes on."""
    hindrance = made.root(12) / DATA
    hindrance.touch()
    failed = made.c4(*moves()[0], check=False)
    assert "store_move failed" in failed
    hindrance.unlink()
    until(lambda: traces(made) == [], "everything is taken back")
    assert running(made) == set()
    made.run("group_create", node=12, groupname="half", groupid=6010)


@long
def test_a_master_that_dies_while_members_are_made_goes_on_with_it(made: Cluster) -> None:
    """The next try of the same job finds what is there; history and secrets are kept."""
    known = history(made, 11)
    moving = threading.Thread(target=made.c4, args=("store", "etcd", "-t", "1.12"), kwargs={"check": False})
    moving.start()
    until(lambda: (made.root(11) / PLAN_FILE).exists(), "members are made")
    made.kill(11)
    made.start()
    moving.join()
    wait_kind(made, "etcd")
    assert running(made) == set(MEMBERS)
    wait_group(made, 12, "in_etcd", 6020)
    assert [row for row in history(made, 14) if row in known] == known
    password = (made.root(11) / "etc/cluster/etcd.password").read_text().strip()
    assert len(password) > 20
    places = [made.root(node) / name for node in made.addresses for name in ("logs/logd", "metadata/confd", "spool")]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert [path for path in files if password.encode() in path.read_bytes()] == []


@long
def test_members_end_when_the_cluster_has_left_them(made: Cluster) -> None:
    """Also on a node that was away; then the embedded store carries a restart of everything."""
    (master,) = until(lambda: masters(made), "a master")
    absent = max(set(MEMBERS) - {master})
    made.kill(absent)
    until(lambda: made.run("node_state", node=master)[str(absent)] == "offline", "a node is missed")
    assert "the store is sqlite now" in made.c4(*moves()[1])
    made.start()
    wait_kind(made, "sqlite")
    until(lambda: traces(made) == [], "members and their files are gone")
    assert running(made) == set()
    made.c4("stop", "-t", "1")
    made.start()
    wait_group(made, 11, "in_sqlite", 6030)


@long
def test_calls_go_on_while_the_cluster_moves_again(made: Cluster) -> None:
    """Members are made a second time; what was acknowledged meanwhile is there, also after a restart."""
    caller = PatientCaller(made, 14)
    caller.start()
    try:
        until(lambda: caller.acknowledged, "calls are answered")
        assert "the store is etcd now" in made.c4(*moves()[0])
        seen = len(caller.acknowledged)
        until(lambda: len(caller.acknowledged) > seen, "calls are answered again")
    finally:
        caller.ended.set()
        caller.join()
    made.c4("stop", "-t", "1")
    assert running(made) == set()
    made.start()
    until(lambda: running(made) == set(MEMBERS), "the members run again")
    groups = set(made.run("group_list", node=12))
    assert caller.acknowledged.keys() | {"before2", "half", "in_etcd", "in_sqlite"} <= groups


@long
def test_a_survivor_without_a_member_begins_a_new_one(made: Cluster) -> None:
    """Not while a member can be reached; the others follow when they return, and run members again."""
    made.wait_same()
    # It loses its place with the majority, and must not be taken for a master that answers.
    assert made.run("master_change", node=14, nids=[13]) == 13
    for node in (11, 12):
        kill_everything(made, node)
    until(lambda: not masters(made), "nobody is master without etcd's majority")
    recover = ("store", "recover", "-t", "1.14", "--yes-others-are-down")
    # An election may have been won just before the majority went: that lease has to run out first.
    told = f"the member of etcd at {made.addresses[13]} can be reached"
    until(lambda: told in made.c4(*recover, check=False), "a survivor with a member is told of")
    kill_everything(made, 13)
    assert "n14 is master now" in made.c4(*recover)
    assert masters(made) == [14]
    assert running(made) == {14}
    made.run("node_suspend", node=14, nid=[11, 12, 13])
    made.run("group_create", node=14, groupname="alone", groupid=6040)

    made.start()
    wait_whole(made, 14)
    until(lambda: len(running(made)) == 3 and 14 in running(made), "three nodes run members, n14 among them")
    wait_group(made, 11, "after", 6041)
    made.wait_same()
    assert {"before0", "alone", "after"} <= set(made.run("group_list", node=12))
