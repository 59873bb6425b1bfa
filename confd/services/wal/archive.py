"""Keeps the WAL archives of all databases up to date: runs on the master, has nodes ship what waits in their spools.

It keeps nothing that it could not find again: nodes report what waits, so the next master goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog

from confd.cluster.host import Cluster
from confd.exaconf import Database, Volume
from confd.model.errors import ConfDError, InsufficientSpace
from confd.services.backup.targets import archive_volumes
from confd.services.database.record import Record, read_record
from confd.services.rounds import Rounds
from confd.services.wal.keeping import Anchor, Log, last_end
from confd.services.wal.pruning import anchors_on, delete, expendable
from confd.services.wal.shipping import discard, forget_gap, ship

_log = structlog.get_logger()

_TICK: Final = 1.0
_REST: Final = 10.0
_PRUNE_EVERY: Final = 600.0
_WITHIN: Final = 600.0


class WalArchive:
    """The WAL archives of all databases; started and stopped with mastership."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cluster, self._clock, self._wall = cluster, clock, wall
        self._failures: dict[tuple[str, int], tuple[float, str]] = {}
        self._pruned = float("-inf")
        self._hidden = ""
        self._rounds = Rounds("WAL archive", self.work, every=0.0, pause=_TICK)

    def start(self) -> None:
        """Begin to look what waits."""
        self._rounds.start()

    def close(self) -> None:
        """End; what waits stays where it is."""
        self._rounds.close()

    def problem(self, database: str) -> str:
        """Return what an administrator should know of a database's archive; empty when all is well."""
        failed = [f"n{node}: {text}" for (name, node), (_, text) in sorted(self._failures.items()) if name == database]
        texts = [f"WAL cannot be archived ({'; '.join(failed)})"] if failed else []
        if failed and self._hidden:
            texts.append(f"WAL that is not needed any more is not deleted ({self._hidden})")
        if any(self._report(node, database).get("gap") for node in self._cluster.conf().nodes):
            texts.append("WAL archive has a gap: back the database up to restore later points in time")
        return " ".join(texts)

    def work(self) -> None:
        """Have nodes ship what waits now, and from time to time delete what no restore needs."""
        conf = self._cluster.conf()
        for database in conf.databases.values():
            for node in conf.nodes:
                report = self._report(node, database.name)
                if report.get("waiting"):
                    # Where it is archived now or, when it is not any more, where it was meant for.
                    self._deliver(node, database, conf.volumes.get(database.wal_archive_volume or report["volume"]))
        if self._clock() - self._pruned >= _PRUNE_EVERY:
            self._pruned = self._clock()
            self._forget_gaps()
            self._prune()

    def _report(self, node: int, database: str) -> dict[str, Any]:
        found: dict[str, Any] = (self._cluster.status(node, "wal") or {}).get(database, {})
        return found

    def _deliver(self, node: int, database: Database, volume: Volume | None) -> None:
        key = (database.name, node)
        since, _ = self._failures.get(key, (float("-inf"), ""))
        if self._clock() - since < _REST:
            return
        try:
            if volume is not None:
                self._cluster.call(ship.on(node, database.name, volume.name), timeout=_WITHIN)
            elif files := self._cluster.call(discard.on(node, database.name), timeout=_WITHIN):
                _log.warning("wal_discarded", database=database.name, node=node, files=files)
        except ConfDError as error:
            if key not in self._failures:
                _log.warning("wal_not_archived", database=database.name, node=node, reason=error.message)
            self._failures[key] = (self._clock(), error.message)
            if isinstance(error, InsufficientSpace):
                # What was kept so far may not be needed any more.
                self._pruned = float("-inf")
        else:
            self._failures.pop(key, None)

    def _forget_gaps(self) -> None:
        conf = self._cluster.conf()
        for name in conf.databases:
            if nodes := [node for node in conf.nodes if self._report(node, name).get("gap")]:
                record = read_record(self._cluster, name) or Record()
                last = last_end(self._anchors(name), Log(name, record.generation))
                for node in nodes:
                    with self._trying("gap_not_forgotten"):
                        self._cluster.call(forget_gap.on(node, name, last))

    def _anchors(self, database: str) -> list[Anchor]:
        """Return the backups of a database that can be seen now."""
        found: list[Anchor] = []
        for volume in archive_volumes(self._cluster.conf()):
            with self._trying("backups_not_seen"):
                found += anchors_on(self._cluster, volume, [database])
        return found

    def _prune(self) -> None:
        try:
            doomed = expendable(self._cluster)
        except ConfDError as error:
            self._hidden = error.message
            _log.info("wal_kept", reason=error.message)
            return
        self._hidden = ""
        for volume, limits in doomed:
            with self._trying("wal_not_pruned"):
                delete(self._cluster, volume, limits, self._wall())

    @contextmanager
    def _trying(self, event: str) -> Iterator[None]:
        try:
            yield
        except ConfDError as error:
            _log.info(event, reason=error.message)
