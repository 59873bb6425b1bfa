"""The master's care for archive volumes: finds what shelves miss, and has their nodes put it right.

Level-triggered: it compares what is there with what should be there, whenever a node came or went or a shelf changed,
and now and then in any case. It knows nothing that it could forget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.host import Cluster
from confd.exaconf import Volume
from confd.model.errors import ConfDError
from confd.model.states import NodeState
from confd.services.archive.layout import Layout, is_archive, layout_of
from confd.services.archive.repair import look, repair
from confd.services.archive.report import report_of
from confd.services.archive.serving import serve
from confd.services.archive.shelf import Look
from confd.services.archive.survey import forgettable, lacks, undeleted
from confd.services.rounds import Rounds
from confd.services.storage.inventory import recovery_limit

log = structlog.get_logger("archive")

_PAUSE: Final = 0.5
_RETRY: Final = 5.0
_ANYWAY: Final = 60.0
_REPAIR_SECONDS: Final = 30.0
_REPAIR_TIMEOUT: Final = 900.0

_ANSWERS: Final = serve  # imported so that every daemon answers for its shelves


class Health(msgspec.Struct, frozen=True):
    """How a volume is: the nodes that miss something, and whether they are getting it."""

    behind: tuple[int, ...] = ()
    recovering: bool = False


class Upkeep:
    """Looks after all archive volumes while its node is master."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._clock = cluster, clock
        self._health: dict[str, Health] = {}
        self._seen: dict[str, tuple[Any, float]] = {}
        self._rounds = Rounds("archive-upkeep", self.tend, every=_RETRY, pause=_PAUSE)

    def start(self) -> None:
        """Begin."""
        self._cluster.watch(self._rounds.wake)
        self._rounds.start()

    def close(self) -> None:
        """End; repairs that run on nodes go on by themselves."""
        self._rounds.close()

    def health(self, volume: str) -> Health:
        """Return how a volume is."""
        return self._health.get(volume, Health())

    def tend(self) -> None:
        """Look after every volume that changed, or that was not looked at for long."""
        volumes = {name: volume for name, volume in self._cluster.conf().volumes.items() if is_archive(volume)}
        for name in set(self._health) - set(volumes):
            del self._health[name]
            self._seen.pop(name, None)
        for volume in volumes.values():
            try:
                self._tend(volume)
            except ConfDError as error:
                log.info("volume_not_tended", volume=volume.name, error=error.message)

    def _tend(self, volume: Volume) -> None:
        name, layout = volume.name, layout_of(self._cluster.conf(), volume.name)
        seen = self._state_of(layout)
        known, again = self._seen.get(name, (None, 0.0))
        if seen == known and self._clock() < again:
            return
        behind = self._put_right(layout)
        self._health[name] = Health(tuple(behind))
        self._seen[name] = seen, self._clock() + (_RETRY if behind else _ANYWAY)

    def _put_right(self, layout: Layout) -> list[int]:
        """Have every node do what it can; return those that still miss something."""
        looks = self._looks(layout)
        work = [node for node in looks if _has_work(layout, looks, node)]
        if not work:
            return []
        behind = self._behind(layout, looks, self._looks(layout))
        conf = self._cluster.conf()
        if conf.storage.bg_rec_enabled or not behind:
            self._health[layout.name] = Health(tuple(behind), recovering=bool(behind))
            for node in work:
                self._repair(layout, node, (recovery_limit(conf, node) or 0) << 20 or None)
            looks = self._looks(layout)
            behind = self._behind(layout, looks, looks)
        return behind

    def _behind(self, layout: Layout, first: dict[int, Look], second: dict[int, Look]) -> list[int]:
        # What was missing twice is missing; a file that came between two looks is not.
        return [node for node in second if _lacked(layout, first, node) & _lacked(layout, second, node)]

    def _repair(self, layout: Layout, node: int, limit: int | None) -> None:
        if self._rounds.ended:
            return
        try:
            command = repair.on(node, layout=layout, seconds=_REPAIR_SECONDS, limit=limit)
            done = self._cluster.call(command, _REPAIR_TIMEOUT)
        except ConfDError as error:
            log.warning("shelf_not_repaired", volume=layout.name, node=node, error=error.message)
        else:
            log.info("shelf_repaired", volume=layout.name, node=node, fetched=done.fetched, missing=done.missing)

    def _looks(self, layout: Layout) -> dict[int, Look]:
        looks: dict[int, Look] = {}
        for node in self._online(layout):
            try:
                looks[node] = self._cluster.call(look.on(node, layout=layout))
            except ConfDError as error:
                log.info("shelf_not_seen", volume=layout.name, node=node, error=error.message)
        return looks

    def _online(self, layout: Layout) -> list[int]:
        states = self._cluster.node_states()
        return [node for node in layout.nodes if states.get(node) is NodeState.ONLINE]

    def _state_of(self, layout: Layout) -> Any:
        """Return what must change before there can be anything new to do."""
        online = self._online(layout)
        reports = [report_of(self._cluster, layout, node) for node in online]
        return online, [report.print if report else None for report in reports], layout


def _has_work(layout: Layout, looks: dict[int, Look], node: int) -> bool:
    look = looks[node]
    return bool(
        lacks(layout, looks, node) or undeleted(looks, node) or look.left or forgettable(layout, looks) & look.aged
    )


def _lacked(layout: Layout, looks: dict[int, Look], node: int) -> set[tuple[str, tuple[int, ...]]]:
    return {(lack.index.id, lack.parts) for lack in lacks(layout, looks, node)} if node in looks else set()
