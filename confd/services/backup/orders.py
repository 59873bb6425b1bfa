"""Master operations on backups and restores: what jobs order, and how it is undone."""

from __future__ import annotations

import time

import msgspec

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.model.errors import ConfDError, NodeError, NodeOffline, TimedOut, WrongState
from confd.model.states import NodeState
from confd.services.backup.order import BackupOrder, Ended, RestoreOrder, VirtualOrder
from confd.services.backup.restoring.operations import cancel_restore
from confd.services.backup.retention.removal import make_room
from confd.services.database.planning.seats import seats
from confd.services.database.record import Record, Wanted
from confd.services.database.supervision.observation import Outcome
from confd.services.database.supervision.supervision import Supervision

_UNDO_WITHIN = 60.0


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
    """
    supervision = master.service(Supervision)

    def ordered(record: Record) -> Record:
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
        code, message = error.code, error.message
        raise
    finally:
        if not master.canceled:
            ended = Ended(kind="restore", name=order.path, at=time.time(), code=code, message=message)
            supervision.change(database, lambda record: msgspec.structs.replace(record, last=ended))


@master_operation("backup.open", planned=lambda **_: {"state": "running"})
def open_backup(master: Master, database: str, virtual: VirtualOrder) -> Outcome:
    """Open a backup for reading in place of a stopped database's data, which stays as it is.

    :raises ConfDError: it failed; the order stands until the database is wanted stopped.
    """

    def ordered(record: Record) -> Record:
        return msgspec.structs.replace(record, virtual=virtual, settled=False)

    return master.service(Supervision).want(
        database, Wanted.RUNNING, say=master.say, canceled=lambda: master.canceled, edit=ordered
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


def _replaced(master: Master, database: str, generation: str) -> bool:
    states = master.cluster.node_states()
    found = False
    conf, record = master.cluster.conf(), master.service(Supervision).record(database)
    section = conf.require_database(database)
    for node in seats(section, conf.require_volume(section.data_volume), record.suspended).active:
        if states.get(node) is NodeState.OFFLINE:
            raise NodeOffline(f"n{node} does not answer; whether database {database} was restored there is not known")
        if states.get(node) is NodeState.ONLINE:
            found |= master.cluster.call(cancel_restore.on(node, database, generation), timeout=300.0)
    return found
