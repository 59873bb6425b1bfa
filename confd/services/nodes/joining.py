"""What happens on a node that joins: its first device, while the node is still out of service."""

from __future__ import annotations

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.services.storage.devices import NewDevice, add_device, remove_device


@operation("nodes.first_device", planned=lambda device: device["sectors"])
def add_first_device(host: Host, device: NewDevice) -> int:
    """Make the first device of a node; its number of sectors."""
    sectors: int = add_device.function(host, device)
    return sectors


@operation("nodes.take_back_device")
def remove_first_device(host: Host, device: str, uuid: str) -> None:
    """Take the first device back, if it is the one meant."""
    remove_device.function(host, device, uuid)
