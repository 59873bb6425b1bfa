"""How mastership comes to a node and leaves it: what the daemon asks, whichever store it runs on.

With the embedded store mastership is given by hand (a hand-over in order, or a take-over on a survivor); with etcd it
is a lease that a node wins and may lose at any moment. Either way the same three things happen to the daemon, any
number of times: ``Seat.lead`` (become master under a term), ``Seat.leave`` (be master no longer), or it follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from confd.cluster.leading.takeover import Taken
from confd.cluster.transport.link import Method
from confd.daemon.mastership import Mastership


class Seat(Protocol):
    """The daemon, as far as mastership comes and goes. Called in the loop's thread."""

    @property
    def mastership(self) -> Mastership | None:
        """What this node does as master, None when it is not."""

    @property
    def removed(self) -> bool:
        """True once it is known that the cluster has removed this node: it ends."""

    def end_removed(self, why: str) -> None:
        """End the daemon for good, because the cluster has removed this node."""

    async def lead(self, term: int) -> None:
        """Become master under a term; recovered jobs go on before this returns.

        :raises WrongState: it must not, for instance because the cluster has removed it.
        """

    async def leave(self) -> None:
        """Be master no longer; fine when it is not. Jobs on their way are left to the next master."""


class Elections(Protocol):
    """Decides who is master: one implementation for each kind of store."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """What other nodes ask of this one at the node port."""

    @property
    def trouble(self) -> str:
        """Why this node has no master and cannot be it, for people; empty when nothing is wrong here."""

    @property
    def advice(self) -> str:
        """What to do where nobody is master; empty when ``trouble`` says it."""

    def gone(self) -> frozenset[int]:
        """Return nodes that certainly do not run, so nobody needs to wait for them."""

    def lapsed(self, term: int) -> float | None:
        """Return for how many seconds there may be a newer master than this node under a term; None: there is none."""

    async def begin(self) -> None:
        """Start deciding; returns once it is known whether this node leads first (it led already then) or follows.

        Does not wait until a follower has caught up.
        """

    def give(self, node: int, job: str) -> None:
        """Give mastership to another node, in order; for the thread of job ``job``, whose end is the next master's.

        :raises NodeOffline: the node does not answer; nothing has changed.
        :raises WrongState: it cannot lead now; nothing has changed.
        :raises NoMaster: this node has resigned; always, when it went well.
        """

    async def take_over(self) -> Taken:
        """Make this node master by order of an administrator, because the master is gone for good.

        :raises WrongState: there is a master that answers, or mastership is not given by hand in this store.
        """

    async def close(self) -> None:
        """Stop deciding. A node that leads gives mastership free where the store can do so."""
