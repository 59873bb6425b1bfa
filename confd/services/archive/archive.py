"""An archive volume as a place for backups: the ``BackupTarget`` over all its shelves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import structlog

from confd.model.errors import (
    InvalidParameter,
    NodeOffline,
    StorageDuplicate,
    StorageError,
    StorageNotFound,
)
from confd.services.archive.index import Index, Upload, describe
from confd.services.archive.layout import Layout
from confd.services.archive.placement import room
from confd.services.archive.reader import ArchiveReader
from confd.services.archive.shelf import Lease, Look, Shelf
from confd.services.archive.survey import absent, by_path, dead_uploads, undeleted
from confd.services.archive.writer import ArchiveWriter
from confd.services.backup.target import File

log = structlog.get_logger("archive")

R = TypeVar("R")


class Archive:
    """The files of an archive volume.

    :param node: this node; its shelf is preferred.
    :param shelves: by node, of all nodes of the layout; those that cannot be used raise NodeOffline or StorageError.
    """

    def __init__(self, node: int, layout: Layout, shelves: Mapping[int, Shelf]) -> None:
        self.node, self.layout, self.shelves = node, layout, shelves

    @property
    def id(self) -> int:
        """Volume id."""
        return self.layout.id

    @property
    def name(self) -> str:
        """Volume name."""
        return self.layout.name

    def create(self, path: str) -> ArchiveWriter:
        """Begin a new file.

        :raises StorageDuplicate: there is a file of this path, or one is being written.
        """
        check_path(path)
        looks = self.looks()
        if path in by_path(looks):
            raise StorageDuplicate(f"volume {self.name} has a file {path} already; delete it first")
        # A shelf that was away may still have a deleted file of this path.
        self._ask(looks, lambda node: self._finish_deletions(node, looks))
        upload = Upload(id=uuid.uuid4().hex, path=path, nodes=tuple(looks))
        return ArchiveWriter(self.layout, upload, self._begin(upload), self.node, self._withdraw)

    def open(self, path: str) -> ArchiveReader:
        """Open a file.

        :raises StorageNotFound: there is none.
        """
        return ArchiveReader(self.layout, self.index(path), self.shelves, self.nearest)

    def files(self, prefix: str = "") -> list[File]:
        """List the files whose path begins with a prefix, sorted by path."""
        copies = {number: len(share.nodes) for number, share in enumerate(self.layout.shares)}
        looks = self.looks()
        return [
            describe(index, copies, _away(absent(self.layout, looks, index)))
            for path, index in by_path(looks).items()
            if path.startswith(prefix)
        ]

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are gone already are fine. Nodes that are away learn it at their return."""
        wanted, looks = set(paths), self.looks()
        doomed = [index.id for look in looks.values() for index in look.files if index.path in wanted]
        if doomed and not self._ask(looks, lambda node: self.shelves[node].remove(doomed)):
            raise NodeOffline(f"no node of volume {self.name} could delete files; start its nodes")

    def free(self) -> int:
        """Return how many more bytes fit."""
        return room(self.layout.shares, {node: look.free for node, look in self.looks().items()})

    def sweep(self) -> None:
        """Give back what dead writers left, and what of deleted files came back with a node."""
        before = self.looks()
        after = self.looks()
        dead = dead_uploads(self.layout, before, after)
        if dead:
            log.info("uploads_cleared", volume=self.name, uploads=len(dead))
            self._ask(after, lambda node: self.shelves[node].clear(dead))
        self._ask(after, lambda node: self._finish_deletions(node, after))

    def index(self, path: str) -> Index:
        """Return the index of a file.

        :raises StorageNotFound: there is none.
        """
        try:
            return by_path(self.looks())[path]
        except KeyError:
            raise StorageNotFound(f"volume {self.name} has no file {path}") from None

    def looks(self) -> dict[int, Look]:
        """Look at all shelves that can be reached.

        :raises NodeOffline: none can.
        """
        looks = self._ask(self.layout.nodes, lambda node: self.shelves[node].look())
        if not looks:
            raise NodeOffline(f"no node of volume {self.name} can be reached; start its nodes")
        return looks

    def nearest(self, node: int) -> int:
        """Order nodes: this one first."""
        return -1 if node == self.node else node

    def close(self) -> None:
        """Close connections to other nodes that are kept for the next call; it can be used again."""
        for shelf in self.shelves.values():
            shelf.close()

    def _begin(self, upload: Upload) -> dict[int, Lease]:
        leases: dict[int, Lease] = {}
        try:
            for node in upload.nodes:
                self._begin_on(node, upload, leases)
        except StorageDuplicate:
            for lease in leases.values():
                lease.close()
            raise
        if not leases:
            raise NodeOffline(f"no node of volume {self.name} can be written; start its nodes")
        return leases

    def _begin_on(self, node: int, upload: Upload, leases: dict[int, Lease]) -> None:
        try:
            leases[node] = self.shelves[node].begin(upload)
        except StorageDuplicate:
            raise
        except (NodeOffline, StorageError) as error:
            log.warning("shelf_not_used", volume=self.name, node=node, error=error.message)

    def _withdraw(self, file: str) -> None:
        self._ask(self.layout.nodes, lambda node: self.shelves[node].remove([file]))

    def _finish_deletions(self, node: int, looks: Mapping[int, Look]) -> None:
        if doomed := undeleted(looks, node):
            self.shelves[node].remove(doomed)

    def _ask(self, nodes: Iterable[int], act: Callable[[int], R]) -> dict[int, R]:
        """Do something on each node; those that fail are left out."""
        answers: dict[int, R] = {}
        for node in nodes:
            try:
                answers[node] = act(node)
            except (NodeOffline, StorageError) as error:
                log.info("shelf_not_used", volume=self.name, node=node, error=error.message)
        return answers


def _away(nodes: tuple[int, ...]) -> str:
    return f"{', '.join(f'n{node}' for node in nodes)} cannot be reached" if nodes else ""


def check_path(path: str) -> None:
    """Check the path of a new file.

    :raises InvalidParameter: not relative, or with empty, ``.`` or ``..`` steps, or with control characters.
    """
    steps = path.split("/")
    if any(step in ("", ".", "..") for step in steps) or not path.isprintable() or len(path.encode()) > 4096:
        raise InvalidParameter(f"{path!r} cannot name a file of an archive volume; give a path such as DB1/id_1/data")
