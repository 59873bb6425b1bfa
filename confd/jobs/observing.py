"""What jobs see of the running cluster: states of nodes, devices and databases at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from confd.cluster.operations import Command
from confd.exaconf import Database, Volume
from confd.model.errors import ConfDError, InUse, InvalidParameter, WrongState
from confd.model.states import DatabaseState, NodeState
from confd.scheduler.context import Context
from confd.scheduler.registry import Refusal
from confd.services.archive.layout import is_archive, layout_of
from confd.services.archive.repair import written_paths
from confd.services.archive.report import report_of, total_used
from confd.services.archive.upkeep import Upkeep
from confd.services.backup.retention.rules import replayed_from, used_by
from confd.services.database.planning.seats import behind, seats, with_guests
from confd.services.database.record import PREFIX, Record, Wanted, restoring
from confd.services.database.supervision.supervision import Supervision
from confd.services.etcd.members import RECORD as ETCD
from confd.services.etcd.members import Members
from confd.services.nodes.ports import check_port
from confd.services.storage.description import Content, Observed, User
from confd.services.storage.devices import device_status
from confd.services.storage.places import node_devices
from confd.services.storage.space import DeviceStatus

R = TypeVar("R")

_UNDOING: Final = "undoing"
_RESTORE: Final = "restore"


def ask(ctx: Context, command: Command[R]) -> R:
    """Have a node answer a question that changes nothing; asked also in a dry run, answered once for all reruns.

    :raises NodeOffline: the node does not answer.
    """
    answer = ctx.learn(f"{command.name} on n{command.node}", lambda: msgspec.to_builtins(ctx.cluster.call(command)))
    return command.operation.result(answer)


def node_states(ctx: Context) -> dict[int, NodeState]:
    """Return the states of all nodes as they are now; a rerun gets the same ones."""
    told = ctx.learn("nodes", lambda: {str(node): str(state) for node, state in ctx.cluster.node_states().items()})
    return {int(node): NodeState(state) for node, state in told.items()}


def check_port_of_nodes(ctx: Context, port: int) -> None:
    """Refuse a port that somebody else listens on; nodes that are away are not asked.

    :raises InUse: says who does, and where.
    """
    for node, state in node_states(ctx).items():
        if state is NodeState.ONLINE:
            ask(ctx, check_port.on(node, port=port))


def check_not_of_etcd(ctx: Context, port: int, parameter: str) -> None:
    """Refuse a port on which members of etcd listen that the cluster runs itself, on whichever nodes.

    :raises InvalidParameter: says so.
    """
    known = ctx.learn("members", lambda: ctx.record(ETCD))
    if known is not None and port - msgspec.convert(known, Members).port in (0, 1):
        raise InvalidParameter(f"{parameter}: {port} is a port of etcd, which the nodes run; give another one")


def database_record(ctx: Context, name: str) -> Record:
    """Return the runtime record of a database as it is now; a rerun gets the same one."""
    stored = ctx.learn(f"record of {name}", lambda: ctx.record(PREFIX + name))
    return Record() if stored is None else msgspec.convert(stored, Record)


def database_state(ctx: Context, name: str) -> str:
    """Return the state of a database as its instances make it."""
    return str(ctx.service(Supervision).observe(name).state)


def require_idle(ctx: Context, name: str) -> Record:
    """Refuse a database with a running backup or restore, or one still to be taken back; return its record.

    :raises WrongState: says what runs.
    """
    record = ctx.service(Supervision).record(name)
    _check_idle(name, ctx.learn("operation", lambda: _operation(record)))
    return record


def unless_restored(parameter: str) -> Refusal:
    """Refuse calls for a database that is being restored: its restore holds the lock for hours."""

    def refuse(records: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        name = str(values.get(parameter))
        stored = records.get(PREFIX + name)
        record = Record() if stored is None else msgspec.convert(stored, Record)
        if restoring(record) is not None:
            _check_idle(name, _operation(record))

    return refuse


def _check_idle(name: str, operation: str) -> None:
    if operation == _UNDOING:
        raise WrongState(
            f"the last restore of database {name} failed and is still taken back; that goes on by itself once all of "
            "its nodes answer, or lost ones are taken from it with db_suspend_nodes (db_info shows operation None then)"
        )
    if operation:
        raise WrongState(
            f"a {operation} of database {name} runs; wait for its end (db_backup_progress), or end it with "
            "db_backup_abort"
        )


def _operation(record: Record) -> str:
    stopped = record.wanted is Wanted.STOPPED and record.restore is not None
    if stopped and record.operation:
        return _UNDOING
    return _RESTORE if restoring(record) is not None else record.operation


def require_stopped(ctx: Context, name: str, done: str) -> None:
    """Refuse a database that is not in state setup; ``done`` is what the job would do to it.

    :raises WrongState: says what to do first.
    """
    state = ctx.learn("state", lambda: database_state(ctx, name))
    if state != DatabaseState.SETUP:
        raise WrongState(f"database {name} is in state {state}; stop it with db_stop before it is {done}")


def observe(ctx: Context, *, fresh: bool = False) -> Observed:
    """Return what storage is like now.

    :param fresh: ask the nodes instead of taking what they reported last.
    """
    states = ctx.cluster.node_states()
    looked_at = [node for node in ctx.committed.nodes if states.get(node) is NodeState.ONLINE]
    read = _asked if fresh else _reported
    return Observed(
        states=states,
        devices={node: found for node in looked_at if (found := read(ctx, node)) is not None},
        users=tuple(_user(ctx, name) for name in ctx.committed.databases),
        contents={
            volume.name: _content(ctx, volume) for volume in ctx.committed.volumes.values() if is_archive(volume)
        },
    )


def check_not_written(ctx: Context, volume: Volume) -> None:
    """Refuse an archive volume that a backup or restore uses at this moment; nodes that are away are not asked.

    :raises InUse: names the files.
    """
    if not is_archive(volume) or volume.id is None:
        return
    for key, stored in ctx.records(PREFIX).items():
        record, name = msgspec.convert(stored, Record), key.removeprefix(PREFIX)
        if paths := sorted(used_by([record], volume.id)):
            raise InUse(
                f"volume {volume.name!r} is used by database {name} ({paths[0]}): a backup or restore runs, or a "
                "backup is open; wait for its end or abort it (db_info)"
            )
        if (order := replayed_from(record, volume.name)) is not None and order.wal is not None:
            raise InUse(
                f"volume {volume.name!r} has WAL for a restore of database {name}, of {order.path} to "
                f"{order.wal.until} UTC, which runs or is open; wait for its end, abort it (db_backup_abort), or "
                "close it (db_stop)"
            )
    states = ctx.cluster.node_states()
    layout = layout_of(ctx.committed, volume.name)
    for node in layout.nodes:
        if states.get(node) is NodeState.ONLINE and (paths := ask(ctx, written_paths.on(node, layout=layout))):
            raise InUse(f"volume {volume.name!r} is being written ({paths[0]}); wait for the backup or abort it")


def free_devices(ctx: Context, nodes: list[int], disk: str) -> dict[int, list[DeviceStatus]]:
    """Return the devices of a disk on each node with what is free on them now."""
    return {node: ask(ctx, device_status.on(node, disk=disk)) for node in nodes}


def _content(ctx: Context, volume: Volume) -> Content:
    layout = layout_of(ctx.committed, volume.name)
    reports = {node: report for node in layout.nodes if (report := report_of(ctx.cluster, layout, node)) is not None}
    health = ctx.service(Upkeep).health(volume.name)
    return Content(used=total_used(layout, reports), behind=health.behind, recovering=health.recovering)


def _reported(ctx: Context, node: int) -> list[DeviceStatus] | None:
    reported = ctx.cluster.status(node, "storage")
    return None if reported is None else msgspec.convert(reported, list[DeviceStatus])


def _asked(ctx: Context, node: int) -> list[DeviceStatus] | None:
    if not node_devices(ctx.committed, node):
        return []
    try:
        return ask(ctx, device_status.on(node))
    except ConfDError as error:
        # A node that fails now is described like one that is away; the list of the others is still of use.
        ctx.warn(f"n{node} does not answer: {error.message}")
        return None


def _user(ctx: Context, name: str) -> User:
    stored = ctx.record(PREFIX + name)
    record = Record() if stored is None else msgspec.convert(stored, Record)
    database = ctx.committed.databases[name]
    volume = ctx.committed.volumes.get(database.data_volume)
    return User(
        name=name,
        active=database.active_nodes,
        primary=record.primary,
        running=record.wanted is Wanted.RUNNING,
        temporary=record.temporary_volume,
        behind=_behind(database, volume, record) if volume and record.settled else (),
    )


def _behind(database: Database, volume: Volume, record: Record) -> tuple[int, ...]:
    return behind(with_guests(seats(database, volume), record, volume.redundancy), record)
