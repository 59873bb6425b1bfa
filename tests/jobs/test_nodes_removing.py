"""Removing nodes for good."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from confd.exaconf.validation import validate
from confd.model.errors import InUse, NotFound, WrongState
from confd.model.states import NodeState
from confd.services.archive.upkeep import Health, Upkeep
from confd.services.database.record import Record
from confd.services.etcd.members import RECORD as MEMBERS
from confd.services.nodes.naming import RETIRED
from confd.services.nodes.standing import suspension_key
from confd.services.nodes.stores import Moving
from confd.store.choice import StoreKind
from tests.jobs.stage import Stage
from tests.services.nodes.test_removal import database


def volume(stage: Stage, *nodes: int, redundancy: int = 1, **more: Any) -> None:
    """Make a data volume."""
    stage.run(
        "st_volume_create",
        **{"name": "V", "type": "data", "disk": "disk1", "size": "64 MiB", "nodes": list(nodes),
           "redundancy": redundancy, "num_master_nodes": 1} | more,
    )  # fmt: skip


def test_a_node_that_nothing_uses_goes(stage: Stage) -> None:
    """Online or offline, one or a list; the ids are noted, and a daemon that answers is told to leave."""
    stage.states[13] = NodeState.OFFLINE
    ran = stage.run("node_remove", nid=[13, 12], by="admin")
    assert list(stage.conf.nodes) == [11]
    assert stage.records[RETIRED] == {"12": f"{12:040X}", "13": f"{13:040X}"}
    assert [(command.name, command.node) for command in ran.settled] == [("nodes.leave", 12)]
    with pytest.raises(NotFound, match="no node '12'"):
        stage.run("node_remove", nid=12)


def test_a_removed_node_is_shut_out_of_etcd(stage: Stage) -> None:
    """One of the cluster's own gets a new password; of another's the administrator is told."""
    stage.services[Moving] = Moving(StoreKind.ETCD, "", lambda *_: None)
    [warning] = stage.run("node_remove", nid=13).warnings
    assert "n13 may still get into etcd" in warning
    stage.records[MEMBERS] = {"binary": "", "port": 2379, "token": "t"}
    planned = stage.plan("node_remove", nid=12)
    assert [command.name for command in planned.commands] == ["nodes.leave", "etcd.renew_password"]


def test_who_must_stay(stage: Stage) -> None:
    """Master, last node, a suspended one without force; nothing has changed."""
    before = stage.conf
    for nid, text in ((11, "n11 is the master"), ([11, 12, 13], "last node")):
        with pytest.raises(WrongState, match=text):
            stage.run("node_remove", nid=nid, force=True)
    assert stage.conf is before
    stage.run("node_suspend", nid=12)
    stage.states[12] = NodeState.SUSPENDED
    with pytest.raises(WrongState, match=r"n12 is suspended.*with force"):
        stage.run("node_remove", nid=12)
    stage.run("node_remove", nid=12, force=True)
    assert 12 not in stage.conf.nodes
    assert suspension_key(12) not in stage.records


def test_a_node_in_use_stays_without_force(stage: Stage) -> None:
    """The message names volume and database."""
    volume(stage, 11, 12)
    stage.put(database([12, 13], 1))
    with pytest.raises(InUse, match="n12, n13 is in use by volume V, database DB"):
        stage.run("node_remove", nid=[12, 13])


def test_with_force_it_leaves_volumes_and_databases(stage: Stage) -> None:
    """Redundancy goes down, a reserve node becomes active, space on the node is given back."""
    volume(stage, 12, 11, 13, redundancy=3)
    stage.put(database([12, 13, 11], 1))
    stage.records["database/DB"] = msgspec.to_builtins(Record(primary=13, system_id="s", volume="V", suspended=(12,)))
    segment = stage.root / "n12/data/storage/dev.1/segments/0"
    assert segment.is_dir()
    names: list[Any] = []
    call = stage.call

    def noted(command: Any, timeout: float = 60.0) -> Any:
        if command.node == 0:
            # What the supervision does is tested with one.
            return names.append((command.name, command.arguments.get("left")))
        return call(command, timeout)

    stage.call = noted  # type: ignore[method-assign]
    ran = stage.run("node_remove", nid=12, force=True)
    assert stage.conf.require_volume("V").nodes == (11, 13)
    assert stage.conf.require_volume("V").redundancy == 2
    changed = stage.conf.require_database("DB")
    assert (changed.nodes, changed.num_active_nodes) == ((11, 13), 1)
    assert validate(stage.conf.sections) == []
    assert names == [("database.forget_node", 12), ("database.withdraw", 12)]
    assert not segment.exists()
    assert ran.warnings == ["volume V has redundancy 2 now: 2 nodes are left"]


def test_the_last_copy_is_never_removed(stage: Stage) -> None:
    """Neither of a volume nor of a database, nor the newest data of a stopped one; nothing has changed."""
    volume(stage, 12)
    before = stage.conf
    with pytest.raises(WrongState, match=r"n12 has all that there is of volume V"):
        stage.run("node_remove", nid=12, force=True)
    assert stage.conf is before
    volume(stage, 12, 13, name="W")
    stage.put(msgspec.structs.replace(database([12, 13], 2), data_volume="W"))
    stage.records["database/DB"] = msgspec.to_builtins(Record(primary=13, system_id="s", volume="W"))
    with pytest.raises(WrongState, match=r"n13 holds the newest data of database DB"):
        stage.run("node_remove", nid=13, force=True)


def test_another_node_takes_the_place_in_an_archive_volume(stage: Stage) -> None:
    """Where the other copies are whole and a node has room; space there is reserved, and given back when it fails."""
    archive = {"name": "A", "type": "archive", "num_master_nodes": 2, "size": "64 MiB"}
    volume(stage, 12, 13, redundancy=2, **archive)
    stage.states[13] = NodeState.OFFLINE
    segments = stage.root / "n11/data/storage/dev.1/segments"
    stage.services[Upkeep]._health["A"] = Health((12,))
    with pytest.raises(WrongState, match=r"n13 may have the only copy of files of archive volume A"):
        stage.run("node_remove", nid=13, force=True)
    stage.services[Upkeep]._health["A"] = Health()
    [warning] = stage.run("node_remove", nid=13, force=True).warnings
    assert warning == "n11 takes the place of n13 in archive volume A and gets its files now"
    changed = stage.conf.require_volume("A")
    assert (changed.nodes, changed.redundancy, changed.num_master_nodes) == ((12, 11), 2, 2)
    assert (segments / "0").is_dir()
    assert validate(stage.conf.sections) == []


def test_no_node_has_room_for_an_archive_volume(stage: Stage) -> None:
    """The message says what such a node needs."""
    volume(stage, 12, 13, redundancy=2, name="A", type="archive", num_master_nodes=2, size="64 MiB")
    volume(stage, 11, name="Full", size="960 MiB")
    before = stage.conf
    with pytest.raises(WrongState, match=r"needs another node in the place of n13: .* disk disk1"):
        stage.run("node_remove", nid=13, force=True)
    assert stage.conf is before
