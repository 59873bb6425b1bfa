"""Runs due schedules of all databases: a service of the master.

What is run is a job like any other, submitted as the system. All that has to be known after a change of the master
is in a runtime record per database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from confd.cluster.host import Cluster, Submission
from confd.exaconf import Database
from confd.model.envelope import Outcome
from confd.model.errors import ClusterError, ConfDError, Conflict, Interrupted, WrongState, error_from
from confd.model.states import NodeState
from confd.services.backup.order import Ended
from confd.services.backup.scheduling.due import (
    Decision,
    Readiness,
    Run,
    again,
    decide,
    next_look,
    refused,
    rested,
)
from confd.services.backup.scheduling.schedules import PREFIX, is_backup, job_of, plans, read_runs, time_zone
from confd.services.database.observed import InstanceState
from confd.services.database.record import Record, Wanted, read_record
from confd.services.rounds import Rounds

_log = structlog.get_logger()

_LONGEST_SLEEP: Final = 20.0
_PASSING: Final = (ClusterError, Conflict, Interrupted)
"""Errors that say nothing against the backup: it is tried again."""

_TAKEN: Final = "OK"
_TAKING: Final = "is being taken"


class _Begun(msgspec.Struct, frozen=True):
    """A run whose job has not ended: the key of its schedule, the time it was due."""

    key: str
    due: float
    submission: Submission


class Schedules:
    """The clock of all schedules; started and stopped with mastership."""

    def __init__(self, cluster: Cluster, wall: Callable[[], float] = time.time) -> None:
        self._cluster, self._wall = cluster, wall
        self._begun: dict[str, _Begun] = {}
        self._states: dict[str, dict[int, NodeState]] = {}
        self._known: object = None
        self._rounds = Rounds("schedules", self.look, every=_LONGEST_SLEEP)

    def start(self) -> None:
        """Begin to look."""
        self._cluster.watch(self._notice)
        self._rounds.start()

    def close(self) -> None:
        """End; jobs that were submitted go on."""
        self._rounds.close()

    def look(self) -> float:
        """Start what is due now; return how many seconds nothing is due."""
        now = self._wall()
        databases = list(self._cluster.conf().databases.values())
        return min((self._look_safely(database, now) for database in databases), default=_LONGEST_SLEEP)

    def _look_safely(self, database: Database, now: float) -> float:
        try:
            return self._look_at(database, now)
        except Exception as error:
            # The schedules of other databases go on, and this one is looked at again.
            _log.exception("schedules_not_run", database=database.name, error=str(error))
            return _LONGEST_SLEEP

    def _look_at(self, database: Database, now: float) -> float:
        wanted, zone = plans(database), time_zone(self._cluster.conf())
        before = self.runs(database.name)
        known = self._rested(database.name, self._taken(database.name, self._ended(database.name, before)))
        if not wanted and not known:
            return _LONGEST_SLEEP
        busy = database.name in self._begun or bool(self._record(database.name).operation)
        decision = decide(wanted, known, self._readiness(database.name), busy, now, zone)
        if decision.runs != before:
            self._note(database.name, decision.runs)
        if decision.start is not None:
            self._begin(database, decision.start, decision)
        until = next_look(wanted.values(), now, zone)
        return _LONGEST_SLEEP if until is None else min(_LONGEST_SLEEP, max(until - now, 0.0))

    def runs(self, database: str) -> dict[str, Run]:
        """Return what is known of the runs of a database's schedules."""
        return read_runs(self._cluster.record(PREFIX + database))

    def _begin(self, database: Database, key: str, decision: Decision) -> None:
        run = decision.runs[key]
        name, params = job_of(database, key)
        submission = self._cluster.submit(name, params)
        _log.info("schedule_run", database=database.name, schedule=key, job_id=submission.job_id)
        self._begun[database.name] = _Begun(key, run.last, submission)
        self._note(database.name, decision.runs | {key: msgspec.structs.replace(run, job=submission.job_id)})
        submission.outcome.add_done_callback(lambda _: self._rounds.wake())

    def _ended(self, database: str, runs: dict[str, Run]) -> dict[str, Run]:
        """Return the runs with what became of the job that was submitted last, if it has ended."""
        begun = self._begun.get(database)
        if begun is None or not begun.submission.outcome.done():
            return runs
        del self._begun[database]
        try:
            outcome = begun.submission.outcome.result()
        except ConfDError:
            # This master goes down; the next one goes on with the job.
            return runs
        if outcome.code:
            _log.warning("schedule_failed", database=database, schedule=begun.key, reason=outcome.message)
        if begun.key not in runs:
            return runs
        return runs | {begun.key: self._judged(database, begun.key, runs[begun.key], outcome)}

    def _judged(self, database: str, key: str, run: Run, outcome: Outcome) -> Run:
        record, result = self._record(database), f"{outcome.name}: {outcome.message}"
        if outcome.code == 0:
            return self._taking(database, run, record) if is_backup(key) else _done(run)
        if outcome.code == WrongState.code and (record.operation or self._readiness(database) is Readiness.COMING):
            return again(run, result)
        if isinstance(error_from(outcome.code, ""), _PASSING):
            self._states[database] = self._cluster.node_states()
            return refused(run, f"{result}; it is tried again", self._wall())
        return msgspec.structs.replace(run, result=result, refusals=0)

    def _taken(self, database: str, runs: dict[str, Run]) -> dict[str, Run]:
        """Return the runs with how the backup ended that one of them started."""
        last = self._record(database).last
        return {
            key: run if last is None or not run.backup or last.name != run.backup else self._over(database, run, last)
            for key, run in runs.items()
        }

    def _taking(self, database: str, run: Run, record: Record) -> Run:
        """Return a run whose job went well: its backup has begun, and may have ended already."""
        if record.backup is not None:
            # How often it was refused is forgotten when it is done: it may be lost again.
            return msgspec.structs.replace(run, result=_TAKING, backup=record.backup.location.path)
        return self._over(database, run, record.last)

    def _over(self, database: str, run: Run, ended: Ended | None) -> Run:
        """Return a run whose backup has ended; one that was lost with its node or its worker is tried again."""
        over = _done(run, ended)
        if over.result == _TAKEN or ended is None or not isinstance(error_from(ended.code, ""), _PASSING):
            return over
        self._states[database] = self._cluster.node_states()
        lost = msgspec.structs.replace(over, refusals=run.refusals)
        return refused(lost, f"{over.result}; it is tried again", self._wall())

    def _rested(self, database: str, runs: dict[str, Run]) -> dict[str, Run]:
        """Return the runs with refused ones ready at once when nodes came or went since, or the master is another."""
        if not any(run.rest for run in runs.values()):
            return runs
        states = self._cluster.node_states()
        if self._states.get(database) == states:
            return runs
        self._states[database] = states
        return {key: rested(run) for key, run in runs.items()}

    def _note(self, database: str, runs: dict[str, Run]) -> None:
        self._cluster.put_record(PREFIX + database, msgspec.to_builtins(runs) or None)

    def _readiness(self, database: str) -> Readiness:
        record = self._record(database)
        if record.wanted is Wanted.STOPPED:
            return Readiness.STOPPED
        reported = None if record.primary is None else self._cluster.status(record.primary, "database")
        state = ((reported or {}).get(database) or {}).get("state")
        return Readiness.RUNNING if state == InstanceState.READY and record.settled else Readiness.COMING

    def _record(self, database: str) -> Record:
        return read_record(self._cluster, database) or Record()

    def _notice(self) -> None:
        conf = self._cluster.conf()
        facts = [
            (one.name, one.backups, one.snapshots, self._cluster.record(f"database/{one.name}"))
            for one in conf.databases.values()
            if one.backups or one.snapshots
        ]
        known = facts, self._cluster.node_states() if self._states else None
        if known != self._known:
            self._known = known
            self._rounds.wake()


def _done(run: Run, ended: Ended | None = None) -> Run:
    failed = ended is not None and ended.code and ended.kind == "backup"
    result = f"{error_from(ended.code, '').name}: {ended.message}" if ended and failed else _TAKEN
    return msgspec.structs.replace(run, result=result, backup="", refusals=0)
