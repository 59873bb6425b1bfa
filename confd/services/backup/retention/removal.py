"""Deletes backups and changes when they expire, on their volumes."""

from __future__ import annotations

import threading

import msgspec
import structlog

from confd.cluster.host import Cluster, Host, Master
from confd.cluster.operations import master_operation, operation
from confd.exaconf import Volume
from confd.model.errors import ConfDError, NodeOffline
from confd.model.states import NodeState
from confd.services.backup.catalogue import read_backups, write_status
from confd.services.backup.location import find, parse_path
from confd.services.backup.order import BackupOrder
from confd.services.backup.retention.rules import expendable, used_by
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.instance.operations import usage
from confd.services.database.record import Record, read_record

_log = structlog.get_logger()

_INCREMENTAL_SHARE = 4
"""An incremental backup is taken to need this part of the database, a full one all of it: more than both mostly do."""


@operation("backup.delete")
def delete(host: Host, volume: str, paths: list[str]) -> None:
    """Delete backups, given by the paths of their data, one after another; those that are gone are fine."""
    target = open_target(host, volume)
    for path in paths:
        _delete(target, path)
        host.say(f"{path} is deleted")


@operation("backup.expired")
def expired(host: Host, volume: str, database: str | None, now: float, kept: list[str]) -> list[str]:
    """Return the paths of the expired backups that nothing needs, in an order in which they can be deleted.

    :param database: of this one only.
    :param kept: paths of backups that an operation uses.
    """
    return [one.path for one in expendable(read_backups(open_target(host, volume), database), now, kept)]


@operation("backup.delete_expired")
def delete_expired(host: Host, volume: str, path: str, now: float, kept: list[str]) -> bool:
    """Delete a backup if it has expired and nothing needs it; tell whether it did."""
    target = open_target(host, volume)
    known = read_backups(target, parse_path(path).database)
    if all(one.path != path for one in expendable(known, now, kept)):
        return False
    _delete(target, path)
    return True


@operation("backup.set_expiry")
def set_expiry(host: Host, volume: str, expiries: dict[str, float | None]) -> None:
    """Set when backups expire, by path; those that are gone or incomplete are left as they are."""
    target = open_target(host, volume)
    for path, expires in expiries.items():
        location = parse_path(path)
        backup = read_backups(target, location.database).find(path)
        if backup is not None and backup.status is not None and backup.status.expires != expires:
            changed = msgspec.structs.replace(backup.status, expires=expires)
            write_status(target, location, changed, backup.version + 1)


@operation("backup.free")
def free(host: Host, volume: str) -> int | None:
    """Return how many bytes fit on a volume."""
    return open_target(host, volume).free()


@master_operation("backup.delete_backups")
def delete_backups(master: Master, volume: str, paths: list[str]) -> None:
    """Delete backups from a node that answers; fine when the volume is gone with all it held."""
    known = master.cluster.conf().volumes.get(volume)
    if known is not None:
        master.cluster.call(delete.on(_node(master.cluster, known), volume=volume, paths=paths), timeout=600.0)


def retain(cluster: Cluster, database: str, order: BackupOrder) -> None:
    """Delete the expired backups of a database on the volume that just took one. What fails is tried the next time.

    It does not wait: the backups of other databases are looked after meanwhile.
    """
    threading.Thread(target=delete_all_expired, args=(cluster, order, database), name="retention", daemon=True).start()


def make_room(cluster: Cluster, database: str, order: BackupOrder) -> None:
    """Delete expired backups of all databases when a volume has less space than a new backup may take."""
    try:
        left = cluster.call(free.on(order.node, volume=order.volume))
        size = cluster.call(usage.on(order.node, database=database)).persistent
    except ConfDError as error:
        _log.warning("space_not_known", volume=order.volume, reason=error.message)
        return
    if left is not None and left < (size // _INCREMENTAL_SHARE if order.location.level else size):
        delete_all_expired(cluster, order)


def delete_all_expired(cluster: Cluster, order: BackupOrder, database: str | None = None) -> None:
    """Delete the expired backups on the volume of a backup; what fails is logged.

    What is in use is asked again before each: another backup may have chosen it as its base meanwhile.

    :param database: of this one only.
    """
    gone: list[str] = []
    try:
        look = expired.on(order.node, order.volume, database, order.began, _kept(cluster, order))
        for path in cluster.call(look, timeout=600.0):
            command = delete_expired.on(order.node, order.volume, path, order.began, _kept(cluster, order))
            gone += [path] if cluster.call(command, timeout=600.0) else []
    except ConfDError as error:
        _log.warning("expired_backups_stay", volume=order.volume, reason=error.message)
    _log.info("expired_backups_deleted", volume=order.volume, backups=gone)


def records_of(cluster: Cluster) -> list[Record]:
    """Return the runtime records of all databases."""
    return [record for name in cluster.conf().databases if (record := read_record(cluster, name)) is not None]


def _kept(cluster: Cluster, order: BackupOrder) -> list[str]:
    own = [one.path for one in (order.location, order.base) if one is not None]
    return sorted({*own, *used_by(records_of(cluster), order.volume_id)})


def _delete(target: BackupTarget, path: str) -> None:
    location = parse_path(path)
    own = [file.path for file in target.files(location.directory) if _is_of(file.path, path)]
    statuses = [name for name in own if (found := find(name)) and found.kind == "status"]
    # Without its status it is no backup any more, wherever this ends.
    target.delete(statuses)
    target.delete(name for name in own if name not in statuses)


def _is_of(file: str, path: str) -> bool:
    found = find(file)
    return found is not None and found.location.path == path


def _node(cluster: Cluster, volume: Volume) -> int:
    states = cluster.node_states()
    online = [node for node in volume.nodes if states.get(node) is NodeState.ONLINE]
    if not online:
        raise NodeOffline(f"no node of volume {volume.name} is online")
    return online[0]
