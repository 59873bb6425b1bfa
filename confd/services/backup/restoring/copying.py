"""Copies directory trees: sharing blocks where the file system can, else byte by byte."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confd.model.errors import InsufficientSpace, StorageWrite

_FICLONE: Final = 0x40049409
_BLOCK: Final = 1 << 20
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_CHUNK: Final = 1 << 26
_CANNOT_SHARE: Final = frozenset(
    {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EBADF, errno.EPERM, errno.ETXTBSY}
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Room:
    """Bytes that a copy may still take.

    :param full: the error when they are used up.
    :param tell: called with the number of bytes that a copy is about to take; may end it with an error.
    """

    def __init__(self, left: int, full: str, tell: Callable[[int], None] = lambda _: None) -> None:
        self.taken = 0
        self._left, self._full, self._tell = left, full, tell

    def take(self, size: int) -> None:
        """Count bytes.

        :raises InsufficientSpace: there is not so much room.
        """
        self._tell(size)
        self.taken += size
        if self.taken > self._left:
            raise InsufficientSpace(self._full)


def copy_tree(
    source: Path,
    target: Path,
    room: Room,
    owner: tuple[int, int] | None = None,
    skip: Callable[[str], bool] = lambda _: False,
) -> None:
    """Copy what is below a directory; what vanishes meanwhile is left out, links stay links.

    :param target: the copy, an empty directory.
    :param owner: user and group of the copies; the daemon's own when left out.
    :param skip: whether to leave out a path, relative to the source.
    :raises InsufficientSpace: there is not enough room.
    """
    try:
        _copy_below(source, target, "", room, owner, skip)
    except OSError as error:
        raise as_storage_error(error, target) from error


def copy_file(source: Path, target: Path, room: Room, owner: tuple[int, int] | None = None) -> None:
    """Copy one file."""
    with source.open("rb") as read, os.fdopen(os.open(target, _NEW, 0o600), "wb") as write:
        room.take(os.fstat(read.fileno()).st_size)
        if owner is not None and os.getuid() == 0:
            os.fchown(write.fileno(), *owner)
        if not _share(read.fileno(), write.fileno()) and not _copy_inside(read.fileno(), write.fileno()):
            shutil.copyfileobj(read, write, _BLOCK)


def sync_tree(place: Path) -> None:
    """Make everything that was written to the file system of a directory durable."""
    library = ctypes.CDLL(None, use_errno=True)
    fd = os.open(place, os.O_RDONLY)
    try:
        if library.syncfs(fd):
            number = ctypes.get_errno()
            raise as_storage_error(OSError(number, os.strerror(number)), place)
    finally:
        os.close(fd)


def as_storage_error(error: OSError, place: Path) -> InsufficientSpace | StorageWrite:
    """Return the error of storage that an error of the system is."""
    if error.errno in _FULL:
        return InsufficientSpace(f"the file system of {place} is full; delete something or add a device")
    return StorageWrite(f"{place} cannot be written: {error}")


def _copy_below(
    source: Path, target: Path, path: str, room: Room, owner: tuple[int, int] | None, skip: Callable[[str], bool]
) -> None:
    with os.scandir(source / path) as entries:
        for entry in entries:
            inner = f"{path}/{entry.name}" if path else entry.name
            if skip(inner):
                continue
            try:
                _copy_entry(entry, source, target, inner, room, owner, skip)
            except FileNotFoundError:
                # A table was dropped meanwhile; the log says so, too.
                continue


def _copy_entry(
    entry: os.DirEntry[str],
    source: Path,
    target: Path,
    path: str,
    room: Room,
    owner: tuple[int, int] | None,
    skip: Callable[[str], bool],
) -> None:
    if entry.is_symlink():
        (target / path).symlink_to((source / path).readlink())
    elif entry.is_dir():
        (target / path).mkdir(mode=0o700)
        _copy_below(source, target, path, room, owner, skip)
    elif entry.is_file():
        copy_file(source / path, target / path, room, owner)
        return
    if owner is not None and os.getuid() == 0:
        os.chown(target / path, *owner, follow_symlinks=False)


def _share(source: int, target: int) -> bool:
    """Have two files share their blocks until one is written; tell whether the file system can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        return False
    return True


def _copy_inside(source: int, target: int) -> bool:
    """Have the kernel copy; tell whether it can. Both files stand at their beginning if not."""
    copied = 0
    try:
        while count := os.copy_file_range(source, target, _CHUNK):
            copied += count
    except OSError as error:
        if copied or error.errno not in _CANNOT_SHARE:
            raise
        return False
    # Some file systems copy nothing and say nothing.
    return copied > 0 or os.fstat(source).st_size == 0
