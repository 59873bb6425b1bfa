"""Writing a file into an archive volume: parts one after the other, each to all nodes of its share at once.

A node that fails is left out from then on: the file is short of a copy there, which ``repair`` makes up for. The upload
fails only when something of it would have no copy at all.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from operator import methodcaller
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog

from confd.model.errors import ConfDError, InsufficientSpace, NodeOffline, StorageDuplicate, WrongState
from confd.model.sizes import format_size
from confd.services.archive.index import Index, Part, Upload, describe
from confd.services.archive.layout import Layout
from confd.services.archive.placement import rank
from confd.services.archive.shelf import Lease
from confd.services.archive.stripes import Checksums, Data
from confd.services.backup.target import File

log = structlog.get_logger("archive")

R = TypeVar("R")

_BUFFER: Final = 1 << 20
_LOCAL_PIECE: Final = 64 << 10
_GRANT: Final = 16 << 20


class ArchiveWriter:
    """A file being written.

    :param leases: the right to write, by node, on all nodes of the volume that answer.
    :param local: this node.
    :param withdraw: deletes a file whose index got to some nodes only.
    """

    def __init__(
        self,
        layout: Layout,
        upload: Upload,
        leases: dict[int, Lease],
        local: int,
        withdraw: Callable[[str], None],
    ) -> None:
        self._layout, self._upload, self._leases, self._local = layout, upload, leases, local
        self._withdraw = withdraw
        self._parts: list[Part] = []
        self._holders: list[set[int]] = []
        self._part: _Open | None = None
        # Small pieces are collected; the leases write what they are given before they return.
        self._buffer, self._filled = bytearray(_BUFFER), 0
        self._size = 0
        self._ended = False

    def write(self, data: Data) -> None:
        """Append bytes.

        :raises InsufficientSpace: the volume is full.
        :raises NodeOffline: of something written no copy can be reached any longer.
        """
        self._check_open()
        rest = memoryview(data).cast("B")
        while rest:
            piece = rest[: self._room()]
            self._take(piece)
            rest = rest[len(piece) :]

    def commit(self, sha256: str = "") -> File:
        """Make the file durable and visible.

        :param sha256: digest of the content as the caller knows it; kept with the file.
        """
        self._check_open()
        self._seal()
        index = Index(
            id=self._upload.id,
            path=self._upload.path,
            size=self._size,
            modified=time.time(),
            stripe=self._layout.stripe,
            parts=tuple(self._parts),
            sha256=sha256,
        )
        try:
            self._publish(index)
        except ConfDError:
            self._withdraw(index.id)
            raise
        finally:
            self._end()
        return describe(index, {number: len(share.nodes) for number, share in enumerate(self._layout.shares)})

    def abort(self) -> None:
        """Give everything back."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _check_open(self) -> None:
        if self._ended:
            raise WrongState(f"{self._upload.path} is committed or aborted already; create another file")

    def _room(self) -> int:
        """Return how many bytes can be taken at once, at least one."""
        if self._part is None or self._part.taken == self._part.room:
            self._make_room()
        assert self._part is not None
        return self._part.room - self._part.taken

    def _make_room(self) -> None:
        part = self._part
        if part is not None:
            wanted = min(self._layout.partition, part.room + _GRANT)
            part.room = self._reserve(wanted)
            if part.taken < part.room:
                return
            self._seal()
        self._open()

    def _open(self) -> None:
        """Begin a part on the best share that has room."""
        full: set[int] = set()
        while shares := rank(self._layout.shares, self._free(), self._local, full):
            share = shares[0]
            nodes = {node for node in self._layout.shares[share].nodes if node in self._leases}
            self._part = _Open(share, nodes, Checksums(self._layout.stripe), _enough(nodes, self._local))
            self._each(methodcaller("open", share, len(self._parts)))
            self._part.room = self._reserve(min(self._layout.partition, _GRANT))
            if self._part.room:
                return
            self._part = None
            full.add(share)
        raise InsufficientSpace(
            f"volume {self._layout.name} is full after {format_size(self._size)} of {self._upload.path}; "
            "delete backups or use a larger volume"
        )

    def _free(self) -> dict[int, dict[int, int]]:
        free = self._ask(self._leases, lambda lease: lease.free())
        if not free:
            raise NodeOffline(f"no node of volume {self._layout.name} can be written")
        return free

    def _reserve(self, size: int) -> int:
        return min(self._each(lambda lease: lease.reserve(size)).values(), default=0)

    def _take(self, piece: memoryview) -> None:
        assert self._part is not None
        self._part.taken += len(piece)
        self._size += len(piece)
        if not self._filled and len(piece) >= self._part.enough:
            self._append(piece)
            return
        while piece:
            head = piece[: _BUFFER - self._filled]
            self._buffer[self._filled : self._filled + len(head)] = head
            self._filled += len(head)
            piece = piece[len(head) :]
            if self._filled == _BUFFER:
                self._flush()

    def _flush(self) -> None:
        if self._filled:
            filled, self._filled = self._filled, 0
            self._append(memoryview(self._buffer)[:filled])

    def _append(self, data: Data) -> None:
        assert self._part is not None
        self._part.checksums.add(data)
        self._each(lambda lease: lease.append(data))

    def _seal(self) -> None:
        """End the open part."""
        self._flush()
        if self._part is None:
            return
        table = self._part.checksums.table()
        self._each(lambda lease: lease.seal(table))
        self._parts.append(Part(self._part.share, self._part.taken, zlib.crc32(table)))
        self._holders.append(self._part.nodes & set(self._leases))
        self._part = None

    def _publish(self, index: Index) -> None:
        # In a fixed order, so that of two files of one path the same node decides.
        for node in sorted(self._leases):
            try:
                self._leases[node].publish(index)
            except StorageDuplicate:
                raise
            except ConfDError as error:
                self._lose(node, error)
        if not self._leases:
            raise NodeOffline(f"no node of volume {self._layout.name} can be written")

    def _each(self, act: Callable[[Lease], R]) -> dict[int, R]:
        """Do the same on all nodes of the open part that are left."""
        assert self._part is not None
        return self._ask([node for node in sorted(self._part.nodes) if node in self._leases], act)

    def _ask(self, nodes: Iterable[int], act: Callable[[Lease], R]) -> dict[int, R]:
        answers: dict[int, R] = {}
        for node in list(nodes):
            try:
                answers[node] = act(self._leases[node])
            except ConfDError as error:
                self._lose(node, error)
        return answers

    def _lose(self, node: int, error: ConfDError) -> None:
        """Go on without a node, if everything has a copy elsewhere."""
        log.warning("copy_lost", volume=self._layout.name, path=self._upload.path, node=node, error=error.message)
        self._leases.pop(node).close()
        holders = [*self._holders, *([self._part.nodes] if self._part and self._part.taken else [])]
        if any(not nodes & set(self._leases) for nodes in holders):
            raise _fatal(node, error)

    def _end(self) -> None:
        self._ended = True
        while self._leases:
            self._leases.popitem()[1].close()


class _Open:
    """The part being written: bytes taken so far, and bytes there is room for on all its nodes."""

    def __init__(self, share: int, nodes: set[int], checksums: Checksums, enough: int) -> None:
        self.share, self.nodes, self.checksums, self.enough = share, nodes, checksums, enough
        self.taken, self.room = 0, 0


def _enough(nodes: set[int], local: int) -> int:
    """Return how many bytes are worth a write of their own: messages to nodes cost more than calls of the system."""
    return _LOCAL_PIECE if nodes == {local} else _BUFFER


def _fatal(node: int, error: ConfDError) -> ConfDError:
    if isinstance(error, InsufficientSpace):
        return error
    return NodeOffline(f"n{node} failed while it had the only copy: {error.message}")
