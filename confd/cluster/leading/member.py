"""What the master knows of each other node, and how patient it is with them."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec

BEAT_SECONDS: Final = 0.5
OFFLINE_SECONDS: Final = 3.0
WRITTEN_SECONDS: Final = 5.0

JOINED_AT: Final = "joined_at"
"""Beside the services' reports in a node's status: the revision at which its daemon joined the cluster."""
TROUBLE: Final = "trouble"
"""Beside the services' reports: why the master does not hear a node, or what is wrong with one; empty mostly."""
SKEW_SECONDS: Final = 300.0
"""How far the clock of a node may be from that of the master: job files, backups and schedules compare times."""


class Timing(msgspec.Struct, frozen=True):
    """How often nodes are asked, and how long is waited for them; seconds.

    ``beat`` between heartbeats, ``offline`` until a silent node counts as offline, ``written`` until a node
    that has not written a revision is behind.
    """

    beat: float = BEAT_SECONDS
    offline: float = OFFLINE_SECONDS
    written: float = WRITTEN_SECONDS


class Member:
    """What the master knows of one other node."""

    def __init__(self, node: int, address: str, port: int, offline: float = OFFLINE_SECONDS) -> None:
        self.node, self.address, self.port, self._offline = node, address, port, offline
        self.heard = float("-inf")
        self.beat_due = True
        self.n = -1
        self.written = 0
        self.booted: float | None = None
        self.behind = False
        self.skew = 0.0
        self.silence, self.refuses, self.opposes = "", False, False
        self.status: dict[str, Any] = {}
        self.news = asyncio.Event()

    @property
    def online(self) -> bool:
        """True while heartbeats are answered."""
        return time.monotonic() - self.heard < self._offline

    @property
    def follows(self) -> bool:
        """True once it answered the greeting, though it may still be taking in a long journal."""
        return self.n >= 0

    def call_for_beat(self) -> None:
        """Have the next heartbeat sent now."""
        self.beat_due = True
        self.news.set()

    @property
    def trouble(self) -> str:
        """Why the node is not heard, or what is wrong with it; empty when nothing is."""
        if not self.online:
            return self.silence
        if abs(self.skew) <= SKEW_SECONDS:
            return ""
        word = "ahead of" if self.skew > 0 else "behind"
        return f"the clock of n{self.node} is {abs(self.skew):.0f} s {word} the master's; set it right (NTP)"
