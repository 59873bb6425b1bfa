"""Stage changes of jobs, for clients that subscribe."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

_KEPT = 10_000


class Event(msgspec.Struct, frozen=True):
    """A job reached a stage. ``cursor`` counts events of this master."""

    cursor: int
    job_id: str
    job_name: str
    stage: str
    at: float


class Events:
    """The latest stage changes, oldest forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._cursor = 0
        self._waiting: set[Callable[[], None]] = set()

    @property
    def cursor(self) -> int:
        """The cursor of the newest event."""
        return self._cursor

    def publish(self, job_id: str, job_name: str, stage: str) -> None:
        """Add an event and wake whoever waits."""
        with self._lock:
            self._cursor += 1
            self._events.append(Event(self._cursor, job_id, job_name, str(stage), self._clock()))
            woken, self._waiting = self._waiting, set()
        for wake in woken:
            wake()

    def after(self, cursor: int, jobs: Sequence[str] = ()) -> tuple[int, list[dict[str, Any]]]:
        """Return the newest cursor and the events after one, of some jobs or of all.

        A cursor from the future is one of an earlier master: everything is new then.
        """
        with self._lock:
            newest = self._cursor
            known = cursor if cursor <= newest else 0
            found = [event for event in self._events if event.cursor > known]
        wanted = [event for event in found if not jobs or event.job_id in jobs]
        return newest, [msgspec.to_builtins(event) for event in wanted]

    def wake_on_next(self, wake: Callable[[], None]) -> None:
        """Call back once, from any thread, at the next event."""
        with self._lock:
            self._waiting.add(wake)
