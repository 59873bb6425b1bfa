"""The shelf: what one node holds of an archive volume, and what can be done with it.

Two implementations: the node's own directories, and another node's over its node port.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from confd.services.archive.index import Index, Upload
from confd.services.archive.stripes import Data


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a shelf at one moment.

    ``held`` are the numbers of good copies by id of the file. ``writing`` are ids that somebody holds a lock for;
    ``left`` are ids of which there is something without lock or index, with the nodes that could have the index.
    ``aged`` are tombstones old enough to be dropped. ``free`` are the bytes left by share, ``used`` those taken.
    """

    files: tuple[Index, ...] = ()
    gone: frozenset[str] = frozenset()
    aged: frozenset[str] = frozenset()
    held: dict[str, tuple[int, ...]] = {}
    writing: frozenset[str] = frozenset()
    left: dict[str, tuple[int, ...]] = {}
    free: dict[int, int] = {}
    used: dict[int, int] = {}


class Copy(msgspec.Struct, frozen=True):
    """Names one copy on a shelf: file, number and share of the part."""

    file: str
    number: int
    share: int


class Lease(Protocol):
    """The right to write one upload on one shelf; holds its lock. One part is open at a time."""

    def free(self) -> dict[int, int]:
        """Return the bytes left by share."""

    def open(self, share: int, number: int) -> None:
        """Begin a copy of a part; one that is open and not sealed is given up."""

    def reserve(self, size: int) -> int:
        """Make room for a number of bytes in all; return how many there is room for now."""

    def append(self, data: Data) -> None:
        """Write the next bytes; room was reserved."""

    def seal(self, table: bytes) -> None:
        """Make the open copy durable, with its table, and give back the room it did not need."""

    def publish(self, index: Index) -> None:
        """Make the file exist here.

        :raises StorageDuplicate: there is another file of this path.
        """

    def close(self) -> None:
        """End: give everything back unless published."""


class Source(Protocol):
    """A copy that is being read from an offset on."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, empty at the end."""

    def close(self) -> None:
        """End reading."""


class Shelf(Protocol):
    """One node's part of an archive volume.

    Every method raises NodeOffline when the node does not answer, and StorageError when its disk fails.
    """

    def look(self) -> Look:
        """Return what is there."""

    def begin(self, upload: Upload) -> Lease:
        """Begin an upload.

        :raises StorageDuplicate: there is a file of this path, or one is being written.
        """

    def table(self, copy: Copy) -> bytes:
        """Return the table of a copy."""

    def read(self, copy: Copy, offset: int) -> Source:
        """Read a copy from an offset."""

    def suspect(self, copy: Copy, index: Index, offset: int) -> None:
        """Look at the stripe at an offset again; a copy that is bad there is not counted any longer."""

    def remove(self, files: Iterable[str]) -> None:
        """Delete files for ever: tombstones first, then indexes and copies."""

    def clear(self, uploads: Iterable[str]) -> None:
        """Remove what is left of dead uploads; those with a lock or an index are left alone."""

    def forget(self, files: Iterable[str]) -> None:
        """Drop tombstones that no node needs any longer."""

    def close(self) -> None:
        """Close connections that are kept for the next call."""
