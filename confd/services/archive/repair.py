"""What a node does to its own shelf so that it holds what it should.

Nothing here is told what to do: the node looks at all shelves and puts its own one right. Whatever breaks off is done
by the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import ConfDError, InsufficientSpace, StorageError
from confd.model.sizes import format_size
from confd.services.archive.archive import Archive
from confd.services.archive.directory import Directory
from confd.services.archive.index import Index, Upload
from confd.services.archive.layout import Layout
from confd.services.archive.opening import local_shelf, open_archive
from confd.services.archive.reader import PartReader
from confd.services.archive.shelf import Look
from confd.services.archive.stripes import Checksums
from confd.services.archive.survey import Lack, dead_uploads, forgettable, lacks, undeleted
from confd.services.archive.uploading import DirectoryLease

log = structlog.get_logger("archive")

_NEVER: Final = 1 << 30


class Repaired(msgspec.Struct, frozen=True):
    """What a repair did: bytes fetched, files that are still not whole, and why."""

    fetched: int = 0
    missing: int = 0
    message: str = ""


@operation("archive.look")
def look(host: Host, layout: Layout) -> Look:
    """Return what is on this node's shelf of a volume."""
    return local_shelf(host.node, host.root, layout).look()


@operation("archive.written")
def written_paths(host: Host, layout: Layout) -> list[str]:
    """Return the paths of files that are being written to this node's shelf."""
    try:
        return local_shelf(host.node, host.root, layout).written_paths()
    except StorageError:
        # What cannot be looked at takes no files either.
        return []


@operation("archive.repair")
def repair(host: Host, layout: Layout, seconds: float = 30.0, limit: int | None = None) -> Repaired:
    """Put this node's shelf of a volume right.

    :param seconds: begin no further file after this time.
    :param limit: most bytes a second that are fetched.
    """
    archive = open_archive(host.node, host.root, layout)
    shelf = archive.shelves[host.node]
    assert isinstance(shelf, Directory)
    try:
        looks = archive.looks()
        _clear(archive, shelf, host.node, looks)
        return _fetch_all(archive, shelf, host.node, lacks(layout, looks, host.node), seconds, limit)
    finally:
        archive.close()


def _clear(archive: Archive, shelf: Directory, node: int, before: dict[int, Look]) -> None:
    """Remove what is dead, and tombstones that nobody needs."""
    if doomed := undeleted(before, node):
        shelf.remove(doomed)
    after = archive.looks()
    if dead := dead_uploads(archive.layout, before, after) & set(before[node].left):
        shelf.clear(dead)
    if old := forgettable(archive.layout, after) & after[node].aged:
        shelf.forget(old)


def _fetch_all(
    archive: Archive, shelf: Directory, node: int, missing: list[Lack], seconds: float, limit: int | None
) -> Repaired:
    until, pace = time.monotonic() + seconds, _Pace(limit)
    fetched, left, message = 0, len(missing), ""
    for lack in missing:
        if time.monotonic() > until:
            break
        try:
            _fetch(archive, shelf, node, lack, pace)
        except ConfDError as error:
            message = message or error.message
            log.warning("file_not_repaired", volume=archive.name, path=lack.index.path, error=error.message)
        else:
            fetched, left = fetched + lack.size, left - 1
            log.info("file_repaired", volume=archive.name, path=lack.index.path, size=format_size(lack.size))
    return Repaired(fetched, left, message)


def _fetch(archive: Archive, shelf: Directory, node: int, lack: Lack, pace: _Pace) -> None:
    index = lack.index
    lease = shelf.begin(Upload(id=index.id, path=index.path, nodes=(), repair=True))
    try:
        for number in lack.parts:
            _fetch_part(archive, lease, node, index, number, pace)
        lease.publish(index)
    finally:
        lease.close()


def _fetch_part(archive: Archive, lease: DirectoryLease, node: int, index: Index, number: int, pace: _Pace) -> None:
    part, checksums = index.parts[number], Checksums(index.stripe)
    lease.open(part.share, number)
    if lease.reserve(part.length) < part.length:
        # A damaged copy makes way for a good one, but not before that was read to its end.
        _read_part(archive, node, index, number, lambda data: None, alone=True)
        lease.make_way()
    if lease.reserve(part.length) < part.length:
        raise InsufficientSpace(f"volume {archive.name} has no room on n{node} for {index.path}")

    def take(data: bytes) -> None:
        lease.append(data)
        checksums.add(data)
        pace.wait(len(data))

    _read_part(archive, node, index, number, take)
    lease.seal(checksums.table())


def _read_part(
    archive: Archive, node: int, index: Index, number: int, take: Callable[[bytes], None], *, alone: bool = False
) -> None:
    """Read a part from the other nodes, what is good of a damaged copy here at last (unless ``alone``)."""
    shelves = {other: shelf for other, shelf in archive.shelves.items() if other != node or not alone}
    reader = PartReader(archive.layout, index, number, shelves, lambda other: _NEVER if other == node else other)
    try:
        while data := reader.read():
            take(data)
    finally:
        reader.close()


class _Pace:
    """Holds fetching down to a number of bytes a second."""

    def __init__(self, limit: int | None) -> None:
        self._limit, self._begun, self._bytes = limit, time.monotonic(), 0

    def wait(self, size: int) -> None:
        self._bytes += size
        if self._limit is not None:
            ahead = self._bytes / self._limit - (time.monotonic() - self._begun)
            if ahead > 0:
                time.sleep(ahead)
