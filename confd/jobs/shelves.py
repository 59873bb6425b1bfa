"""What jobs see of the backups on archive volumes."""

from __future__ import annotations

from confd.exaconf import Volume
from confd.jobs.observing import ask
from confd.model.errors import NodeOffline, NotFound
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.services.backup.backup import Backup, Backups
from confd.services.backup.location import parse_id
from confd.services.backup.running import read
from confd.services.backup.targets import archive_volume


def node_for(ctx: Context, volume: Volume) -> int:
    """Return a node that can read and write a volume.

    :raises NodeOffline: none of its nodes answers.
    """
    states = ctx.cluster.node_states()
    online = [node for node in volume.nodes if states.get(node) is NodeState.ONLINE]
    if not online:
        raise NodeOffline(f"no node of volume {volume.name} is online; start one of {_names(volume)}")
    return ctx.learn("node", lambda: online[0])


def backups_on(ctx: Context, volume: Volume, database: str | None = None) -> Backups:
    """Return the backups on a volume, of one database or of all."""
    found: list[Backup] = ask(ctx, read.on(node_for(ctx, volume), volume=volume.name, database=database))
    return Backups(found)


def find_backup(ctx: Context, backup_id: str) -> tuple[Volume, Backups, Backup]:
    """Return the volume and the backup that an id names, with the others of its database there.

    :raises InvalidParameter: it is no id.
    :raises NotFound: there is no such volume or backup.
    """
    number, location = parse_id(backup_id)
    volume = archive_volume(ctx.conf, None, number)
    backups = backups_on(ctx, volume, location.database)
    backup = backups.find(location.path)
    if backup is None:
        raise NotFound(
            f"backup_id: volume {volume.name} has no backup {location.path}; db_backup_list shows all, with "
            "show_foreign also those of other databases"
        )
    return volume, backups, backup


def _names(volume: Volume) -> str:
    return ", ".join(f"n{node}" for node in volume.nodes)
