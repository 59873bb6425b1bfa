"""Storage devices of nodes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from confd.exaconf import Component, Disk, Node
from confd.jobs import locks
from confd.jobs.observing import ask
from confd.jobs.types import DeviceName, DiskName, NodeId, SectorCount, SectorSize
from confd.model.errors import StorageDuplicate, StorageNotFound, WrongState
from confd.model.sizes import parse_size
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, Allow, job
from confd.services.storage.devices import NewDevice, add_device, device_status, remove_device
from confd.services.storage.inventory import describe_device, find_device
from confd.services.storage.places import device_name, device_view, node_devices

_READERS: Final = Allow(users=("root",), groups=("root", "exastoradm", "exaadm"))


@job(READ, allow=_READERS)
def st_device_info(ctx: Context, node_id: NodeId, devname: DeviceName) -> dict[str, Any]:
    """Describe a device of a node as it is now.

    :param node_id: Id of the node, such as 11.
    :param devname: Device: a path below /exa/data/storage, a directory, or a block device such as /dev/sdc.

    Examples:
    {node_id: 11, devname: /exa/data/storage/dev.1}

    """
    ctx.conf.require_node(node_id)
    hid, disk = find_device(ctx.committed, node_id, devname)
    view = device_view(devname)
    for status in ask(ctx, device_status.on(node_id, disk=disk)):
        if status.name == view:
            return describe_device(status, hid)
    raise StorageNotFound(f"n{node_id} has not taken {view} in yet; ask again in a moment")


@job(
    MODIFY,
    allow=Allow(groups=("root", "exaadm", "exastoradm")),
    locks=[locks.node("node"), locks.space("node", "disk")],
)
def st_device_add(
    ctx: Context,
    node: NodeId,
    disk: DiskName,
    devname: DeviceName,
    *,
    sector_size: SectorSize = "4 KiB",
    seccount: SectorCount = 0,
    read_only: bool = False,
    sync_crc: bool = True,
    use_crc: bool = True,
    ephemeral: bool | None = None,
    direct_io: bool | None = None,
) -> None:
    """Add a storage device to a disk of a node; its space can be used at once.

    A device is a directory with a capacity fixed now: an empty or new one, a file (which gives its length and is backed
    by <file>.d), or a block device with a mounted file system.

    :param node: Id of the node, such as 11.
    :param disk: Disk (device group) to put the device in; a new name makes a new disk.
    :param devname: Device: a path below /exa/data/storage, a directory, or a block device such as /dev/sdc.
    :param sector_size: Size of a sector with unit.
    :param seccount: Number of sectors; 0 takes what there is.
    :param read_only: The device may only be read.
    :param sync_crc: Write checksums synchronously.
    :param use_crc: Keep checksums for the device.
    :param ephemeral: The device loses its content with the instance.
    :param direct_io: Bypass the page cache.

    Examples:
    {node: 11, disk: default, devname: /exa/data/storage/dev.1, sector_size: 4 KiB, seccount: 13107200, read_only: false}
    {node: 11, devname: /dev/sdc, disk: temporary}

    """  # noqa: E501 - one example per line
    section, name = ctx.conf.require_node(node), device_name(devname)
    if any(name == device_name(known) for _, known in node_devices(ctx.committed, node)):
        raise StorageDuplicate(f"n{node} has the device {device_view(name)} already; st_node_list shows all")
    changed = _with_device(section, disk, name, ephemeral, direct_io)
    device = NewDevice(
        name=name,
        disk=disk,
        uuid=ctx.token(32),
        sector_size=parse_size(sector_size),
        sectors=seccount,
        read_only=read_only,
        use_crc=use_crc,
        sync_crc=sync_crc,
    )
    ctx.run(add_device.on(node, device=device), undo=remove_device.on(node, device=name, uuid=device.uuid))
    ctx.conf.put(changed)


def _with_device(node: Node, disk: str, device: str, ephemeral: bool | None, direct_io: bool | None) -> Node:
    known = node.disks.get(disk, Disk(name=disk, ephemeral=bool(ephemeral), direct_io=direct_io is not False))
    if known.component is not Component.EXASTORAGE:
        raise WrongState(f"disk {disk!r} of n{node.id} is for {known.component}, not for storage; choose another name")
    for option, wanted, has in (
        ("ephemeral", ephemeral, known.ephemeral),
        ("direct_io", direct_io, known.direct_io),
    ):
        if wanted is not None and wanted != has:
            raise WrongState(f"{option}: disk {disk!r} of n{node.id} has {has} for all its devices; leave it out")
    grown = msgspec.structs.replace(known, devices=(*known.devices, device))
    return msgspec.structs.replace(node, disks={**node.disks, disk: grown})
