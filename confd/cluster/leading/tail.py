"""The newest records of the journal, ready to be sent to nodes that lack them."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from confd.model.errors import Conflict
from confd.store.protocol import Position, Record, Store

_KEPT: Final = 4_096
_BATCH: Final = 512
_BATCH_BYTES: Final = 4 * 1024 * 1024

Frame = tuple[int, int, str, str, float, bytes]
"""A record as it is sent: term, n, kind, key, time, body."""


class Tail:
    """The end of the journal in memory; what is older is read from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque(maxlen=_KEPT)

    def extend(self, records: Sequence[Record]) -> None:
        """Add records that became durable, in order."""
        with self._lock:
            self._frames.extend(map(_frame, records))

    def clear(self) -> None:
        """Forget what is in memory; everything is read from the store then."""
        with self._lock:
            self._frames.clear()

    def after(self, n: int) -> list[Frame]:
        """Return the records after a number, as many as one message takes.

        :raises Conflict: some of them were pruned; the node needs a snapshot.
        """
        # The tail has no gaps; what a node lacks is at its right end, mostly little.
        with self._lock:
            if self._frames and self._frames[0][1] <= n + 1:
                lacking = list(itertools.islice(reversed(self._frames), self._frames[-1][1] - n))
                return _limited(reversed(lacking[-_BATCH:]))
        records = self._store.read(Position(0, n), _BATCH)
        if n < self._store.pruned():
            raise Conflict("records that a node needs were pruned meanwhile; it gets a snapshot")
        return _limited(map(_frame, records))


def _limited(frames: Iterable[Frame]) -> list[Frame]:
    """Take frames until there are enough bytes for one message."""
    taken: list[Frame] = []
    size = 0
    for frame in frames:
        taken.append(frame)
        size += len(frame[5])
        if size > _BATCH_BYTES:
            break
    return taken


def _frame(record: Record) -> Frame:
    return record.term, record.n, str(record.kind), record.key, record.at, bytes(record.body)
