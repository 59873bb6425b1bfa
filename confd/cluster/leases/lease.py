"""Leases of nodes: how long the instances of a node may take writes when nobody hears of it any more.

A node's daemon renews one lease and hands the deadline that follows from it to its keepers; an instance that takes
writes is stopped when the deadline passes. The master may take such an instance for stopped once the lease is gone and
a margin has passed (``lapse``). Deadlines are on CLOCK_BOOTTIME, which goes on while a machine sleeps.

One uninterrupted hold of a lease has a name, which the master gives along when it orders an instance to take writes:
an order that was given under an earlier hold is not carried out any more.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

import msgspec

TTL_SECONDS: Final = 3
"""How long a lease holds without being renewed."""

RESTART_SECONDS: Final = 30
"""How long a planned restart of a daemon may take."""

MARGIN_SECONDS: Final = 1.0
"""How long a lease must be gone: keepers take up to half a second, the rest is for clocks of unequal speed."""

_AGAIN_SECONDS: Final = 1.0


class Hold(msgspec.Struct, frozen=True):
    """A node's lease as it holds it: the name of the uninterrupted hold, and until when it lasts at least."""

    name: str
    deadline: float


class Taker(Protocol):
    """What takes writes on a node, as far as its lease is concerned: the keepers of its instances."""

    def take(self, hold: Hold, shorten: bool) -> bool:
        """Hand a new deadline on, an earlier one than before only if told to; True when everybody has it."""

    def release(self) -> bool:
        """Bind what takes writes to no deadline; True when everybody knows."""

    def writes(self) -> bool:
        """Tell whether anything takes writes now."""


class Leases(Protocol):
    """The lease of this node and, on the master, those of the others. Usable from any thread."""

    @property
    def bound(self) -> bool:
        """Whether instances may take writes only under a lease."""

    def hold(self) -> Hold | None:
        """Return what this node holds now, None when it holds nothing."""

    def watch(self, taker: Taker) -> None:
        """Hand every new deadline to a taker, in a thread of its own."""

    def start(self) -> None:
        """Begin to renew."""

    def close(self, planned: bool = True) -> None:
        """End.

        :param planned: what takes writes goes on for as long as a restart takes; without any the lease ends now.
        """

    def attend(self) -> None:
        """Follow the leases of all nodes from now on: the master does. Once more for each ``neglect``."""

    def neglect(self) -> None:
        """Follow them no longer, unless somebody else wants it, too."""

    def lapsed(self, node: int, name: str) -> bool:
        """Tell whether whatever took writes on a node under a hold, or a later one, has certainly been stopped."""

    def absent(self, node: int) -> bool:
        """Tell whether a node is seen to hold no lease, for the margin if it ever held one; of whatever hold."""


class NoLeases:
    """Without a store that has leases: instances are bound to none, and nothing is proven by time."""

    bound = False

    def __init__(self) -> None:
        self._takers: list[Taker] = []
        self._closed = threading.Event()

    def hold(self) -> Hold | None:
        """Return None."""
        return None

    def watch(self, taker: Taker) -> None:
        """Note who is to be released."""
        self._takers.append(taker)

    def start(self) -> None:
        """Release what an earlier store bound."""
        if self._takers:
            threading.Thread(target=self._release, name="lease", daemon=True).start()

    def close(self, planned: bool = True) -> None:
        """End."""
        self._closed.set()

    def attend(self) -> None:
        """Do nothing."""

    def neglect(self) -> None:
        """Do nothing."""

    def lapsed(self, node: int, name: str) -> bool:
        """Return False."""
        return False

    def absent(self, node: int) -> bool:
        """Return True."""
        return True

    def _release(self) -> None:
        while not all(taker.release() for taker in self._takers) and not self._closed.is_set():
            self._closed.wait(_AGAIN_SECONDS)


def boottime() -> float:
    """Return seconds since the machine was booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
