"""Which modify jobs run now, and whether more may begin: a master that gives its place away lets them end first."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Gate:
    """Lets jobs begin, or holds them while it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self._held: list[tuple[str, Callable[[], None]]] | None = None

    def begin(self, job_id: str, start: Callable[[], None]) -> None:
        """Start a job, or hold it until the gate opens."""
        with self._changed:
            if self._held is not None:
                self._held.append((job_id, start))
                return
            self._running.add(job_id)
        start()

    def ended(self, job_id: str) -> None:
        """Note that a job runs no longer."""
        with self._changed:
            self._running.discard(job_id)
            self._changed.notify_all()

    def close(self) -> None:
        """Let no further job begin."""
        with self._changed:
            if self._held is None:
                self._held = []

    def open(self) -> None:
        """Let jobs begin again, those that were held first."""
        with self._changed:
            held, self._held = self._held or [], None
        for job_id, start in held:
            self.begin(job_id, start)

    def wait_idle(self, seconds: float, besides: str = "") -> tuple[str, ...]:
        """Wait until no job runs, besides one; return those that still do after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running - {besides}, seconds)
            return tuple(sorted(self._running - {besides}))
