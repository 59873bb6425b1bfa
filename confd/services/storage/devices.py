"""Devices of a node: adding one, taking it back, and what it is like now."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from confd.cluster.host import EXA, Host, reporter
from confd.cluster.operations import operation
from confd.model.errors import (
    ConfDError,
    InsufficientSpace,
    InUse,
    InvalidParameter,
    StorageCorrupted,
    StorageDuplicate,
    StorageNotFound,
)
from confd.model.sizes import format_size
from confd.model.states import DeviceState
from confd.services.storage.places import SEGMENTS, device_home, device_path, device_view, node_devices
from confd.services.storage.space import DeviceStatus
from confd.services.storage.superblock import (
    OWN_FILES,
    Superblock,
    as_storage_errors,
    locked,
    read_allocation,
    read_superblock,
    remove_superblock,
    sync_directory,
    write_superblock,
)

_ORDINARY: Final = OWN_FILES | {"lost+found"}


class NewDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device to be added; ``sectors`` 0 takes what the device has. ``uuid`` tells it from any other."""

    name: str
    disk: str
    uuid: str
    sector_size: int = 4096
    sectors: int = 0
    read_only: bool = False
    use_crc: bool = True
    sync_crc: bool = True


@operation("storage.add_device", planned=lambda device: device["sectors"])
def add_device(host: Host, device: NewDevice) -> int:
    """Make a device ready for segments; return its number of sectors.

    :raises StorageDuplicate: another device lies there.
    :raises InsufficientSpace: its file system has less than wanted.
    """
    home = _home(host, device.name)
    if read_superblock(home) is None:
        # All that can be refused is refused before anything is made.
        wanted = _superblock(host, home, device)
        with as_storage_errors(host.name):
            _write(home, wanted)
    known = read_superblock(home)
    if known is None or known.uuid != device.uuid:
        disk, uuid = (known.disk, known.uuid) if known else ("unknown", "unknown")
        raise StorageDuplicate(
            f"{device.name} of {host.name} carries a device already (disk {disk}, uuid {uuid}); "
            f"to use it anew, delete the directory {home}"
        )
    host.say(f"{device_view(device.name)}: {format_size(known.capacity)}")
    return known.sectors


@operation("storage.remove_device")
def remove_device(host: Host, device: str, uuid: str) -> None:
    """Make a device an ordinary directory again, if it is the one meant.

    :raises InUse: it holds segments.
    """
    home = device_home(host, device)
    known = read_superblock(home)
    if known is None or known.uuid != uuid:
        return
    with as_storage_errors(host.name), locked(home):
        if read_allocation(home).segments:
            raise InUse(f"device {device} of {host.name} holds segments; move or delete its volumes first")
        if (home / SEGMENTS).is_dir():
            (home / SEGMENTS).rmdir()
        remove_superblock(home)


@operation("storage.device_status")
def device_status(host: Host, disk: str | None = None) -> list[DeviceStatus]:
    """Return the state of the node's devices, of one disk when given."""
    return [status_of(host, name, device) for name, device in node_devices(host.conf(), host.node, disk)]


@reporter("storage")
def report(host: Host) -> Any:
    """Report the devices of the node."""
    return msgspec.to_builtins([status_of(host, name, device) for name, device in node_devices(host.conf(), host.node)])


def status_of(host: Host, disk: str, device: str) -> DeviceStatus:
    """Look at a device now: superblock and table of allocations have to be there and whole."""
    view = device_view(device)
    try:
        home = device_home(host, device)
        known, reserved = read_superblock(home), read_allocation(home).reserved
    except StorageCorrupted as error:
        return DeviceStatus(name=view, disk=disk, state=DeviceState.IO_ERRORS, crc_error=True, message=error.message)
    except ConfDError as error:
        return DeviceStatus(name=view, disk=disk, state=DeviceState.OFFLINE, message=error.message)
    except OSError as error:
        return DeviceStatus(name=view, disk=disk, state=DeviceState.IO_ERRORS, io_error=True, message=str(error))
    if known is None:
        return DeviceStatus(name=view, disk=disk, state=DeviceState.OFFLINE, message=f"{view} has no superblock")
    return _online(view, disk, known, reserved)


def _online(view: str, disk: str, known: Superblock, reserved: int) -> DeviceStatus:
    return DeviceStatus(
        name=view,
        disk=disk,
        state=DeviceState.ONLINE,
        sector_size=known.sector_size,
        sectors=known.sectors,
        reserved=reserved,
        read_only=known.read_only,
    )


def _home(host: Host, device: str) -> Path:
    """Return the directory of a new device, which may not exist yet."""
    path = device_path(host, device)
    below = PurePosixPath(device_view(device)).is_relative_to(EXA)
    if not path.exists() and not below:
        raise StorageNotFound(f"{path} does not exist on {host.name}; make the directory or attach the block device")
    home = device_home(host, device)
    if home.exists() and not home.is_dir():
        raise InvalidParameter(f"{path} is neither a directory nor a file nor a block device")
    return home


def _write(home: Path, wanted: Superblock) -> None:
    _make_passable(home)
    home.chmod(home.stat().st_mode | 0o111)
    with locked(home):
        if read_superblock(home) is None:
            write_superblock(home, wanted)


def _make_passable(path: Path) -> None:
    # The database's user has to get through, so directories let everybody pass.
    if not path.exists():
        _make_passable(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o711)
        sync_directory(path.parent)


def _check_empty(home: Path, device: str) -> None:
    foreign = sorted(entry.name for entry in home.iterdir() if entry.name not in _ORDINARY)
    if foreign:
        raise StorageDuplicate(f"{device} holds other files ({', '.join(foreign[:3])}); give an empty directory")


def _superblock(host: Host, home: Path, device: NewDevice) -> Superblock:
    if home.exists():
        _check_empty(home, device.name)
    there = _bytes_there(device_path(host, device.name), home)
    sectors = device.sectors or there // device.sector_size
    if sectors * device.sector_size > there:
        raise InsufficientSpace(
            f"device {device.name} of {host.name} has room for {format_size(there)}, wanted are "
            f"{format_size(sectors * device.sector_size)}; give a smaller seccount, or 0 for all there is"
        )
    return Superblock(
        uuid=device.uuid,
        disk=device.disk,
        sector_size=device.sector_size,
        sectors=sectors,
        read_only=device.read_only,
        use_crc=device.use_crc,
        sync_crc=device.sync_crc,
    )


def _bytes_there(path: Path, home: Path) -> int:
    """Return how large a device can be: the length of a file, the free space of a file system."""
    if path.is_file():
        return path.stat().st_size
    while not home.exists():
        home = home.parent
    system = os.statvfs(home)
    return system.f_bavail * system.f_frsize
