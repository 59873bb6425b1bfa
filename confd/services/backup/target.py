"""Where backups are kept: files by path, streamed in and out; archive volumes now, remote volumes the same way.

All calls block; a target is used from worker threads and worker processes, one writer or reader per file.
Questions and answers that every implementation keeps to (one contract suite checks them):

* When does a file exist? From the moment ``Writer.commit`` returned, whole; before it nobody sees any of it.
* What is left of a writer that was aborted, or whose process died? Nothing that is listed or readable; its space is
  given back, at the latest by the next ``sweep``.
* What if the path exists already? ``create`` raises StorageDuplicate; nothing is overwritten.
* What if a copy is damaged or its node is away? Readers take another copy; without a good one they raise
  StorageCorrupted or NodeOffline. What was read before is what was written.
* What if the volume is full? ``write`` raises InsufficientSpace; the writer can only be aborted then.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

import msgspec


class File(msgspec.Struct, frozen=True):
    """A file of a target: relative path with ``/``, size and space used by all copies in bytes, UTC seconds.

    ``away`` says which nodes have to return before it can be read; empty when it can be read now.
    """

    path: str
    size: int
    used: int
    modified: float
    sha256: str = ""
    away: str = ""


class Writer(Protocol):
    """A file being written. Leaving the ``with`` block without ``commit`` aborts it."""

    def write(self, data: bytes) -> None:
        """Append bytes.

        :raises InsufficientSpace: the volume is full.
        :raises NodeOffline: fewer copies than one can be written.
        """

    def commit(self, sha256: str = "") -> File:
        """Make the file durable and visible; return what it is.

        :param sha256: digest of the content, as far as the caller knows it; kept with the file.
        """

    def abort(self) -> None:
        """Give everything back; fine when done already."""

    def __enter__(self) -> Self:
        """Return the writer itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort unless committed."""


class Reader(Protocol):
    """A file being read, from its beginning, checked on the way."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, empty at the end.

        :raises StorageCorrupted: no copy of the next stripe is good.
        """

    def close(self) -> None:
        """End reading."""


class BackupTarget(Protocol):
    """A volume that takes backups."""

    @property
    def id(self) -> int:
        """Volume id as in backup ids: small for archive volumes, from 10000 on for remote ones."""

    @property
    def name(self) -> str:
        """Volume name."""

    def create(self, path: str) -> Writer:
        """Begin a new file.

        :raises StorageDuplicate: there is a file of this path.
        """

    def open(self, path: str) -> Reader:
        """Open a file.

        :raises StorageNotFound: there is none.
        """

    def files(self, prefix: str = "") -> list[File]:
        """List the files whose path begins with a prefix, sorted by path."""

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are gone already are fine. Nodes that are away give the space back on return."""

    def free(self) -> int | None:
        """Return how many more bytes fit, None when there is no limit."""

    def sweep(self) -> None:
        """Give back what dead writers left."""
