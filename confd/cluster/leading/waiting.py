"""Who waits until a revision is written on all nodes, and which nodes are still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future

from confd.cluster.leading.member import Member
from confd.model.errors import NoMaster

Counts = Callable[[Member], bool]


class Wait:
    """One who waits: ``late`` are the nodes that have not written the revision and should."""

    def __init__(self, revision: int, until: float, done: Future[list[int]]) -> None:
        self.revision, self.until, self.done = revision, until, done
        self.late: set[int] = set()


class Waits:
    """All who wait, on the master ``own``. A word of one node costs the same however many nodes there are.

    :param counts: tells whether a node must have written a revision before it is committed.
    """

    def __init__(self, own: int, counts: Counts) -> None:
        self._own, self._counts = own, counts
        self._open: list[Wait] = []

    def add(self, wait: Wait, members: Iterable[Member]) -> None:
        """Begin to wait."""
        wait.late = self._late(wait, members)
        self._open.append(wait)

    def heard(self, member: Member, reached: int) -> None:
        """Take in how far a node is; ``reached`` is how far the master is itself."""
        if not self._open:
            return
        counts = self._counts(member)
        for wait in self._open:
            if counts and member.written < wait.revision:
                wait.late.add(member.node)
            else:
                wait.late.discard(member.node)
        self.settle(reached)

    def settle(self, reached: int) -> None:
        """End the waits for which nobody is missing any more."""
        ended = [wait for wait in self._open if not wait.late and reached >= wait.revision]
        if not ended:
            return
        self._open = [wait for wait in self._open if wait.late or reached < wait.revision]
        for wait in ended:
            wait.done.set_result([])

    def look(self, members: Iterable[Member], reached: int, now: float) -> None:
        """Look at all nodes anew: who went or came counts differently, and who took too long is behind."""
        if not self._open:
            return
        known = {member.node: member for member in members}
        for wait in self._open:
            wait.late = self._late(wait, known.values())
        self.settle(reached)
        overdue = [wait for wait in self._open if now >= wait.until]
        self._open = [wait for wait in self._open if now < wait.until]
        for wait in overdue:
            for node in wait.late:
                known[node].behind = True
            wait.done.set_result(sorted(wait.late) + ([self._own] if reached < wait.revision else []))

    def fail(self, error: NoMaster) -> None:
        """End all waits, because the master goes down."""
        failed, self._open = self._open, []
        for wait in failed:
            wait.done.set_exception(error)

    def _late(self, wait: Wait, members: Iterable[Member]) -> set[int]:
        return {member.node for member in members if member.written < wait.revision and self._counts(member)}
