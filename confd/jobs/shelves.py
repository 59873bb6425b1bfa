"""What jobs see of the backups on archive volumes, and of snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from confd.exaconf import Database, Volume
from confd.jobs.observing import ask
from confd.model.errors import ConfDError, InvalidParameter, NodeOffline, NotFound
from confd.model.naming import names
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.services.archive.layout import is_archive
from confd.services.backup.backup import Backup, Backups
from confd.services.backup.location import parse_id
from confd.services.backup.running import read
from confd.services.backup.snapshots.operations import list_snapshots
from confd.services.backup.snapshots.snapshot import Snapshot, parse_snapshot_id, require_snapshot_volume
from confd.services.backup.targets import archive_volume, archive_volumes
from confd.services.wal.keeping import Log
from confd.services.wal.pruning import find_logs


def node_for(ctx: Context, volume: Volume) -> int:
    """Return a node that can read and write a volume.

    :raises NodeOffline: none of its nodes answers.
    """
    states = ctx.cluster.node_states()
    online = [node for node in volume.nodes if states.get(node) is NodeState.ONLINE]
    if not online:
        raise NodeOffline(f"no node of volume {volume.name} is online; start one of {names(volume.nodes)}")
    return ctx.learn("node", lambda: online[0])


def backups_on(ctx: Context, volume: Volume, database: str | None = None) -> Backups:
    """Return the backups on a volume, of one database or of all.

    :raises NodeOffline: it cannot be read; names the volume.
    """
    try:
        found: list[Backup] = ask(ctx, read.on(node_for(ctx, volume), volume=volume.name, database=database))
    except NodeOffline as error:
        raise NodeOffline(f"the backups on volume {volume.name} cannot be read: {error.message}") from None
    return Backups(found)


def warn_of_backups(ctx: Context, volume: Volume) -> None:
    """Tell which databases could be restored from an archive volume that is about to go, as far as it can be read."""
    if not is_archive(volume) or volume.id is None:
        return
    try:
        found = backups_on(ctx, volume)
    except ConfDError as error:
        ctx.warn(f"whether volume {volume.name} holds backups could not be seen: {error.message}")
        return
    counts = Counter(one.database for one in found.all if found.usable(one))
    if counts:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        ctx.warn(f"usable backups go with volume {volume.name}, of databases: {shown}")
    hidden = sorted({one.database for one in found.all if found.away(one)})
    if hidden:
        ctx.warn(f"backups of {', '.join(hidden)} on volume {volume.name} could not be read now; they go as well")


def warn_of_wal(ctx: Context, volume: Volume) -> None:
    """Tell whose archived WAL goes with an archive volume, as far as it can be read, and whose still waits for it."""
    if not is_archive(volume) or volume.id is None:
        return
    try:
        logs: list[Log] = ask(ctx, find_logs.on(node_for(ctx, volume), volume=volume.name))
    except ConfDError:
        # That it cannot be read is told of its backups.
        logs = []
    reports = [ctx.cluster.status(node, "wal") or {} for node in ctx.committed.nodes]
    waiting = {name for told in reports for name, one in told.items() if one.get("volume") == volume.name}
    if names_of := sorted({log.database for log in logs} | waiting):
        ctx.warn(
            f"archived WAL goes with volume {volume.name}, of databases: {', '.join(names_of)}; points in time that it "
            "leads to cannot be restored any more"
        )


def readable(ctx: Context, database: str | None = None) -> Iterator[tuple[Volume, Backups]]:
    """Yield the archive volumes that can be read now with their backups; a warning names each of the others.

    :raises ConfDError: there are volumes, and none can be read: to say that there are no backups would be wrong.
    """
    volumes = archive_volumes(ctx.conf)
    unread: list[ConfDError] = []
    for volume in volumes:
        try:
            found = backups_on(ctx, volume, database)
        except ConfDError as error:
            unread.append(error)
            continue
        yield volume, found
    if unread and len(unread) == len(volumes):
        raise type(unread[0])("; ".join(one.message for one in unread))
    for missed in unread:
        ctx.warn(f"{missed.message}; what it holds is left out")


def find_backup(ctx: Context, backup_id: str) -> tuple[Volume, Backups, Backup]:
    """Return the volume and the backup that an id names, with the others of its database there.

    :raises InvalidParameter: it is no id.
    :raises NotFound: there is no such volume or backup.
    """
    try:
        number, location = parse_id(backup_id)
    except InvalidParameter as error:
        raise InvalidParameter(f"backup_id: {error.message}") from None
    volume = archive_volume(ctx.conf, None, number, "backup_id")
    backups = backups_on(ctx, volume, location.database)
    backup = backups.find(location.path)
    if backup is None:
        raise NotFound(
            f"backup_id: volume {volume.name} has no backup {location.path}; db_backup_list shows all, with "
            "show_foreign also those of other databases"
        )
    return volume, backups, backup


def snapshots_on(ctx: Context, name: str, volume: Volume) -> tuple[dict[tuple[int, str], Snapshot], list[int]]:
    """Return the snapshots of a database by node and path, and the nodes that could not be asked."""
    found: dict[tuple[int, str], Snapshot] = {}
    away: list[int] = []
    for node in volume.nodes:
        try:
            answer = ask(ctx, list_snapshots.on(node, volume=volume.name, database=name))
        except ConfDError:
            away.append(node)
            continue
        found |= {(node, one.id): one for one in answer}
    return found, away


def find_snapshot(ctx: Context, database: Database, given: str) -> tuple[Volume, int, Snapshot]:
    """Return the snapshot volume of a database, and the node and description of the snapshot that an id names.

    :raises InvalidParameter: it is no id.
    :raises NotFound: there is no such snapshot.
    :raises NodeOffline: it may be on a node that does not answer.
    :raises WrongState: the database has no snapshot volume.
    """
    volume, location = require_snapshot_volume(ctx.conf, database), parse_snapshot_id(given)
    found, away = snapshots_on(ctx, location.database, volume)
    for (node, path), snapshot in found.items():
        if path == location.path:
            return volume, node, snapshot
    text = f"backup_id: snapshot volume {volume.name} has no snapshot {location.path}"
    if away:
        raise NodeOffline(f"{text} on the nodes that answer; it may be on {names(away)}")
    raise NotFound(f"{text}; db_snapshot_backup_list shows all")
