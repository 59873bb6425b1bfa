"""Supervision of all databases: runs on the master, one supervisor per database of the configuration."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from confd.cluster.host import Cluster
from confd.model.errors import Canceled, InUse, NoMaster, TimedOut, WrongState
from confd.model.states import DatabaseState
from confd.services.backup.attendant import Attendant
from confd.services.backup.retention.removal import retain
from confd.services.database.record import Record, Wanted, new_generation, read_record, resuming, suspending
from confd.services.database.supervision.observation import Observation, Outcome, observation, outcome, primary_serves
from confd.services.database.supervision.supervisor import Supervisor

R = TypeVar("R")

_PARALLEL: Final = 32
_LOOK: Final = 0.2


class Supervision:
    """The supervisors of all databases; started and stopped with mastership."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cluster, self._clock, self._wall = cluster, clock, wall
        self._looks = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="database-look")
        self._works = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="database-work")
        self._supervisors: dict[str, Supervisor] = {}
        self._lock = threading.Lock()
        self._open = False
        self.backups = Attendant(cluster, self.change, retain)

    def start(self) -> None:
        """Begin to supervise every database of the configuration."""
        self._open = True
        self._cluster.watch(self._wake)
        for database in self._cluster.conf().databases:
            self._supervisor(database)
        self.backups.start()

    def close(self) -> None:
        """End all supervisors; instances go on running."""
        self.backups.close()
        with self._lock:
            self._open = False
            supervisors = list(self._supervisors.values())
        for supervisor in supervisors:
            supervisor.end()
        for supervisor in supervisors:
            supervisor.close()
        for pool in (self._looks, self._works):
            pool.shutdown(wait=False, cancel_futures=True)

    def set_create_new(self, database: str, create_new: bool) -> bool:
        """Have the next start make empty data, or no longer; return what was set before."""
        before = self.record(database).create_new
        self._supervisor(database).change(lambda record: msgspec.structs.replace(record, create_new=create_new))
        return before

    def suspend(self, database: str, nodes: Collection[int], vouched: Collection[int] = ()) -> None:
        """Take nodes from a database: the next primary is another one.

        :param vouched: those that did not answer when it was ordered: they are dead, as who ordered it says.
        """
        self._supervisor(database).change(lambda record: suspending(record, nodes, vouched))

    def resume(self, database: str, nodes: Collection[int]) -> None:
        """Give suspended nodes back to a database."""
        self._supervisor(database).change(lambda record: resuming(record, nodes))

    def await_hand_over(self, database: str, within: float, canceled: Callable[[], bool]) -> bool:
        """Wait until a running database is served by a node that is not suspended; False when it takes longer."""
        supervisor, deadline = self._supervisor(database), self._clock() + within
        with supervisor.changed:
            while not _handed_over(supervisor):
                if canceled() or self._clock() >= deadline:
                    return False
                supervisor.changed.wait(_LOOK)
        return True

    def view(self, database: str) -> Supervisor:
        """Return the supervisor of a database, whose view is to be looked at with its condition held."""
        return self._supervisor(database)

    def record(self, database: str) -> Record:
        """Return the runtime record of a database, the one of a new database when there is none."""
        return read_record(self._cluster, database) or Record()

    def temporary_volumes(self) -> dict[int, str]:
        """Return the ids of databases' temporary volumes; not free for other volumes."""
        records = {name: self.record(name) for name in self._cluster.conf().databases}
        return {one.temporary_volume: name for name, one in records.items() if one.temporary_volume is not None}

    def want(
        self,
        database: str,
        wanted: Wanted,
        timeout: float | None = None,
        force: bool = False,
        maintenance: bool = False,
        accept_loss: bool = False,
        say: Callable[[str], None] = lambda _: None,
        canceled: Callable[[], bool] = lambda: False,
        edit: Callable[[Record], Record] = lambda record: record,
        early: bool = False,
    ) -> Outcome:
        """Write the wanted state durably and wait until it is reached.

        :param timeout: seconds; None waits as long as it takes.
        :param force: when stopping, without a checkpoint.
        :param maintenance: when starting, for sys only.
        :param accept_loss: when starting, also without rows that only absent nodes have.
        :param edit: further changes of the record, durable together with the wanted state.
        :param early: when starting, do not wait for the standbys.
        :raises TimedOut: not reached in time; it stays wanted until ``unwant``.
        :raises NodeOffline: a node that is needed does not answer.
        :raises NodeError: a server does not start; with its log.
        """
        supervisor = self._supervisor(database)
        if wanted is Wanted.RUNNING:
            self._check_volume(database)
        supervisor.tell(say)
        try:
            supervisor.change(
                lambda record: edit(self._wanting(database, record, wanted, maintenance, accept_loss)), force
            )
            return self._wait(supervisor, wanted, timeout, canceled, early)
        finally:
            supervisor.tell(lambda _: None)

    def change(self, database: str, edit: Callable[[Record], Record]) -> Record:
        """Edit the record of a database durably; its supervisor acts on it at once."""
        return self._supervisor(database).change(edit)

    def follow(
        self,
        database: str,
        edit: Callable[[Record], Record],
        judge: Callable[[Supervisor], R | None],
        say: Callable[[str], None] = lambda _: None,
        canceled: Callable[[], bool] = lambda: False,
    ) -> R:
        """Edit the record durably and wait until ``judge`` gives something; it is asked with the condition held.

        :raises ConfDError: what ``judge`` raised.
        """
        supervisor = self._supervisor(database)
        supervisor.tell(say)
        try:
            supervisor.change(edit)
            with supervisor.changed:
                while (judged := judge(supervisor)) is None:
                    if canceled():
                        raise Canceled(f"nobody waits any more for database {database}")
                    supervisor.changed.wait(_LOOK)
            return judged
        finally:
            supervisor.tell(lambda _: None)

    def observe(self, database: str) -> Observation:
        """Return what the instances really do now."""
        supervisor = self._supervisor(database)
        failures = [failure.error for failure in list(supervisor.failures.values())]
        return observation(supervisor.observe(), failures)

    def _wanting(self, database: str, record: Record, wanted: Wanted, maintenance: bool, accept_loss: bool) -> Record:
        changes: dict[str, object] = {"wanted": wanted, "since": self._wall()}
        if wanted is Wanted.RUNNING:
            # A stop leaves in the record how the database ran: it may be undone.
            changes |= {"maintenance": maintenance, "accept_loss": accept_loss, "moving": ()}
            record = relocated(record, self._cluster.conf().require_database(database).data_volume)
            changes["next_generation"] = record.next_generation or new_generation()
            if record.temporary_volume is None:
                changes["temporary_volume"] = self._free_volume_id()
        return msgspec.structs.replace(record, **changes)

    def _free_volume_id(self) -> int:
        taken = {volume.id for volume in self._cluster.conf().volumes.values()} | set(self.temporary_volumes())
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def _check_volume(self, database: str) -> None:
        databases = self._cluster.conf().databases
        volume = databases[database].data_volume
        for other, section in databases.items():
            record = self.record(other)
            if other != database and section.data_volume == volume and record.wanted is Wanted.RUNNING:
                raise InUse(f"data volume {volume} is in use by database {other}, which runs; stop it with db_stop")

    def _wait(
        self,
        supervisor: Supervisor,
        wanted: Wanted,
        timeout: float | None,
        canceled: Callable[[], bool],
        early: bool = False,
    ) -> Outcome:
        deadline = None if timeout is None else self._clock() + timeout
        with supervisor.changed:
            while True:
                if outcome := _reached(supervisor, wanted, early):
                    return outcome
                if canceled():
                    raise Canceled(f"nobody waits any more for database {supervisor.database} to be {wanted.value}")
                if deadline is not None and self._clock() >= deadline:
                    raise TimedOut(_late(supervisor, wanted, timeout))
                supervisor.changed.wait(_LOOK)

    def _supervisor(self, database: str) -> Supervisor:
        self._cluster.conf().require_database(database)
        with self._lock:
            if not self._open:
                raise NoMaster("this node is no longer master; send the job again")
            found = self._supervisors.get(database)
            if found is None or found.ended:
                found = Supervisor(database, self._cluster, self._looks, self._works, self._clock)
                self._supervisors[database] = found
                found.start()
        return found

    def _wake(self) -> None:
        for supervisor in list(self._supervisors.values()):
            supervisor.notice()


