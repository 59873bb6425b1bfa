"""Segments on a node: space of a volume, reserved on devices, with a directory to fill.

Order makes it safe against crashes: space is reserved before the directory is made, and given back after the
directory is gone. Every step tolerates that it ran before. A segment remembers the job that made it, so that the undo
of one job never takes what a later one made under the same number.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import InsufficientSpace, StorageDuplicate, StorageNotFound, StorageWrite
from confd.model.sizes import format_size
from confd.services.storage.places import SEGMENTS, device_home, node_devices
from confd.services.storage.space import usable
from confd.services.storage.superblock import (
    Allocated,
    Allocation,
    Superblock,
    as_storage_errors,
    locked,
    read_allocation,
    read_superblock,
    sync_directory,
    write_allocation,
)


class Extent(msgspec.Struct, frozen=True):
    """Space on one device."""

    device: str
    size: int


def segment_directory(host: Host, volume: str) -> Path:
    """Return the directory of a volume's segment on this node; everybody may pass through it, only root changes it.

    :raises StorageNotFound: the volume has no segment here.
    """
    conf = host.conf()
    known = conf.volumes.get(volume)
    if known is not None and known.id is not None:
        found = segment_of(host, known.id, [device for _, device in node_devices(conf, host.node, known.disk)])
        if found is not None:
            return found
    raise StorageNotFound(f"volume {volume!r} has no segment on {host.name}; st_volume_info shows where it has some")


def segment_of(host: Host, vid: int, devices: list[str]) -> Path | None:
    """Return the directory of a segment by the volume's id; the first of the devices that has one."""
    places = (device_home(host, device) / SEGMENTS / str(vid) for device in devices)
    return next((place for place in places if place.is_dir()), None)


@operation("storage.create_segment")
def create_segment(host: Host, volume: str, vid: int, maker: str, extents: list[Extent]) -> None:
    """Reserve space for a volume and make its directory on each device.

    :raises InsufficientSpace: a device has less than that left.
    """
    for extent in extents:
        home = device_home(host, extent.device)
        with as_storage_errors(host.name), locked(_present(home, extent.device)):
            _reserve(host, home, vid, extent, Allocated(volume, extent.size, maker))
            _make_directory(home / SEGMENTS / str(vid))
    host.say(f"segment {vid} of {volume}: {format_size(sum(extent.size for extent in extents))}")


@operation("storage.delete_segment")
def delete_segment(host: Host, vid: int, devices: list[str], maker: str | None = None) -> None:
    """Destroy a volume's data on this node and give its space back.

    :param maker: take only what this job made.
    """
    for device in devices:
        home = device_home(host, device)
        if read_superblock(home) is not None:
            with as_storage_errors(host.name), locked(home):
                _free(home, vid, maker)


@operation("storage.segment_usage")
def segment_usage(host: Host, vid: int, devices: list[str]) -> int:
    """Return the bytes that files of a segment take on this node."""
    places = [device_home(host, device) / SEGMENTS / str(vid) for device in devices]
    return sum(_size(place) for place in places)


def _present(home: Path, device: str) -> Path:
    if read_superblock(home) is None:
        raise StorageNotFound(f"{device} is not a storage device here; add it with st_device_add")
    return home


def _reserve(host: Host, home: Path, vid: int, extent: Extent, wanted: Allocated) -> None:
    superblock, allocation = read_superblock(home), read_allocation(home)
    known = allocation.segments.get(vid)
    if known == wanted:
        return
    if known is not None:
        raise StorageDuplicate(f"volume {known.volume!r} has a segment {vid} on {extent.device} of {host.name} already")
    if superblock is not None:
        _check_space(host, superblock, allocation, extent)
    write_allocation(home, Allocation({**allocation.segments, vid: wanted}))


def _check_space(host: Host, superblock: Superblock, allocation: Allocation, extent: Extent) -> None:
    if superblock.read_only:
        raise StorageWrite(f"device {extent.device} of {host.name} is read only; choose another disk")
    free = usable(superblock.capacity) - allocation.reserved
    if extent.size > free:
        raise InsufficientSpace(
            f"device {extent.device} (disk {superblock.disk}) of {host.name} has {format_size(free)} free, "
            f"needed are {format_size(extent.size)}; delete volumes or add a device"
        )


def _make_directory(place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    place.parent.chmod(0o711)
    place.mkdir(exist_ok=True)
    # Only the way through is open: the database's user reaches what it owns inside, and sees nothing else.
    place.chmod(0o711)
    sync_directory(place.parent)


def _free(home: Path, vid: int, maker: str | None) -> None:
    allocation = read_allocation(home)
    known = allocation.segments.get(vid)
    if known is None or maker not in (None, known.maker):
        return
    place = home / SEGMENTS / str(vid)
    if place.exists():
        shutil.rmtree(place)
        sync_directory(place.parent)
    rest = {number: allocated for number, allocated in allocation.segments.items() if number != vid}
    write_allocation(home, Allocation(rest))


def _size(place: Path) -> int:
    total = 0
    for path, _, files in os.walk(place):
        total += sum(_blocks(Path(path, name)) for name in files)
    return total


def _blocks(path: Path) -> int:
    # Files come and go while a database runs.
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0
