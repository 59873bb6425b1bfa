"""Nodes of a real cluster are suspended, lost, resumed, stopped and removed under a write loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.documented import blocks, follow
from tests.cluster.harness import Cluster, cluster, until
from tests.cluster.mayhem import NAME, Writer, comes_back_removed, cut, heal, kill_node, primary, processes_of

KEEPER = "confd.services.database.keeper.keeper"


@pytest.fixture(scope="module")
def place() -> Iterator[Cluster]:
    """Four nodes: n11 is master, the database has n12 and n13 active and n14 in reserve, with a copy of its own."""
    with cluster("CCC_PLAY_WITH_DB=false", nodes=4) as made:
        volume = {"type": "data", "disk": "disk1", "size": "512 MiB", "redundancy": 2, "num_master_nodes": 2}
        made.run("st_volume_create", name="Data", nodes=[12, 13, 14], **volume)
        made.run(
            "db_create", db_name=NAME, version="18", data_volume_name="Data", mem_size="512 MiB", nodes=[12, 13, 14],
            num_active_nodes=2, port=8563,
        )  # fmt: skip
        made.run("db_start", db_name=NAME)
        try:
            yield made
        finally:
            heal(made)


def states(place: Cluster, node: int = 11) -> dict[str, str]:
    """Return the states of all nodes."""
    told: dict[str, Any] = place.run("node_state", node)
    return {name: state for name, state in told.items() if name != "booted"}


def active(place: Cluster) -> list[str]:
    """Return the active nodes of the database, none while it is not whole."""
    info = place.run("db_info", db_name=NAME)
    healthy = info["connectible"] == "Yes" and not set(info["nodes"]["failed"]) & set(info["nodes"]["active"])
    return sorted(info["nodes"]["active"]) if healthy else []


def is_whole(place: Cluster) -> bool:
    """Whether commits wait for both copies, so that either node may be lost."""
    volume, info = place.run("st_volume_info", vname="Data"), place.run("db_info", db_name=NAME)
    return len(active(place)) == 2 and (volume["state"], info["info"]) == ("ONLINE", "")


def keepers(place: Cluster, node: int) -> list[psutil.Process]:
    """Return the keepers of a node."""
    return [one for one in processes_of(place, node) if _is_keeper(one)]


def _is_keeper(process: psutil.Process) -> bool:
    try:
        return KEEPER in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def test_the_procedures_of_the_manual(place: Cluster) -> None:
    """Maintenance of a node, and half of the nodes lost: as written in docs/operations.md, and no row is lost."""
    maintenance, resume, disable, lost, wait = blocks("Suspending and resuming nodes")
    writer = Writer(place, (12, 13, 14))
    writer.start()
    writer.goes_on()
    assert primary(place) == 12

    follow(place, maintenance)
    assert states(place) == {"11": "online", "12": "suspended", "13": "online", "14": "online"}
    assert keepers(place, 12) == []
    assert place.run("st_volume_info", vname="Data")["state"] == "DEGRADED"
    until(lambda: active(place) == ["n13", "n14"], "the reserve node is active")
    writer.goes_on()
    follow(place, resume)
    assert states(place)["12"] == "online"
    follow(place, disable)
    assert states(place)["12"] == "online"

    for node in (13, 14):
        kill_node(place, node)
    until(lambda: list(states(place).values()).count("offline") == 2, "both are missed")
    refused = place.try_run("group_create", groupname="x", groupid=61_000)
    assert refused["result_name"] == "NO_QUORUM"
    assert "2 of 4 nodes are offline (n13, n14)" in refused["result_desc"]
    follow(place, lost)
    assert states(place) == {"11": "online", "12": "online", "13": "suspended", "14": "suspended"}
    place.run("group_create", groupname="x", groupid=61_000)
    place.run("group_delete", groupname="x")
    place.start()
    assert "13" in follow(place, wait)
    assert set(states(place).values()) == {"online"}
    until(lambda: is_whole(place), "the database is whole", 120)
    writer.goes_on()
    assert writer.end() == set()
    place.wait_same()


def test_a_node_that_was_only_cut_off(place: Cluster) -> None:
    """Its primary is stopped as soon as it is reached again, and it stays suspended until its daemon is started anew."""
    until(lambda: is_whole(place), "the database is whole", 120)
    old = primary(place)
    assert old is not None
    assert old != 11
    cut(place, old)
    try:
        until(lambda: states(place)[str(old)] == "offline", "it is missed")
        place.run("node_suspend", nid=old)
        until(lambda: primary(place) not in (None, old), "another node took over")
    finally:
        heal(place)
    until(lambda: keepers(place, old) == [], "the old primary is stopped")
    assert states(place)[str(old)] == "suspended"
    place.kill(old)
    place.start()
    assert place.run("node_wait_ready", nids=[old], timeout=60) == [old]
    assert states(place)[str(old)] == "online"
    until(lambda: is_whole(place), "the database is whole", 120)


def test_nodes_are_stopped_and_come_back(place: Cluster) -> None:
    """Daemon and instances end, the database goes on elsewhere; told which nodes have shut down and which are back."""
    until(lambda: is_whole(place), "the database is whole", 120)
    writer = Writer(place, (12, 13, 14))
    writer.start()
    writer.goes_on()
    old = primary(place)
    assert place.try_run("nodes_terminate", nids=[old])["result_code"] == 0
    assert place.run("node_wait_offline", nids=[old], timeout=60) == [old]
    until(lambda: processes_of(place, old or 0) == [], "nothing of it runs")
    writer.goes_on()
    place.start()
    assert place.run("node_wait_ready", nids=[old], timeout=60) == [old]
    until(lambda: is_whole(place), "the database is whole", 120)
    assert writer.end() == set()


def test_a_node_in_use_is_removed(place: Cluster) -> None:
    """Only with force; then it cleans up and ends, and the database goes on with those that are left."""
    until(lambda: is_whole(place), "the database is whole", 120)
    victim = next(node for node in (12, 13, 14) if node != primary(place))
    refused = place.try_run("node_remove", nid=victim)
    assert refused["result_name"] == "IN_USE"
    assert place.try_run("node_remove", nid=11, force=True)["result_name"] == "WRONG_STATE"
    volume = place.run("st_volume_info", vname="Data")["id"]
    segment = Path(place.root(victim)) / "data/storage/dev.1/segments" / volume
    assert segment.is_dir()
    removed = place.try_run("node_remove", nid=victim, force=True)
    assert removed["result_code"] == 0, removed
    assert not segment.exists()
    assert str(victim) not in states(place)
    until(lambda: processes_of(place, victim) == [], "it has ended")
    comes_back_removed(place, victim)
    until(lambda: is_whole(place), "the database is whole", 120)
    assert place.run("node_add", priv_net=f"{place.net}.15/8") == 15
    assert states(place)["15"] == "suspended"
    place.run("node_remove", nid=15, force=True)


def test_addresses_are_exchanged(place: Cluster) -> None:
    """Two nodes take each other's addresses when all are started again, and find each other."""
    first, second = (node for node in (12, 13, 14) if str(node) in states(place))
    swap = [
        {"nid": first, "private": place.addresses[second]},
        {"nid": second, "private": place.addresses[first]},
    ]
    assert place.try_run("node_ip_batch", nodes=swap)["result_name"] == "WRONG_STATE"
    place.run("db_stop", db_name=NAME)
    place.run("node_ip_batch", nodes=swap)
    place.run("nodes_terminate", nids=[11, first, second])
    until(lambda: not place.processes(), "all is stopped")
    place.start()
    assert place.run("node_wait_ready", nids=[11, first, second], timeout=60) == [11, first, second]
    place.run("db_start", db_name=NAME)
    assert sorted(active(place)) == sorted([f"n{first}", f"n{second}"])
    assert place.run("node_list")[str(first)]["private_ip"] == place.addresses[second]
