"""Jobs of devices on real directories."""

from __future__ import annotations

from typing import Any

import pytest

from confd.exaconf import Component, Disk
from confd.model.errors import (
    InsufficientSpace,
    InvalidParameter,
    NodeOffline,
    NotFound,
    PermissionDenied,
    StorageDuplicate,
    StorageNotFound,
    WrongState,
)
from confd.model.states import NodeState
from tests.jobs.stage import MIB, Stage, files_below


def _new(**more: Any) -> dict[str, Any]:
    return {"node": 11, "disk": "disk1", "devname": "/exa/data/storage/dev.2", "seccount": 25600, **more}


def test_add_makes_space(stage: Stage) -> None:
    """A new device adds to the free space of its disk at once, and volumes are placed on it."""
    stage.run("st_device_add", **_new(seccount=300 * 2**30 // 4096 // 100))
    assert stage.conf.nodes[11].disks["disk1"].devices == ("dev.1", "dev.2")
    assert stage.run("st_node_list").result["0"]["hdd_free_space"] == {"disk1": "3.96 GiB"}
    stage.run("st_volume_create", name="V1", type="data", disk="disk1", size="2 GiB", nodes=[11], redundancy=1)
    assert (stage.host(11).path("/exa/data/storage/dev.2") / "segments/0").is_dir()


def test_add_makes_a_disk(stage: Stage) -> None:
    """A new name makes a new disk; a path outside of /exa stays absolute."""
    place = stage.root / "far"
    place.mkdir()
    stage.run(
        "st_device_add",
        **_new(
            disk="temporary", devname=str(place), sector_size="8 KiB", seccount=100, ephemeral=True, direct_io=False
        ),
    )
    disk = stage.conf.nodes[11].disks["temporary"]
    assert (disk.devices, disk.ephemeral, disk.direct_io) == ((str(place),), True, False)
    info = stage.run("st_device_info", node_id=11, devname=str(place)).result
    assert (info["type"], info["hid"], info["sector_size"], info["num_sectors"]) == ("temporary", 1, "8 KiB", 100)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"devname": "dev.1"}, StorageDuplicate, "n11 has the device /exa/data/storage/dev.1 already"),
        ({"devname": "/exa/data/storage/dev.1"}, StorageDuplicate, "already"),
        ({"devname": "/dev/not-there"}, StorageNotFound, "/dev/not-there does not exist on n11"),
        ({"devname": "../../etc"}, InvalidParameter, "devname: .* cannot be a device"),
        ({"node": 99}, NotFound, "no node '99'"),
        ({"disk": "a b"}, InvalidParameter, "cannot name a disk"),
        ({"disk": "swap"}, WrongState, "is for swap"),
        ({"ephemeral": True}, WrongState, "ephemeral: disk 'disk1' of n11 has False"),
        ({"seccount": 2**45}, InsufficientSpace, "has room for"),
        ({"seccount": -1}, InvalidParameter, "minimum of 0"),
        ({"sector_size": "4096"}, InvalidParameter, "has no unit"),
    ],
)
def test_add_refuses(stage: Stage, given: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad call leaves configuration and node as they were."""
    node = stage.conf.nodes[11]
    swap = Disk(name="swap", component=Component.SWAP, devices=("sw",))
    stage.put(type(node)(id=11, name="n11", disks={**node.disks, "swap": swap}))
    conf, files = stage.conf, files_below(stage.root)
    with pytest.raises(error, match=message):
        stage.run("st_device_add", **_new(**given))
    assert stage.conf is conf
    assert files_below(stage.root) == files


def test_add_needs_its_node(stage: Stage) -> None:
    """Nothing is promised for a node that is away."""
    stage.states[11] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match="n11 is offline"):
        stage.run("st_device_add", **_new())


def test_add_rights(stage: Stage) -> None:
    """Storage administrators add devices, database administrators do not."""
    stage.run("st_device_add", by="stella", **_new())
    with pytest.raises(PermissionDenied):
        stage.run("st_device_add", by="ann", **_new(devname="dev.3"))


def test_add_plans_without_effect(stage: Stage) -> None:
    """A dry run shows the command and makes nothing."""
    files = files_below(stage.root)
    planned = stage.plan("st_device_add", **_new())
    assert [(command.name, command.node) for command in planned.commands] == [("storage.add_device", 11)]
    assert files_below(stage.root) == files


def test_info_is_the_documented_dictionary(stage: Stage) -> None:
    """A device is described as it is now."""
    assert stage.run("st_device_info", node_id=11, devname="/exa/data/storage/dev.1").result == {
        "name": "/exa/data/storage/dev.1", "hid": 0, "type": "disk1", "state": "ONLINE", "sector_size": "4 KiB",
        "num_sectors": 1024 * MIB // 4096, "read_only": False, "io_error": False, "crc_error": False,
    }  # fmt: skip
    (stage.host(11).path("/exa/data/storage/dev.1") / "superblock.json").write_text("garbage")
    damaged = stage.run("st_device_info", node_id=11, devname="dev.1").result
    assert (damaged["state"], damaged["crc_error"]) == ("IO_ERRORS", True)


def test_info_refuses(stage: Stage) -> None:
    """Unknown nodes and devices are named."""
    with pytest.raises(NotFound, match="no node '99'"):
        stage.run("st_device_info", node_id=99, devname="dev.1")
    with pytest.raises(StorageNotFound, match=r"n11 has no device '/exa/data/storage/dev.9'"):
        stage.run("st_device_info", node_id=11, devname="dev.9")
    stage.states[11] = NodeState.OFFLINE
    with pytest.raises(NodeOffline):
        stage.run("st_device_info", node_id=11, devname="dev.1")
