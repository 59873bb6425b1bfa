"""The embedded store keeps the promises of the Store protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from confd.store.protocol import Store
from confd.store.sqlite import SqliteStore
from tests.contract.store import NOW, StoreContract


class TestSqliteStore(StoreContract):
    """One SQLite file."""

    program: ClassVar[str] = "from confd.store.sqlite import SqliteStore\nstore = SqliteStore(place)"

    def open(self, place: Path, clock: Callable[[], float] = lambda: NOW) -> Store:
        """Open the file at a place."""
        store: Store = SqliteStore(place, clock=clock)
        return store
