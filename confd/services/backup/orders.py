"""Master operations on backups and restores: what jobs order, and how it is undone."""

from __future__ import annotations

import time

import msgspec

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.model.errors import Canceled, ConfDError, NodeError, NodeOffline, TimedOut, WrongState
from confd.model.naming import names
from confd.model.states import NodeState
from confd.services.backup.order import BackupOrder, Ended, RestoreOrder, VirtualOrder
from confd.services.backup.restoring.operations import cancel_restore
from confd.services.backup.retention.removal import make_room
from confd.services.database.planning.seats import seats
from confd.services.database.record import Record, Wanted, restoring
from confd.services.database.supervision.observation import Outcome
from confd.services.database.supervision.supervision import Supervision

_UNDO_WITHIN = 60.0
_ABORT_WITHIN = 120.0
_ABORTED = "the restore was aborted with db_backup_abort and is taken back"
_ENDED = "the restore of database {} has ended already; db_info shows how"
_TOO_LATE = "database {} has the restored data already and is starting; wait for it, then stop it with db_stop"


@master_operation("backup.start")
def start(master: Master, database: str, order: BackupOrder) -> None:
    """Start a backup and have it attended."""
    make_room(master.cluster, database, order)
    master.service(Supervision).backups.begin(database, order)
    master.say(f"n{order.node}: backup {order.location.path} on volume {order.volume}")


@master_operation("backup.stop")
def stop(master: Master, database: str, order: BackupOrder) -> None:
    """End a backup and leave nothing of it; fine when it has ended or never began."""
    master.service(Supervision).backups.abort(database, order)


@master_operation("backup.put_back", planned=lambda **_: {"state": "running"})
def put_back(master: Master, database: str, order: RestoreOrder, generation: str, early: bool) -> Outcome:
    """Make a stopped database's data from a backup and start it; fine when that is done.

    :param early: return when the primary serves, before the standbys do.
    :raises ConfDError: it failed; the order stands until ``unput``.
    :raises Canceled: by ``stop_restore``.
    """
    supervision = master.service(Supervision)

    def ordered(record: Record) -> Record:
        _check_aborted(record, generation)
        if record.generation == generation:
            return record
        return msgspec.structs.replace(
            record, restore=order, create_new=True, next_generation=generation, operation="restore", settled=False
        )

    code, message = 0, ""
    try:
        return supervision.want(
            database, Wanted.RUNNING, say=master.say, canceled=lambda: master.canceled, edit=ordered, early=early
        )
    except ConfDError as error:
        told = _told(master, database, generation, error)
        code, message = told.code, told.message
        raise told from None
    finally:
        if not master.canceled:
            ended = Ended(kind="restore", name=order.path, at=time.time(), code=code, message=message)
            supervision.change(database, lambda record: msgspec.structs.replace(record, last=ended))


@master_operation("backup.open", planned=lambda **_: {"state": "running"})
def open_backup(master: Master, database: str, virtual: VirtualOrder) -> Outcome:
    """Open a backup for reading in place of a stopped database's data, which stays as it is.

    :raises ConfDError: it failed; the order stands until the database is wanted stopped.
    :raises Canceled: by ``stop_restore``.
    """

    def ordered(record: Record) -> Record:
        _check_aborted(record, virtual.generation)
        return msgspec.structs.replace(record, virtual=virtual, settled=False)

    try:
        return master.service(Supervision).want(
            database, Wanted.RUNNING, say=master.say, canceled=lambda: master.canceled, edit=ordered
        )
    except ConfDError as error:
        raise _told(master, database, virtual.generation, error) from None


@master_operation("backup.stop_restore")
def stop_restore(master: Master, database: str, generation: str) -> None:
    """Give a restore up and wait until its job has taken it back; fine when that is done.

    :raises WrongState: it has ended otherwise, or it is too late.
    :raises NodeOffline: it ends, and is taken back when a node returns.
    """
    supervision = master.service(Supervision)
    if not _under_way(record := supervision.record(database), generation):
        if record.aborted != generation:
            raise WrongState(_ENDED.format(database))
        return
    away: NodeOffline | None = None
    try:
        # Before anything else: what is not in place by now never will be.
        if _replaced(master, database, generation):
            raise WrongState(_TOO_LATE.format(database))
    except NodeOffline as error:
        away = error
    deadline = time.monotonic() + _ABORT_WITHIN

    def judge(_: object) -> bool | None:
        if away is not None:
            raise NodeOffline(f"{away.message}; the restore ends, and is taken back when that node returns")
        record = supervision.record(database)
        if record.aborted != generation and record.wanted is Wanted.RUNNING:
            raise WrongState(_ENDED.format(database))
        if not _is_left(record, generation):
            return True
        if record.restore is not None and not record.operation:
            raise WrongState(_TOO_LATE.format(database))
        if time.monotonic() > deadline:
            raise TimedOut(f"the restore of database {database} ends, but is still taken back; db_info shows its end")
        return None

    supervision.follow(
        database, lambda record: _aborted(record, generation), judge, master.say, lambda: master.canceled
    )


