"""Locks: which modify jobs may run side by side.

A job names everything it changes (exclusive) or relies on (shared) up front. All of it is granted
together, in order of arrival: a job waits for every earlier job, running or waiting, that it conflicts
with. So there is no deadlock and no starvation.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence

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
        self._waiting: dict[str, int] = {}
        self._arrivals = itertools.count()

    def claim(self, job: str, locks: Sequence[Lock]) -> bool:
        """Queue a job's claims; True when it may run now."""
        self._claims[job] = merged = _strictest(locks)
        for lock in merged:
            self._queues.setdefault(lock.name, deque()).append((job, lock.shared))
        if self._granted(job):
            return True
        self._waiting[job] = next(self._arrivals)
        return False

    def release(self, job: str) -> list[str]:
        """Drop a job's claims, held or waiting; return jobs that may run now, in order of arrival."""
        freed = self._claims.pop(job, ())
        self._waiting.pop(job, None)
        candidates: set[str] = set()
        for lock in freed:
            queue = self._queues[lock.name]
            queue.remove((job, lock.shared))
            candidates.update(_unblocked(queue, lock.shared))
            if not queue:
                del self._queues[lock.name]
        granted = [other for other in candidates if other in self._waiting and self._granted(other)]
        granted.sort(key=lambda other: self._waiting[other])
        for other in granted:
            del self._waiting[other]
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


def _unblocked(queue: deque[tuple[str, bool]], was_shared: bool) -> Iterator[str]:
    """Name the claims that may have come to their turn because one left the queue."""
    for position, (job, is_shared) in enumerate(queue):
        if is_shared and was_shared:
            return  # Neither excluded it nor what follows its exclusive successor.
        if not is_shared and position:
            return
        yield job


def _strictest(locks: Sequence[Lock]) -> tuple[Lock, ...]:
    merged: dict[str, Lock] = {}
    for lock in locks:
        known = merged.get(lock.name)
        merged[lock.name] = lock if known is None else Lock(lock.name, known.shared and lock.shared)
    return tuple(merged.values())
