"""Locks: which modify jobs may run side by side.

A job names everything it changes (exclusive) or relies on (shared) up front. All of it is granted
together, in order of arrival: a job waits for every earlier job, running or waiting, that it conflicts
with. So there is no deadlock and no starvation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec


class Lock(msgspec.Struct, frozen=True, order=True):
    """A claim on one object, such as ``db:DB1``, ``volume:3`` or ``ids:volume``."""

    name: str
    shared: bool = False

    def __str__(self) -> str:
        return f"{self.name} (shared)" if self.shared else self.name


def exclusive(kind: str, name: object) -> Lock:
    """Claim an object for changing it."""
    return Lock(f"{kind}:{name}")


def shared(kind: str, name: object) -> Lock:
    """Claim an object that must stay as it is."""
    return Lock(f"{kind}:{name}", shared=True)


class LockTable:
    """The queue of claims. Pure: the caller starts what ``claim`` and ``release`` grant.

    Every locked object has a queue of claims in order of arrival. A claim is at its turn when nothing
    before it in the queue excludes it; a job is granted when all its claims are at their turn.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[str, bool]]] = {}
        self._claims: dict[str, tuple[Lock, ...]] = {}
        self._waiting: set[str] = set()

    def claim(self, job: str, locks: Sequence[Lock]) -> bool:
        """Queue a job's claims; True when it may run now."""
        self._claims[job] = merged = _strictest(locks)
        for lock in merged:
            self._queues.setdefault(lock.name, deque()).append((job, lock.shared))
        if self._granted(job):
            return True
        self._waiting.add(job)
        return False

    def release(self, job: str) -> list[str]:
        """Drop a job's claims, held or waiting; return jobs that may run now, in order of arrival."""
        freed = self._claims.pop(job, ())
        self._waiting.discard(job)
        candidates: dict[str, None] = {}
        for lock in freed:
            queue = self._queues[lock.name]
            queue.remove((job, lock.shared))
            candidates |= dict.fromkeys(other for other, _ in queue if other in self._waiting)
            if not queue:
                del self._queues[lock.name]
        granted = [other for other in candidates if self._granted(other)]
        self._waiting.difference_update(granted)
        return granted

    def holders(self, job: str) -> list[str]:
        """Return the jobs that a waiting job waits for."""
        return list(dict.fromkeys(other for lock in self._claims.get(job, ()) for other in self._before(job, lock)))

    def _granted(self, job: str) -> bool:
        return not any(self._before(job, lock) for lock in self._claims[job])

    def _before(self, job: str, lock: Lock) -> list[str]:
        blocking: list[str] = []
        for other, is_shared in self._queues[lock.name]:
            if other == job:
                break
            if not (lock.shared and is_shared):
                blocking.append(other)
        return blocking


def _strictest(locks: Sequence[Lock]) -> tuple[Lock, ...]:
    merged: dict[str, Lock] = {}
    for lock in locks:
        known = merged.get(lock.name)
        merged[lock.name] = lock if known is None else Lock(lock.name, known.shared and lock.shared)
    return tuple(merged.values())
