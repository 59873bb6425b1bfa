"""Submits the jobs by which reserve nodes take over from lost ones, and their data volume follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from confd.cluster.host import Cluster, Submission
from confd.model.errors import ConfDError
from confd.services.database.planning.reserves import holds_still, is_due, lost_node, noted
from confd.services.database.planning.situation import Situation
from confd.services.database.record import Move, Record

_log = structlog.get_logger()

_AGAIN: Final = 30.0
Note = Callable[[Callable[[Record], Record]], None]


class TakingOver:
    """Of one database; one job at a time, and a failed one is tried again after a while.

    What is to follow later is in the record before the job is submitted: a new master goes on with it.
    """

    def __init__(
        self, database: str, cluster: Cluster, note: Note, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._database, self._cluster, self._note = database, cluster, note
        self._clock, self._wall = clock, wall
        self._running: Submission | None = None
        self._rest = float("-inf")

    def look(self, now: Situation) -> None:
        """Submit what is to do now."""
        if not self._free():
            return
        conf = self._cluster.conf()
        database = conf.require_database(self._database)
        volume = conf.require_volume(database.data_volume)
        if found := lost_node(now, database, volume):
            move = Move(found.source, found.target, self._wall())
            self._note(lambda record: msgspec.structs.replace(record, moving=noted(record.moving, move)))
            self._submit("db_replace_node", db_name=self._database, node=move.source, replacement=move.target)
            return
        kept = tuple(move for move in now.record.moving if holds_still(move, now, database, volume))
        if kept != now.record.moving:
            self._note(lambda record: msgspec.structs.replace(record, moving=kept))
        due = next((move for move in kept if is_due(move, now, database, volume, self._wall())), None)
        if due:
            self._submit("st_volume_move_node", vname=volume.name, src_nodes=[due.source], dst_nodes=[due.target])

    def _free(self) -> bool:
        if self._running is not None:
            if not self._running.outcome.done():
                return False
            if self._running.outcome.exception() is not None or self._running.outcome.result().code:
                self._rest = self._clock() + _AGAIN
            self._running = None
        return self._clock() >= self._rest

    def _submit(self, job: str, **params: Any) -> None:
        try:
            self._running = self._cluster.submit(job, params)
            _log.info("takeover_submitted", database=self._database, job=job, job_id=self._running.job_id)
        except ConfDError as error:
            _log.warning("takeover_not_submitted", database=self._database, job=job, error=error.message)
            self._rest = self._clock() + _AGAIN
