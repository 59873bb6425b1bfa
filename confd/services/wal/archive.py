"""Keeps the WAL archives of all databases up to date: runs on the master, has nodes ship what waits in their spools.

It keeps nothing that it could not find again: nodes report what waits, so the next master goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from confd.cluster.host import Cluster
from confd.cluster.operations import Command
from confd.exaconf import Database, Volume
from confd.model.errors import ConfDError
from confd.services.database.record import Record, read_record
from confd.services.wal.shipping import forget_gap, prune, ship

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
        self._pruned: dict[str, float] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="WAL archive", daemon=True)

    def start(self) -> None:
        """Begin to look what waits."""
        self._thread.start()

    def close(self) -> None:
        """End; what waits stays where it is."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def problem(self, database: str) -> str:
        """Return what an administrator should know of a database's archive; empty when all is well."""
        known = self._cluster.conf().databases.get(database)
        if known is None or not known.wal_archive_volume:
            return ""
        failed = [f"n{node}: {text}" for (name, node), (_, text) in sorted(self._failures.items()) if name == database]
        texts = [f"WAL cannot be archived ({'; '.join(failed)})"] if failed else []
        if any(self._report(node, database).get("gap") for node in self._cluster.conf().nodes):
            texts.append("WAL archive has a gap: back the database up to restore later points in time")
        return " ".join(texts)

    def work(self) -> None:
        """Have nodes ship what waits now, and delete what no restore needs."""
        for database in self._cluster.conf().databases.values():
            volume = self._cluster.conf().volumes.get(database.wal_archive_volume)
            if volume is not None:
                for node in self._cluster.conf().nodes:
                    if self._report(node, database.name).get("waiting"):
                        self._ship(database, volume, node)
                self._prune(database, volume)

    def _run(self) -> None:
        while not self._closed.wait(_TICK):
            try:
                self.work()
            except Exception:
                # The archive has to go on whatever one round met.
                _log.exception("wal_archive_failed")

    def _report(self, node: int, database: str) -> dict[str, int]:
        found: dict[str, int] = (self._cluster.status(node, "wal") or {}).get(database, {})
        return found

    def _ship(self, database: Database, volume: Volume, node: int) -> None:
        key = (database.name, node)
        since, _ = self._failures.get(key, (float("-inf"), ""))
        if self._clock() - since < _REST:
            return
        try:
            self._cluster.call(ship.on(node, database.name, volume.name), timeout=_WITHIN)
        except ConfDError as error:
            if key not in self._failures:
                _log.warning("wal_not_archived", database=database.name, node=node, reason=error.message)
            self._failures[key] = (self._clock(), error.message)
            # There may be no room, and what was kept so far not be needed any more.
            self._pruned.pop(database.name, None)
        else:
            self._failures.pop(key, None)

    def _prune(self, database: Database, volume: Volume) -> None:
        if self._clock() - self._pruned.get(database.name, float("-inf")) < _PRUNE_EVERY:
            return
        self._pruned[database.name] = self._clock()
        record = read_record(self._cluster, database.name) or Record()
        deleting = (database.name, volume.name, record.generation, self._wall(), bool(record.operation))
        for node in self._cluster.conf().nodes:
            if self._report(node, database.name).get("gap"):
                self._try(forget_gap.on(node, database.name, volume.name))
        for node in volume.nodes:
            if self._try(prune.on(node, *deleting)):
                return

    def _try(self, command: Command[Any]) -> bool:
        try:
            self._cluster.call(command, timeout=_WITHIN)
        except ConfDError as error:
            _log.info("wal_not_pruned", command=command.name, node=command.node, reason=error.message)
            return False
        return True
