"""How storage nodes and devices are described."""

from __future__ import annotations

import pytest

from confd.exaconf import Conf, Disk, Node
from confd.model.errors import StorageNotFound
from confd.model.states import DeviceState, NodeState
from confd.services.storage.description import Observed
from confd.services.storage.inventory import describe_device, describe_nodes, find_device
from confd.services.storage.space import DeviceStatus

NODE = Node(
    id=12,
    name="n12",
    disks={
        "disk1": Disk(name="disk1", devices=("dev.1", "/dev/sdb")),
        "disk2": Disk(name="disk2", devices=("dev.2",)),
    },
)
CONF = Conf(1, {NODE.key: NODE})
ONLINE = DeviceStatus(
    name="/exa/data/storage/dev.1",
    disk="disk1",
    state=DeviceState.ONLINE,
    sector_size=4096,
    sectors=1000,
    reserved=4096,
)


def test_devices_are_found_by_both_names() -> None:
    """A device has its number among all of the node, and its disk."""
    assert find_device(CONF, 12, "dev.1") == (0, "disk1")
    assert find_device(CONF, 12, "/exa/data/storage/dev.2") == (2, "disk2")
    with pytest.raises(
        StorageNotFound, match=r"n12 has no device '/dev/sdz'; it has /exa/data/storage/dev.1, /dev/sdb"
    ):
        find_device(CONF, 12, "/dev/sdz")


def test_a_device_is_the_documented_dictionary() -> None:
    """Sizes of sectors are texts, counts are numbers."""
    assert describe_device(ONLINE, 0) == {
        "name": "/exa/data/storage/dev.1", "hid": 0, "type": "disk1", "state": "ONLINE", "sector_size": "4 KiB",
        "num_sectors": 1000, "read_only": False, "io_error": False, "crc_error": False,
    }  # fmt: skip


def test_free_space_is_per_disk() -> None:
    """Devices that are not reported are offline and add nothing."""
    observed = Observed(states={12: NodeState.ONLINE}, devices={12: [ONLINE]})
    node = describe_nodes(CONF, observed)["0"]
    assert node["hdd_free_space"] == {"disk1": "3.8633 MiB", "disk2": "0 B"}
    assert (node["disk_space"], node["free_space"]) == ("3.8672 MiB", "3.8633 MiB")
    assert [device["state"] for device in node["hdds"]] == ["ONLINE", "OFFLINE", "OFFLINE"]
