"""The counter behind job ids: never gives a number twice, also after a crash."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from confd.cluster.identity import write_private

_BLOCK: Final = 1_000


class Counter:
    """Numbers from 1 on, reserved durably in blocks; what a crash leaves of a block is never used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserved = int(path.read_text()) if path.exists() else 0
        self._latest = self._reserved
        self._lock = threading.Lock()

    def next(self) -> int:
        """Return the next number."""
        with self._lock:
            if self._latest == self._reserved:
                write_private(self._path, str(self._reserved + _BLOCK).encode())
                self._reserved += _BLOCK
            self._latest += 1
            return self._latest