@master_operation("backup.unput")
def unput(master: Master, database: str, generation: str, create_new: bool, next_generation: str) -> None:
    """Undo ``put_back``: the database is stopped with the data that it had, unless new data has replaced it already.

    :param create_new: with ``next_generation``, what the record said before.
    :raises NodeOffline: it cannot be seen which of both is the case.
    """
    supervision = master.service(Supervision)
    if database not in master.cluster.conf().databases:
        return
    record = supervision.record(database)
    if generation not in (record.generation, record.next_generation):
        # It was never ordered, or this is done, or the database was made again under its name.
        return
    supervision.change(database, lambda record: msgspec.structs.replace(record, wanted=Wanted.STOPPED))
    if record.restore is not None and record.next_generation == generation:
        if _replaced(master, database, generation):
            master.say("the data was replaced already; the next start goes on with what was restored")
            supervision.change(database, lambda record: msgspec.structs.replace(record, operation=""))
        else:
            supervision.change(database, lambda record: _without(record, generation, create_new, next_generation))
    try:
        supervision.want(database, Wanted.STOPPED, _UNDO_WITHIN, say=master.say, canceled=lambda: master.canceled)
    except (TimedOut, NodeOffline, NodeError, WrongState) as error:
        # Tried again as a debt, it could stop what an administrator has started meanwhile.
        master.say(f"{error}; it stays wanted stopped")


def _without(record: Record, generation: str, create_new: bool, next_generation: str) -> Record:
    if record.restore is None or record.next_generation != generation:
        return record
    return msgspec.structs.replace(
        record, restore=None, create_new=create_new, next_generation=next_generation, operation=""
    )


def _under_way(record: Record, generation: str) -> bool:
    found = restoring(record)
    return found is not None and found.generation == generation


def _is_left(record: Record, generation: str) -> bool:
    """Tell whether a record still speaks of a restore that has ended: what it left is taken back first."""
    if record.virtual is not None:
        return record.virtual.generation == generation
    return record.restore is not None and record.next_generation == generation


def _aborted(record: Record, generation: str) -> Record:
    if not _under_way(record, generation):
        return record
    return msgspec.structs.replace(record, wanted=Wanted.STOPPED, aborted=generation)


def _check_aborted(record: Record, generation: str) -> None:
    if record.aborted == generation:
        raise Canceled(_ABORTED)


def _told(master: Master, database: str, generation: str, error: ConfDError) -> ConfDError:
    """Return what a restore ends with: that it was aborted, whatever came of that first."""
    aborted = isinstance(error, Canceled) or master.service(Supervision).record(database).aborted == generation
    return Canceled(_ABORTED) if aborted and not master.canceled else error


def _replaced(master: Master, database: str, generation: str) -> bool:
    """End the making of data wherever it is under way; tell whether it is in place already."""
    states, silent, found = master.cluster.node_states(), list[int](), False
    for node in _workplaces(master, database):
        if states.get(node) is NodeState.OFFLINE:
            silent.append(node)
        elif states.get(node) is NodeState.ONLINE:
            found |= master.cluster.call(cancel_restore.on(node, database, generation), timeout=300.0)
    if silent:
        raise NodeOffline(
            f"{names(silent)} does not answer; whether database {database} was restored there is not known"
        )
    return found


def _workplaces(master: Master, database: str) -> tuple[int, ...]:
    conf, record = master.cluster.conf(), master.service(Supervision).record(database)
    if record.virtual is not None:
        return (record.virtual.node,)
    section = conf.require_database(database)
    return tuple(seats(section, conf.require_volume(section.data_volume), record.suspended).active)
