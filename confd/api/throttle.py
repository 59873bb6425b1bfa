"""Failed logins are slowed down, per user and per address, so that passwords cannot be guessed in bulk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from confd.api.request import Unauthorized

_FREE_FAILURES: Final = 3
_FIRST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 5.0
_FORGET_SECONDS: Final = 300.0
_WAITING: Final = 10
_KNOWN: Final = 10_000


def delay(failures: int) -> float:
    """Return how many seconds an attempt waits after so many failures: nothing, then doubling up to 5 s."""
    if failures < _FREE_FAILURES:
        return 0.0
    return min(_FIRST_DELAY * 2.0 ** min(failures - _FREE_FAILURES, 16), _LONGEST_DELAY)


class _Record(msgspec.Struct):
    """Failures of one user or address."""

    failures: int = 0
    latest: float = 0.0
    waiting: int = 0


class Attempt:
    """One try to log in; failed unless told otherwise."""

    def __init__(self) -> None:
        self.success = False

    def succeeded(self) -> None:
        """Note that the password was right."""
        self.success = True


class Throttle:
    """Counts failures and makes attempts wait; one attempt of a user from an address at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def attempt(self, name: str, peer: str) -> AsyncIterator[Attempt]:
        """Wait as long as earlier failures demand, then let the attempt happen.

        :raises Unauthorized: too many attempts wait already.
        """
        keys = (f"user {name[:80]}", f"peer {peer}")
        records = [self._record(key) for key in keys]
        if max(record.waiting for record in records) >= _WAITING:
            raise Unauthorized("too many login attempts; wait a moment")
        for record in records:
            record.waiting += 1
        attempt = Attempt()
        try:
            # The lock keeps parallel guesses from being faster than one after the other.
            async with self._locks.setdefault(keys[0], asyncio.Lock()):
                await asyncio.sleep(max(delay(record.failures) for record in records))
                yield attempt
        finally:
            for record in records:
                record.waiting -= 1
                record.latest = self._clock()
                record.failures = 0 if attempt.success else record.failures + 1

    def _record(self, key: str) -> _Record:
        now = self._clock()
        if len(self._records) >= _KNOWN:
            self._forget(now)
        record = self._records.setdefault(key, _Record())
        if now - record.latest > _FORGET_SECONDS and not record.waiting:
            record.failures = 0
        return record

    def _forget(self, now: float) -> None:
        idle = [key for key, record in self._records.items() if not record.waiting]
        for key in idle:
            if now - self._records[key].latest > _FORGET_SECONDS or len(self._records) >= _KNOWN:
                del self._records[key]
                self._locks.pop(key, None)
