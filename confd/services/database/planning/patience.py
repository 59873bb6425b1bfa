"""How long is waited for a standby that should stream, and what is thought of one that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confd.services.database.observed import Instance, InstanceState, Role

_LATE_AFTER: Final = 5.0
"""Seconds until commits wait no longer for a standby that does not stream."""

_STUCK_AFTER: Final = 10.0
"""Seconds until a standby that is up, follows the primary and does not stream is made anew."""

_TRIES: Final = 3
"""Starts of a standby that fail in a row until it is made anew: its history may have parted from the primary's."""


class Patience:
    """Remembers since when standbys do not stream; forgets it when their primary does not serve."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._silent: dict[int, float] = {}
        self._idle: dict[int, float] = {}
        self._knocking: dict[int, float] = {}
        self._times: dict[int, int] = {}
        self._stuck: dict[int, int] = {}

    def look(self, primary: int | None, seen: dict[int, Instance], nodes: tuple[int, ...]) -> None:
        """Take note of who streams now."""
        source = seen.get(primary) if primary is not None else None
        if source is None or source.state is not InstanceState.READY or source.role is not Role.PRIMARY:
            self._silent.clear()
            self._idle.clear()
            self._knocking.clear()
            return
        streaming = {follower.node for follower in source.followers if follower.state == "streaming"}
        knocking = {follower.node for follower in source.followers if follower.state == "startup"}
        now = self._clock()
        for node in nodes:
            if node == primary or node in streaming:
                self.streams(node)
                continue
            self._silent.setdefault(node, now)
            if node in knocking and _starts(seen.get(node)):
                self._knock(node, now)
            if _should_stream(seen.get(node), primary):
                self._wait(node, now)
            else:
                self._idle.pop(node, None)

    def _wait(self, node: int, now: float) -> None:
        since = self._idle.setdefault(node, now)
        if now - since > _STUCK_AFTER:
            self._give_up(node)

    def _knock(self, node: int, now: float) -> None:
        # It is not consistent yet, asks for WAL again and again, and is refused: the primary has it no longer.
        since = self._knocking.setdefault(node, now)
        if now - since > _STUCK_AFTER:
            self._give_up(node)

    def _give_up(self, node: int) -> None:
        if node not in self._stuck:
            self._times[node] = self._stuck[node] = self._times.get(node, 0) + 1

    def falls(self, node: int, times: int) -> None:
        """Take note that a standby's server does not come up, the so many-th time in a row."""
        if times >= _TRIES:
            self._give_up(node)

    def streams(self, node: int) -> None:
        """Forget what was held against a node."""
        for known in (self._silent, self._idle, self._knocking, self._times, self._stuck):
            known.pop(node, None)

    def remade(self, node: int) -> None:
        """Give a node whose copy was made anew its time."""
        for known in (self._stuck, self._idle, self._knocking):
            known.pop(node, None)

    @property
    def late(self) -> frozenset[int]:
        """Nodes that have not streamed for some seconds."""
        now = self._clock()
        return frozenset(node for node, since in self._silent.items() if now - since > _LATE_AFTER)

    @property
    def stuck(self) -> dict[int, int]:
        """Nodes that will not stream with the copy they have; how often that was found."""
        return dict(self._stuck)


def _starts(instance: Instance | None) -> bool:
    return instance is not None and instance.state is InstanceState.STARTING and instance.role is Role.STANDBY


def _should_stream(instance: Instance | None, primary: int | None) -> bool:
    if instance is None or instance.state is not InstanceState.READY:
        return False
    return instance.role is Role.STANDBY and instance.follows == primary
