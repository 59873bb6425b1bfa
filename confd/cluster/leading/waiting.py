"""Who waits until a revision is written on all nodes, and which nodes are still to come."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from confd.cluster.leading.member import Member
from confd.model.errors import NoMaster

Counts = Callable[[Member], bool]


class Wait(NamedTuple):
    """One who waits for a revision, until a time (``time.monotonic``) at the latest."""

    revision: int
    until: float
    done: Future[list[int]]


class Waits:
    """All who wait, on the master ``own``.

    Nobody is through before those who wait for earlier revisions. So it is enough to know which nodes the first one
    waits for, and a word of one node costs the same however many nodes there are and however many wait.

    :param members: the other nodes.
    :param counts: tells whether a node must have written a revision before it is committed.
    """

    def __init__(self, own: int, members: Mapping[int, Member], counts: Counts) -> None:
        self._own, self._members, self._counts = own, members, counts
        self._open: list[Wait] = []
        self._late: set[int] = set()

    def add(self, wait: Wait) -> None:
        """Begin to wait."""
        insort(self._open, wait, key=_revision)
        if self._open[0] is wait:
            self._late = self._missing(wait)

    def heard(self, member: Member, reached: int) -> None:
        """Take in how far a node is; ``reached`` is how far the master is itself."""
        if not self._open:
            return
        if member.written < self._open[0].revision and self._counts(member):
            self._late.add(member.node)
        else:
            self._late.discard(member.node)
        self.settle(reached)

    def settle(self, reached: int) -> None:
        """End the waits for which nobody is missing any more."""
        while self._open and not self._late and reached >= self._open[0].revision:
            ended = self._open.pop(0)
            self._look_at_first()
            ended.done.set_result([])

    def look(self, reached: int, now: float) -> None:
        """Look at all nodes anew: who went or came counts differently, and who took too long is behind."""
        self._look_at_first()
        self.settle(reached)
        overdue = [wait for wait in self._open if now >= wait.until]
        if not overdue:
            return
        self._open = [wait for wait in self._open if now < wait.until]
        missing = [self._missing(wait) for wait in overdue]
        for node in set().union(*missing):
            self._members[node].behind = True
        self._look_at_first()
        for wait, late in zip(overdue, missing, strict=True):
            wait.done.set_result(sorted(late) + ([self._own] if reached < wait.revision else []))
        self.settle(reached)

    def fail(self, error: NoMaster) -> None:
        """End all waits, because the master goes down."""
        failed, self._open = self._open, []
        for wait in failed:
            wait.done.set_exception(error)

    def _look_at_first(self) -> None:
        self._late = self._missing(self._open[0]) if self._open else set()

    def _missing(self, wait: Wait) -> set[int]:
        return {
            member.node for member in self._members.values() if member.written < wait.revision and self._counts(member)
        }


def _revision(wait: Wait) -> int:
    return wait.revision