def relocated(record: Record, volume: str) -> Record:
    """Return the record for a database that may have been given another data volume while it was stopped."""
    if volume == record.volume:
        return record
    return Record(
        create_new=record.create_new,
        next_generation=record.next_generation,
        volume=volume,
        moves=record.moves,
        temporary_volume=record.temporary_volume,
    )


def _handed_over(supervisor: Supervisor) -> bool:
    view = supervisor.view
    if view is None:
        return False
    record = view.situation.record
    return record.wanted is Wanted.STOPPED or (
        record.primary not in record.suspended and primary_serves(view.situation)
    )


def _reached(supervisor: Supervisor, wanted: Wanted, early: bool) -> Outcome | None:
    """Return the outcome, None while it is open; call with the supervisor's condition held.

    :raises ConfDError: it cannot be reached.
    """
    view = supervisor.view
    if view is None:
        return None
    if view.situation.record.wanted is not wanted:
        # Nobody works towards it any more: it would be waited for in vain.
        raise WrongState(f"database {supervisor.database} was ordered otherwise meanwhile; it is not {wanted.value}")
    if early and wanted is Wanted.RUNNING and not view.situation.record.create_new and primary_serves(view.situation):
        return Outcome(DatabaseState.RUNNING)
    for failure in supervisor.failures.values():
        if failure.since == view.situation.record.since:
            raise failure.error
    return outcome(view.situation, view.plan)


def _late(supervisor: Supervisor, wanted: Wanted, timeout: float | None) -> str:
    doing = "; ".join(sorted(supervisor.doing())) or "waiting for instances"
    return f"database {supervisor.database} is not {wanted.value} after {timeout:g} s ({doing})"
