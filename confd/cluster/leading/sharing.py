"""Who waits until another node knows what was recorded, as whoever goes on without the master must."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future

from confd.cluster.leading.member import Member


class Shares:
    """All who wait, each for a record of the journal."""

    def __init__(self) -> None:
        self._open: list[tuple[int, Future[None]]] = []

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._open)

    def add(self, n: int, done: Future[None], members: Collection[Member]) -> None:
        """Begin to wait for the record ``n`` to be on any of the nodes that could go on; there may be none."""
        self._open.append((n, done))
        self.settle(members)

    def settle(self, members: Collection[Member]) -> None:
        """End the waits for records that one of these nodes has; all of them when there is no node."""
        if not self._open:
            return
        known = max((member.n for member in members), default=None)
        ended = [done for n, done in self._open if known is None or n <= known]
        self._open = [] if known is None else [(n, done) for n, done in self._open if n > known]
        for done in ended:
            done.set_result(None)

    def fail(self, error: Exception) -> None:
        """End all waits, because the master goes down."""
        failed, self._open = self._open, []
        for _, done in failed:
            done.set_exception(error)
