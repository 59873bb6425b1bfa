"""The store as one master uses it, for as long as it is master.

A node may give its place away and take it again without a restart. What still runs of its earlier time must not
write under the later one: it holds the earlier tenure, which is over.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any, cast

from confd.store.protocol import Kind, Position, Store, StoreFailed


class Tenure:
    """A store whose writer can be ended for good; everything else is the store's."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock, self._over = store, threading.Lock(), False

    def append(
        self, kind: Kind, key: str, body: Any, at: float | None = None, *, lazy: bool = False
    ) -> Future[Position]:
        """Append one record, unless the tenure is over."""
        with self._lock:
            if not self._over:
                return self._store.append(kind, key, body, at, lazy=lazy)
        refused: Future[Position] = Future()
        refused.set_exception(_over())
        return refused

    def flush(self) -> None:
        """Return when everything appended so far is durable."""
        if self._over:
            raise _over()
        self._store.flush()

    def resign(self) -> None:
        """End the tenure; a later one of this node is not touched."""
        with self._lock:
            if not self._over:
                self._over = True
                self._store.resign()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def tenure(store: Store) -> Store:
    """Return the store for one time of mastership."""
    return cast("Store", Tenure(store))


def _over() -> StoreFailed:
    return StoreFailed("this node is no longer the master that this was appended by")
