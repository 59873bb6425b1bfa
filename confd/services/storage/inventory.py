"""Storage nodes and devices as jobs describe them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confd.exaconf import Configuration
from confd.model.errors import StorageNotFound
from confd.model.sizes import format_size
from confd.model.states import DeviceState, NodeState
from confd.services.storage.description import Observed, logical_nodes
from confd.services.storage.places import device_view, node_devices
from confd.services.storage.space import DeviceStatus, usable


def describe_nodes(conf: Configuration, observed: Observed) -> dict[str, Any]:
    """Describe all storage nodes by logical number."""
    return {str(number): _describe_node(conf, observed, node, number) for node, number in logical_nodes(conf).items()}


def describe_device(status: DeviceStatus, hid: int) -> dict[str, Any]:
    """Describe one device; ``hid`` counts the devices of its node."""
    return {
        "name": status.name,
        "hid": hid,
        "type": status.disk,
        "state": str(status.state),
        "sector_size": format_size(status.sector_size),
        "num_sectors": status.sectors,
        "read_only": status.read_only,
        "io_error": status.io_error,
        "crc_error": status.crc_error,
    }


def find_device(conf: Configuration, node: int, device: str) -> tuple[int, str]:
    """Return number and disk of a node's device.

    :raises StorageNotFound: the node has no such device.
    """
    view, known = device_view(device), node_devices(conf, node)
    for hid, (disk, name) in enumerate(known):
        if device_view(name) == view:
            return hid, disk
    names = ", ".join(device_view(name) for _, name in known) or "none"
    raise StorageNotFound(f"n{node} has no device {view!r}; it has {names}")


def recovery_limit(conf: Configuration, node: int) -> int | None:
    """Return the limit of background recovery of a node in MiB/s: its own, else that of the cluster, if any."""
    known = conf.nodes.get(node)
    own = known.bg_rec_limit if known is not None else None
    return own or conf.storage.bg_rec_limit


def warn_threshold(conf: Configuration, node: int) -> int:
    """Return the percentage of used space at which a node is short of it: its own, else that of the cluster."""
    known = conf.nodes.get(node)
    own = known.space_warn_threshold if known is not None else None
    return conf.storage.space_warn_threshold if own is None else own


def _describe_node(conf: Configuration, observed: Observed, node: int, number: int) -> dict[str, Any]:
    devices = _devices(conf, observed, node)
    disks = dict.fromkeys(device.disk for device in devices)
    state = observed.states.get(node, NodeState.OFFLINE)
    return {
        "name": conf.nodes[node].name or f"n{node}",
        "nid": number,
        "phys_nid": node,
        "state": state.upper(),
        "bg_recovery_enabled": conf.storage.bg_rec_enabled,
        "bg_rec_limit": recovery_limit(conf, node) or 0,
        "space_warn_threshold": warn_threshold(conf, node),
        "disk_space": format_size(sum(usable(device.capacity) for device in devices)),
        "free_space": format_size(sum(device.free for device in devices)),
        "hdd_free_space": {
            disk: format_size(sum(device.free for device in devices if device.disk == disk)) for disk in disks
        },
        "hdds": [describe_device(device, hid) for hid, device in enumerate(devices)],
    }


def _devices(conf: Configuration, observed: Observed, node: int) -> Sequence[DeviceStatus]:
    """Return the devices in the order of EXAConf; what a node does not report is offline."""
    reported = {device.name: device for device in observed.devices.get(node, ())}
    return [
        reported.get(view, DeviceStatus(name=view, disk=disk, state=DeviceState.OFFLINE))
        for disk, name in node_devices(conf, node)
        for view in (device_view(name),)
    ]
