"""Reading a file of an archive volume: every stripe is checked, and taken from another copy where it is bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from confd.model.errors import ConfDError, NodeOffline, StorageCorrupted
from confd.model.naming import names
from confd.services.archive.index import Index
from confd.services.archive.layout import Layout
from confd.services.archive.shelf import Copy, Shelf, Source
from confd.services.archive.stripes import Table, table_of

log = structlog.get_logger("archive")

_AT_ONCE: Final = 1 << 20


class ArchiveReader:
    """A file being read.

    :param shelves: by node; those that cannot be reached raise NodeOffline.
    :param order: nodes in the order in which copies are tried.
    """

    def __init__(self, layout: Layout, index: Index, shelves: Mapping[int, Shelf], order: Callable[[int], int]) -> None:
        self._layout, self._index, self._shelves, self._order = layout, index, shelves, order
        self._number = -1
        self._part: PartReader | None = None
        self._ready = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that are ready when negative; empty at the end.

        :raises StorageCorrupted: no copy of the next stripe is good.
        :raises NodeOffline: no node with a copy answers.
        """
        while not self._ready:
            if self._part is None:
                self._number += 1
                if self._number == len(self._index.parts):
                    self._number -= 1
                    return b""
                self._part = PartReader(self._layout, self._index, self._number, self._shelves, self._order)
            self._ready = memoryview(self._part.read())
            if not self._ready:
                self._part.close()
                self._part = None
        taken = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(taken) :]
        return bytes(taken)

    def close(self) -> None:
        """End reading."""
        if self._part is not None:
            self._part.close()
            self._part = None
        self._number, self._ready = len(self._index.parts) - 1, memoryview(b"")


class PartReader:
    """One part being read, from any of its copies."""

    def __init__(
        self,
        layout: Layout,
        index: Index,
        number: int,
        shelves: Mapping[int, Shelf],
        order: Callable[[int], int],
    ) -> None:
        self._layout, self._index, self._shelves = layout, index, shelves
        self._part = index.parts[number]
        self._copy = Copy(index.id, number, self._part.share)
        self._waiting = sorted((node for node in layout.shares[self._part.share].nodes if node in shelves), key=order)
        self._opened: dict[int, _OpenCopy] = {}
        self._failed: dict[int, ConfDError] = {}
        self._bad: set[int] = set()
        self._offset = 0
        stripe = index.stripe
        self._step = max(stripe, _AT_ONCE // stripe * stripe)

    def read(self) -> bytes:
        """Return the next stripes, checked; empty at the end."""
        wanted = min(self._step, self._part.length - self._offset)
        if not wanted:
            return b""
        for node in self._candidates():
            if (data := self._try(node, wanted)) is not None:
                self._offset += wanted
                return data
        if wanted > self._index.stripe:
            # Each copy is damaged somewhere here: look at every stripe on its own.
            return self._stripe_by_stripe(wanted)
        raise self._no_copy()

    def close(self) -> None:
        """End reading."""
        for opened in self._opened.values():
            opened.close()
        self._opened.clear()

    def _candidates(self) -> list[int]:
        return [node for node in self._waiting if node not in self._failed]

    def _try(self, node: int, wanted: int) -> bytes | None:
        try:
            opened = self._open(node)
            data = opened.read(self._offset, wanted)
        except ConfDError as error:
            self._fail(node, error)
            return None
        bad = opened.table.bad(self._offset, data, wanted)
        if bad is None:
            return data
        self._report(node, bad)
        return None

    def _stripe_by_stripe(self, wanted: int) -> bytes:
        step, self._step = self._step, self._index.stripe
        try:
            end = self._offset + wanted
            pieces = []
            while self._offset < end:
                pieces.append(self.read())
            return b"".join(pieces)
        finally:
            self._step = step

    def _open(self, node: int) -> _OpenCopy:
        if node not in self._opened:
            shelf, part = self._shelves[node], self._part
            table = table_of(shelf.table(self._copy), part.check, self._index.stripe, part.length)
            if table is None:
                self._report(node, 0)
                raise StorageCorrupted(f"the checksums of a copy on n{node} are damaged")
            self._opened[node] = _OpenCopy(shelf, self._copy, table)
        return self._opened[node]

    def _fail(self, node: int, error: ConfDError) -> None:
        self._failed[node] = error
        if (opened := self._opened.pop(node, None)) is not None:
            opened.close()

    def _report(self, node: int, offset: int) -> None:
        # What is damaged once is tried last from now on.
        self._waiting.remove(node)
        self._waiting.append(node)
        if node in self._bad:
            return
        self._bad.add(node)
        log.warning("copy_damaged", volume=self._layout.name, path=self._index.path, node=node, offset=offset)
        try:
            self._shelves[node].suspect(self._copy, self._index, offset)
        except ConfDError as error:
            log.info("damage_not_noted", node=node, error=error.message)

    def _no_copy(self) -> ConfDError:
        where = f"{self._index.path} of volume {self._layout.name}"
        away = [node for node, error in self._failed.items() if isinstance(error, NodeOffline)]
        away += [node for node in self._layout.shares[self._part.share].nodes if node not in self._waiting]
        if away:
            return NodeOffline(f"{where} has a copy on {names(away)}, which cannot be reached; start these nodes")
        reasons = [f"damaged on {names(sorted(self._bad))}"] if self._bad else []
        reasons += [error.message for error in self._failed.values()]
        return StorageCorrupted(
            f"no good copy of {where} is left at byte {self._offset} of part {self._copy.number} "
            f"({'; '.join(reasons)}); use another backup"
        )


class _OpenCopy:
    """A copy open on one shelf; reads go on where the last one ended, or begin anew elsewhere."""

    def __init__(self, shelf: Shelf, copy: Copy, table: Table) -> None:
        self._shelf, self._copy, self.table = shelf, copy, table
        self._source: Source | None = None
        self._at = 0

    def read(self, offset: int, size: int) -> bytes:
        if self._source is None or self._at != offset:
            self.close()
            self._source, self._at = self._shelf.read(self._copy, offset), offset
        data = self._source.read(size)
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        self._at += len(data)
        return data

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
