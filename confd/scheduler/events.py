"""Stage changes of jobs, for clients that subscribe."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from confd.store.terms import round_of

_KEPT = 10_000
_ROUND = 1 << 20
_ROUNDS = 1 << 10


class Event(msgspec.Struct, frozen=True):
    """A job reached a stage. ``cursor`` counts events of this master, from the round of its term on (``Events``)."""

    cursor: int
    job_id: str
    job_name: str
    stage: str
    at: float


class Events:
    """The latest stage changes under a master, oldest forgotten first.

    :param term: of the master. Its cursors are others than those of the last masters, so that a subscriber who comes
        with an old one is given everything of the new master.
    """

    def __init__(self, clock: Callable[[], float] = time.time, term: int = 0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=_KEPT)
        # Clients of XML-RPC cannot send numbers of more than 31 bits.
        self._first = self._cursor = round_of(term) % _ROUNDS * _ROUND
        self._waiting: set[Callable[[], None]] = set()
        self.closed = False

    @property
    def cursor(self) -> int:
        """The cursor of the newest event."""
        return self._cursor

    def publish(self, job_id: str, job_name: str, stage: str) -> None:
        """Add an event and wake whoever waits."""
        with self._lock:
            self._cursor += 1
            self._events.append(Event(self._cursor, job_id, job_name, str(stage), self._clock()))
        self._wake()

    def close(self) -> None:
        """Wake whoever waits: there will be no more events here."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            woken, self._waiting = self._waiting, set()
        for wake in woken:
            wake()

    def after(self, cursor: int, jobs: Sequence[str] = ()) -> tuple[int, list[dict[str, Any]]]:
        """Return the newest cursor and the events after one, of some jobs or of all.

        A cursor of another master is older than all of them, also one from the future.
        """
        with self._lock:
            newest = self._cursor
            known = cursor if self._first <= cursor <= newest else self._first
            found = [event for event in self._events if event.cursor > known]
        wanted = [event for event in found if not jobs or event.job_id in jobs]
        return newest, [msgspec.to_builtins(event) for event in wanted]

    def wake_on_next(self, wake: Callable[[], None]) -> None:
        """Call back once, from any thread, at the next event or at the end."""
        with self._lock:
            self._waiting.add(wake)

    def forget(self, wake: Callable[[], None]) -> None:
        """Call back no more; fine when it was called."""
        with self._lock:
            self._waiting.discard(wake)
