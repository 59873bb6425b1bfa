"""The other nodes of the cluster on its master: they come and go as the configuration says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from confd.cluster.leading.feed import Feed, Source
from confd.cluster.leading.member import Member

_FAREWELL_SECONDS: Final = 60.0


class Membership:
    """All members but the master itself, each with a feed of its own; ``members`` has them by id.

    :param heard: called in the loop's thread with each answer of a member.
    """

    def __init__(self, source: Source, heard: Callable[[Member, dict[str, Any]], None]) -> None:
        self._source, self._heard = source, heard
        self.members: dict[int, Member] = {}
        self._feeds: dict[int, Feed] = {}
        self._left: dict[int, float] = {}
        self._partings: set[asyncio.Task[None]] = set()

    @property
    def parting(self) -> bool:
        """True while nodes that were removed are still members: ``follow`` is to be called again."""
        return bool(self._left)

    def follow(self) -> None:
        """Begin with nodes that are new in the configuration, end with those that are gone from it."""
        conf = self._source.replica.conf
        wanted = {node.id: node for node in conf.nodes.values() if node.id != self._source.node}
        for gone in self._feeds.keys() - wanted.keys():
            # Who was removed is still told to clean up; then it falls silent.
            since = self._left.setdefault(gone, time.monotonic())
            if not self.members[gone].online or time.monotonic() - since > _FAREWELL_SECONDS:
                self._feeds.pop(gone).stop()
                self._part_from(self.members.pop(gone))
                del self._left[gone]
        for node in wanted.values():
            if node.id not in self._feeds:
                member = Member(node.id, node.private_ip, conf.global_.cored_port, self._source.timing.offline)
                self.members[node.id] = member
                self._feeds[node.id] = Feed(member, self._source, self._heard)

    async def close(self) -> None:
        """Tell nobody anything more."""
        await asyncio.gather(*[feed.stop() for feed in self._feeds.values()], return_exceptions=True)

    def _part_from(self, member: Member) -> None:
        """Close the link to a node that was removed."""
        leaving = self._source.connector.leave(member.address, member.port)
        parting = asyncio.get_running_loop().create_task(leaving)
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)
