"""Where devices and segments lie on a node.

A device is named as in EXAConf: relative to ``/exa/data/storage``, or by an absolute path. Its directory (*home*) is

* the directory itself, made when it is below /exa and does not exist yet,
* ``<file>.d`` for a regular file,
* the mount point for a block device.

Below it: ``superblock.json``, ``allocation.json`` and ``segments/<volume id>/``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

from confd.cluster.host import EXA, Host
from confd.exaconf import Component, Configuration
from confd.model.errors import InvalidParameter, StorageNotFound

STORAGE: Final = EXA / "data" / "storage"
SEGMENTS: Final = "segments"
_MOUNTS: Final = Path("/proc/self/mounts")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def check_device(name: str) -> None:
    """Check the name of a device.

    :raises InvalidParameter: it leaves the directory, or EXAConf could not hold it.
    """
    pure = STORAGE / name
    if ".." in pure.parts or not name.strip() or pure == STORAGE or any(char in name for char in ",\n\r\0"):
        raise InvalidParameter(f"{name!r} cannot be a device: give a path below {STORAGE}, a directory or /dev/...")


def device_view(name: str) -> str:
    """Return a device's path as nodes see it: ``dev.1`` is ``/exa/data/storage/dev.1``."""
    return str(STORAGE / name)


def device_name(view: str) -> str:
    """Return how EXAConf names a device: relative to /exa/data/storage where that is possible."""
    pure = PurePosixPath(device_view(view))
    return str(pure.relative_to(STORAGE)) if pure.is_relative_to(STORAGE) else str(pure)


def device_path(host: Host, name: str) -> Path:
    """Return the path behind a device; devices alone may lie outside of the node's root."""
    check_device(name)
    view = device_view(name)
    return host.path(view) if PurePosixPath(view).is_relative_to(EXA) else Path(view)


def device_home(host: Host, name: str) -> Path:
    """Return the directory of a device.

    :raises StorageNotFound: a block device that is not mounted.
    """
    path = device_path(host, name)
    if path.is_block_device():
        return _mounted(path)
    return path.with_name(f"{path.name}.d") if path.is_file() else path


def node_devices(conf: Configuration, node: int, disk: str | None = None) -> list[tuple[str, str]]:
    """Return (disk, device) of a node for storage, in the order of EXAConf; of one disk when given."""
    known = conf.nodes.get(node)
    return [
        (entry.name, device)
        for entry in (known.disks.values() if known else ())
        if entry.component is Component.EXASTORAGE and disk in (None, entry.name)
        for device in entry.devices
    ]


def mount_point(device: Path, mounts: str) -> Path | None:
    """Find where a block device is mounted in a table like /proc/self/mounts."""
    wanted = device.stat().st_rdev
    for line in mounts.splitlines():
        place = Path(_ESCAPE.sub(lambda code: chr(int(code[1], 8)), line.split(" ")[1]))
        if place.is_dir() and place.stat().st_dev == wanted:
            return place
    return None


def _mounted(device: Path) -> Path:
    place = mount_point(device, _MOUNTS.read_text())
    if place is None:
        raise StorageNotFound(
            f"the block device {device} is not mounted: make a file system on it (mkfs.xfs {device}), "
            "mount it, and keep it in /etc/fstab"
        )
    return place
