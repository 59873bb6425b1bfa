"""How volumes are described: states, segments, users."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from confd.exaconf import Conf, Database, Disk, Node, Volume, VolumeType
from confd.model.sizes import Bytes
from confd.model.states import DeviceState, NodeState
from confd.services.storage.description import (
    Observed,
    User,
    describe_volume,
    describe_volumes,
    logical_nodes,
    partition_id,
    volume_state,
)
from confd.services.storage.space import DeviceStatus

NODES = (11, 12, 13)
GIB = 2**30


def _volume(kind: str = "data", redundancy: int = 2, masters: int = 3, **more: Any) -> Volume:
    return Volume(
        name="V1", type=VolumeType(kind), size=Bytes(GIB), disk="disk1", nodes=NODES, redundancy=redundancy,
        num_master_nodes=masters, id=0, **more,
    )  # fmt: skip


def _conf(*more: Any) -> Conf:
    nodes = [Node(id=node, name=f"n{node}", disks={"disk1": Disk(name="disk1", devices=("dev.1",))}) for node in NODES]
    access = Node(id=10, name="n10")
    return Conf(1, {section.key: section for section in (access, *nodes, *more)})


def _database(name: str = "DB1", **more: Any) -> Database:
    fields: dict[str, Any] = {
        "name": name, "id": "x", "version": "18", "mem_size": Bytes(GIB), "nodes": NODES, "num_active_nodes": 2,
        "data_volume": "V1", **more,
    }  # fmt: skip
    return Database(**fields)


def _observed(gone: tuple[int, ...] = (), *users: User, **more: Any) -> Observed:
    states = {node: NodeState.OFFLINE if node in gone else NodeState.ONLINE for node in NODES}
    return Observed(states=states, devices={}, users=users, **more)


@pytest.mark.parametrize(
    ("kind", "redundancy", "masters", "gone", "primary", "state"),
    [
        ("data", 2, 3, (), None, "ONLINE"),
        ("data", 2, 3, (12,), None, "DEGRADED"),
        ("data", 2, 3, (11, 12), None, "LOCKED"),
        ("data", 2, 3, (11, 12), 13, "DEGRADED"),
        ("data", 2, 3, (11,), 11, "DEGRADED"),
        ("data", 1, 3, (11,), 11, "LOCKED"),
        ("data", 1, 3, (12,), 11, "DEGRADED"),
        ("data", 3, 3, (11, 12), 11, "DEGRADED"),
        ("archive", 1, 3, (11,), None, "LOCKED"),
        ("archive", 1, 2, (13,), None, "DEGRADED"),
        ("archive", 2, 3, (11,), None, "DEGRADED"),
        ("archive", 2, 3, (11, 12), None, "LOCKED"),
    ],
)
def test_states(
    kind: str, redundancy: int, masters: int, gone: tuple[int, ...], primary: int | None, state: str
) -> None:
    """A volume is locked exactly when data cannot be reached."""
    assert volume_state(_volume(kind, redundancy, masters), gone, primary) == state


def test_a_damaged_device_counts_as_missing() -> None:
    """A node with a damaged device is no help to its volumes."""
    damaged = DeviceStatus(name="/exa/data/storage/dev.1", disk="disk1", state=DeviceState.IO_ERRORS)
    observed = msgspec.structs.replace(_observed(), devices={12: [damaged]})
    described = describe_volume(_conf(_volume()), observed, _volume())
    assert described["state"] == "DEGRADED"
    assert [part["state"] for part in described["segments"]] == ["ONLINE", "OFFLINE", "ONLINE"]


def test_copies_in_the_making_are_recovering() -> None:
    """While a running database makes copies, its volume is recovering; a missing node weighs more."""
    conf = _conf(_volume(), _database())
    user = User(name="DB1", active=(11, 12), primary=11, running=True, behind=(13,))
    described = describe_volume(conf, _observed((), user), conf.volumes["V1"])
    assert (described["state"], described["segments"][2]["state"]) == ("RECOVERING", "RECOVERING")
    assert described["nodes_list"][2] == {"id": 13, "unrecovered_segments": 1}
    degraded = describe_volume(conf, _observed((13,), user), conf.volumes["V1"])
    assert (degraded["state"], degraded["segments"][2]["state"]) == ("DEGRADED", "OFFLINE")
    stopped = msgspec.structs.replace(user, running=False)
    assert describe_volume(conf, _observed((), stopped), conf.volumes["V1"])["state"] == "ONLINE"


def test_masters_are_where_the_database_is_active() -> None:
    """After a reserve node took over, it holds a master."""
    conf = _conf(_volume(masters=2), _database())
    moved = User(name="DB1", active=(11, 13), running=True)
    described = describe_volume(conf, _observed((), moved), conf.volumes["V1"])
    assert [part["type"] for part in described["segments"]] == ["MASTER", "REDUNDANT", "MASTER"]
    idle = describe_volume(conf, _observed(), conf.volumes["V1"])
    assert [part["type"] for part in idle["segments"]] == ["MASTER", "MASTER", "REDUNDANT"]


def test_two_databases_on_one_volume() -> None:
    """The running one has the volume open, both have their label."""
    conf = _conf(_volume(), _database("DB2"), _database("DB1"))
    observed = _observed((), User(name="DB1", active=(11,)), User(name="DB2", active=(11,), running=True))
    described = describe_volume(conf, observed, conf.volumes["V1"])
    assert described["users"] == [[31, False]]
    assert described["labels"] == ["#Name#V1", "pub:DB2_persistent", "pub:DB1_persistent"]
    assert partition_id(conf, "DB1") == 30


def test_own_labels_follow() -> None:
    """Labels of the user stand after ours."""
    conf = _conf(_volume(labels=("nightly",)))
    assert describe_volumes(conf, _observed())[0]["labels"] == ["#Name#V1", "nightly"]


def test_volumes_are_listed_by_id() -> None:
    """Temporary volumes stand among the others by their id; those of stopped databases are left out."""
    second = msgspec.structs.replace(_volume(), name="A", id=12)
    conf = _conf(second, _volume(), _database())
    running = User(name="DB1", active=(11, 12), running=True, temporary=3)
    assert [volume["name"] for volume in describe_volumes(conf, _observed((), running))] == ["V1", "v0003", "A"]
    stopped = msgspec.structs.replace(running, running=False)
    assert [volume["name"] for volume in describe_volumes(conf, _observed((), stopped))] == ["V1", "A"]


def test_access_nodes_are_no_storage_nodes() -> None:
    """Logical numbers count nodes with disks."""
    assert logical_nodes(_conf()) == {11: 0, 12: 1, 13: 2}


def test_permissions_are_written_out() -> None:
    """Permissions of the owner alone are filled up for group and others."""
    conf = _conf(_volume(permissions="rw-"))
    assert describe_volumes(conf, _observed())[0]["permissions"] == "rw-------"
