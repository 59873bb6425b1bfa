"""What a device says of itself: a superblock and a table of allocations, both with checksums.

Both are small JSON files in the device's directory. They are replaced as a whole (write, fsync, rename, fsync of the
directory), so a crash leaves the old or the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from confd.model.errors import StorageCorrupted, StorageWrite

T = TypeVar("T")

_SUPERBLOCK: Final = "superblock.json"
_ALLOCATION: Final = "allocation.json"
_LOCK: Final = "lock"
#: The files of a device; those that a crash left half written count, too.
OWN_FILES: Final = frozenset({_SUPERBLOCK, _ALLOCATION, _LOCK, "superblock.new", "allocation.new"})


class Superblock(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is; fixed when it is added."""

    uuid: str
    disk: str
    sector_size: int
    sectors: int
    read_only: bool = False
    use_crc: bool = True
    sync_crc: bool = True
    format: int = 1

    @property
    def capacity(self) -> int:
        """Size of the device in bytes, metadata included."""
        return self.sector_size * self.sectors


class Allocated(msgspec.Struct, frozen=True):
    """Space that a segment has on a device; ``maker`` is the job that reserved it."""

    volume: str
    size: int
    maker: str


class Allocation(msgspec.Struct, frozen=True):
    """All space given away on a device, by volume id."""

    segments: dict[int, Allocated] = {}

    @property
    def reserved(self) -> int:
        """Bytes given away."""
        return sum(allocated.size for allocated in self.segments.values())


class _Checked(msgspec.Struct, frozen=True):
    content: msgspec.Raw
    checksum: str


def read_superblock(home: Path) -> Superblock | None:
    """Return the superblock of a device's directory; None when there is none.

    :raises StorageCorrupted: it is damaged.
    """
    return _read(home / _SUPERBLOCK, Superblock)


def write_superblock(home: Path, superblock: Superblock) -> None:
    """Put a superblock on a device; durable on return."""
    _write(home / _SUPERBLOCK, superblock)


def remove_superblock(home: Path) -> None:
    """Make a directory an ordinary one again."""
    for name in sorted(OWN_FILES):
        (home / name).unlink(missing_ok=True)
    sync_directory(home)


def read_allocation(home: Path) -> Allocation:
    """Return what is given away on a device.

    :raises StorageCorrupted: the table is damaged.
    """
    return _read(home / _ALLOCATION, Allocation) or Allocation()


def write_allocation(home: Path, allocation: Allocation) -> None:
    """Replace the table of allocations; durable on return."""
    _write(home / _ALLOCATION, allocation)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Keep other threads and processes from changing the device meanwhile."""
    with (home / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def as_storage_errors(node: str) -> Iterator[None]:
    """Say what the system refused, such as writing to a full file system, as an error of storage.

    :raises StorageWrite: names the node and what the system said.
    """
    try:
        yield
    except OSError as error:
        raise StorageWrite(f"storage of {node} cannot be changed: {error}; check its file system") from None


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        checked = msgspec.json.decode(raw, type=_Checked)
        if checked.checksum != _checksum(bytes(checked.content)):
            raise StorageCorrupted(f"the checksum of {path} does not match: restore the file or replace the device")
        return msgspec.json.decode(checked.content, type=kind)
    except msgspec.DecodeError as error:
        raise StorageCorrupted(f"{path} cannot be read ({error}): restore the file or replace the device") from None


def _write(path: Path, value: Any) -> None:
    content = msgspec.json.encode(value)
    body = msgspec.json.encode(_Checked(msgspec.Raw(content), _checksum(content)))
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
