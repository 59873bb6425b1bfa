"""Nodes that are short of storage: when one is, and the master's log of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from confd.cluster.host import Cluster
from confd.exaconf import Configuration
from confd.model.sizes import format_size
from confd.model.states import DeviceState
from confd.services.rounds import Rounds
from confd.services.storage.inventory import warn_threshold
from confd.services.storage.space import DeviceStatus, usable

log = structlog.get_logger("storage")

_LOOK: Final = 5.0
_PAUSE: Final = 0.5

# msgspec gets a type ready when it is first used, and crashes when two threads do so at once.
msgspec.convert([], list[DeviceStatus])


def shortage(conf: Configuration, node: int, devices: Sequence[DeviceStatus]) -> str:
    """Say that as much of a node's storage is used as its threshold says; empty when it is less, or none is set.

    Devices that are out of order count neither as used nor as free.
    """
    threshold = warn_threshold(conf, node)
    online = [device for device in devices if device.state is DeviceState.ONLINE]
    room, used = sum(usable(device.capacity) for device in online), sum(device.reserved for device in online)
    if not threshold or not room or used * 100 < threshold * room:
        return ""
    return (
        f"n{node} is short of storage: {used * 100 // room} % of {format_size(room)} are used, its threshold is "
        f"{threshold} %; delete or move volumes, or add a device with st_device_add"
    )


class Shortages:
    """Logs which nodes get short of storage, and which no longer are, while its node is master."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._short: set[int] = set()
        self._rounds = Rounds("storage-shortage", self.look, every=_LOOK, pause=_PAUSE)

    def start(self) -> None:
        """Begin."""
        self._cluster.watch(self._rounds.wake)
        self._rounds.start()

    def close(self) -> None:
        """End."""
        self._rounds.close()

    def look(self) -> None:
        """Log what has changed; of a node that does not answer, what was known stays."""
        conf = self._cluster.conf()
        self._short &= conf.nodes.keys()
        for node in conf.nodes:
            told = self._cluster.status(node, "storage")
            if told is None:
                continue
            text = shortage(conf, node, msgspec.convert(told, list[DeviceStatus]))
            if text and node not in self._short:
                self._short.add(node)
                log.warning("storage_is_short", node=node, reason=text)
            elif not text and node in self._short:
                self._short.remove(node)
                log.info("storage_is_enough_again", node=node)
