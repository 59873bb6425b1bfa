"""Looks after running backups on the master: asks their workers, records how they ended, cleans up after dead ones.

Everything is in the databases' runtime records, so the next master goes on with what is recorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from confd.cluster.host import Cluster
from confd.model.errors import ConfDError, Interrupted, NodeOffline, TimedOut, WrongState, error_from
from confd.services.backup import running
from confd.services.backup.order import BackupOrder, Ended, Progress, RestoreOrder
from confd.services.backup.restoring.operations import progress
from confd.services.database.record import Record, read_record, restoring
from confd.services.rounds import Rounds

_log = structlog.get_logger()

_TICK: Final = 0.2
_CALM: Final = 20.0
_LOST_AFTER: Final = 90.0
"""Seconds after which a backup is given up whose node does not answer: its worker has ended itself by then."""

Change = Callable[[str, Callable[[Record], Record]], Record]
Retention = Callable[[Cluster, str, BackupOrder], None]


def keep_all(cluster: Cluster, database: str, order: BackupOrder) -> None:
    """Delete nothing after a backup."""


class Attendant:
    """Attends the backups of all databases.

    :param change: edits a database's record, durably and apart from all other edits.
    :param retention: called after every backup that went well, to delete what has expired.
    """

    def __init__(
        self,
        cluster: Cluster,
        change: Change,
        retention: Retention = keep_all,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cluster, self._change, self._retention = cluster, change, retention
        self._clock, self._wall = clock, wall
        self._silent: dict[str, float] = {}
        self._beginning: set[str] = set()
        self._watched: set[str] = set()
        self._rounds = Rounds("backups", self._look_around, every=_CALM)

    def start(self) -> None:
        """Begin to look."""
        self._cluster.watch(self._rounds.wake)
        self._rounds.start()

    def close(self) -> None:
        """End; running backups go on and are attended by the next master."""
        self._rounds.close()

    def begin(self, database: str, order: BackupOrder) -> None:
        """Record a backup, then start it; fine when it was started before.

        :raises WrongState: another one runs.
        :raises ConfDError: it does not start; nothing is left of it.
        """
        self._beginning.add(database)
        try:
            record = self._change(database, lambda record: _with(record, order))
            if record.backup == order:
                self._begin(database, order)
            elif record.last is not None and record.last.code:
                raise error_from(record.last.code, record.last.message)
        finally:
            self._beginning.discard(database)
            self._rounds.wake()

    def _begin(self, database: str, order: BackupOrder) -> None:
        try:
            self._cluster.call(running.begin.on(order.node, database, order))
        except ConfDError as error:
            self._end(database, order, _ended(order, self._wall(), error.code, error.message))
            raise

    def abort(self, database: str, order: BackupOrder) -> None:
        """End a backup and leave nothing of it; fine when it has ended.

        :raises NodeOffline: its node does not answer; says what becomes of it.
        """
        record = read_record(self._cluster, database) or Record()
        if record.backup == order:
            try:
                self._cluster.call(running.abort.on(order.node, database, order), timeout=120.0)
            except NodeOffline:
                raise NodeOffline(
                    f"n{order.node}, which takes the backup, does not answer; the backup is given up by itself when "
                    f"that lasts {_LOST_AFTER:g} s (db_info shows operation None then). If the node is lost, "
                    "db_suspend_nodes has the database go on without it at once"
                ) from None
            self._look(database, order)

    def progress(self, database: str) -> Progress | None:
        """Return how far the running backup of a database is, None when there is none."""
        record = read_record(self._cluster, database) or Record()
        if record.backup is not None:
            shown: Progress = self._cluster.call(running.look.on(record.backup.node, database, record.backup))
            return shown
        under_way = restoring(record)
        return self._restoring(database, under_way.order) if under_way else None

    def _restoring(self, database: str, order: RestoreOrder) -> Progress:
        conf = self._cluster.conf()
        for node in conf.require_volume(conf.require_database(database).data_volume).nodes:
            with suppress(ConfDError):
                found: Progress | None = self._cluster.call(progress.on(node, database))
                if found is not None:
                    return found
        return Progress(name=order.path, total=sum(link.plain for link in order.chain))

    def _look_around(self) -> None:
        for database in self._cluster.conf().databases:
            if database not in self._beginning | self._watched:
                self._attend(database)

    def _attend(self, database: str) -> None:
        order = self._order(database)
        if order is not None:
            self._watched.add(database)
            # In a thread for each: the end of one is noticed at once while others go on.
            watch = threading.Thread(target=self._watch, args=(database, order), name="backup-watch", daemon=True)
            watch.start()

    def _watch(self, database: str, order: BackupOrder) -> None:
        try:
            while not self._rounds.ended and self._order(database) == order:
                if not self._look(database, order, wait=True):
                    self._rounds.rest(_TICK)
        except Exception:
            # It is attended again.
            _log.exception("backup_not_attended", database=database)
            self._rounds.rest(_TICK)
        finally:
            self._watched.discard(database)
            self._rounds.wake()

    def _order(self, database: str) -> BackupOrder | None:
        record = read_record(self._cluster, database)
        return record.backup if record is not None else None

    def _look(self, database: str, order: BackupOrder, *, wait: bool = False) -> bool:
        """Look after a backup; tell whether its node answered."""
        now = self._clock()
        try:
            seen: Progress = self._cluster.call(running.look.on(order.node, database, order, wait=wait), timeout=10.0)
        except (NodeOffline, TimedOut):
            since = self._silent.setdefault(order.location.path, now)
            if now - since < _LOST_AFTER:
                return False
            lost = f"n{order.node}, which took the backup, does not answer"
            seen = Progress(name=order.location.path, ended=_ended(order, self._wall(), Interrupted.code, lost))
        self._silent.pop(order.location.path, None)
        # Another master looks after it when this one has been closed meanwhile.
        if seen.ended and not self._rounds.ended:
            self._end(database, order, seen.ended)
        return True

    def _end(self, database: str, order: BackupOrder, ended: Ended) -> None:
        if ended.code:
            self._clean(order)
        shown = msgspec.structs.replace(ended, at=ended.at or self._wall())
        self._change(database, lambda record: _without(record, order, shown))
        log = _log.warning if ended.code else _log.info
        log("backup_ended", database=database, backup=ended.name, code=ended.code, reason=ended.message)
        if not ended.code:
            self._retention(self._cluster, database, order)

    def _clean(self, order: BackupOrder) -> None:
        volume = self._cluster.conf().volumes.get(order.volume)
        for node in (order.node, *(volume.nodes if volume else ())):
            try:
                self._cluster.call(running.clean.on(node, order))
            except ConfDError as error:
                # Another node may do it; at the worst what is left shows as an unusable backup.
                _log.warning("backup_not_cleaned", backup=order.location.path, node=node, reason=error.message)
            else:
                return


def _with(record: Record, order: BackupOrder) -> Record:
    if record.backup == order or (record.last is not None and record.last.name == order.location.path):
        return record
    if record.operation:
        raise WrongState(f"operation {record.operation} of the database runs; wait for its end (db_info shows it)")
    return msgspec.structs.replace(record, backup=order, operation="backup")


def _without(record: Record, order: BackupOrder, ended: Ended) -> Record:
    if record.backup != order:
        return record
    return msgspec.structs.replace(record, backup=None, operation="", last=ended)


def _ended(order: BackupOrder, at: float, code: int, message: str) -> Ended:
    return Ended(kind="backup", name=order.location.path, at=at, code=code, message=message)
