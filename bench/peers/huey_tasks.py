"""The queue of huey over SQLite with fsync, and its one task, which does nothing."""

from __future__ import annotations

from typing import Any, Final

from huey import SqliteHuey

_BUSY_SECONDS: Final = 60


def open_huey(path: str) -> tuple[Any, Any]:
    """Open the queue in a file; it and its task."""
    queue = SqliteHuey("bench", filename=path, fsync=True, timeout=_BUSY_SECONDS)
    return queue, queue.task(name="nothing")(_nothing)


def _nothing() -> int:
    return 0
