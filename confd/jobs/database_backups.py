"""Backups of databases: taking, following, listing and verifying them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from confd.cluster.operations import MASTER
from confd.exaconf import Volume
from confd.jobs import locks
from confd.jobs.observing import database_record, database_state, require_idle
from confd.jobs.shelves import backups_on, find_backup, node_for, readable
from confd.jobs.types import DatabaseName, VolumeName
from confd.model.errors import NodeOffline, NotFound, StorageCorrupted, WrongState
from confd.model.states import DatabaseState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, Allow, Substitute, job
from confd.services.backup.backup import Backups
from confd.services.backup.listing import describe_backups
from confd.services.backup.location import Location, stamp_of
from confd.services.backup.order import BackupOrder, RestoreOrder
from confd.services.backup.orders import start, stop, stop_restore
from confd.services.backup.restoring.verification import links_of
from confd.services.backup.retention.expiry import check_lifetime, expires
from confd.services.backup.running import verify
from confd.services.backup.targets import archive_volume
from confd.services.database.record import Record, restoring
from confd.services.database.supervision.supervision import Supervision

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_VOLUME: Final = Substitute("backup_volume_id", "backup_volume_name", number_wins=True)

VolumeId = Annotated[int, Rule(minimum=0)]
Level = Annotated[int, Rule(minimum=0, maximum=9)]
Lifetime = Annotated[str, Rule(check=check_lifetime, form="'#m #w #d #h', e.g. '1w 3d'", aliases=("expire_time",))]


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[
        locks.database("db_name"),
        locks.volume("backup_volume_id", "backup_volume_name", share=True),
    ],
    substitutes=[_VOLUME],
)
def db_backup_start(
    ctx: Context,
    backup_volume_id: VolumeId | None,
    db_name: DatabaseName,
    level: Level,
    *,
    backup_volume_name: VolumeName | None = None,
    expire: Lifetime | None = None,
) -> None:
    """Start a backup of a running database to an archive volume.

    The job ends once the backup runs; db_backup_progress follows it, db_backup_abort ends it, db_info tells how it
    ended. A backup of level 1 to 9 holds what has changed since the newest usable one of a lower level on the same
    volume.

    :param backup_volume_id: Archive volume, by id; wins over the name.
    :param db_name: Name of an existing database.
    :param level: 0 for everything, 1 to 9 for what has changed since a lower level.
    :param backup_volume_name: Archive volume, by name.
    :param expire: How long the backup is kept, such as 1w 3d; for ever when left out.

    Examples:
    {db_name: exa_db, backup_volume_name: ArchiveVolume1, level: 0, expire: 1w}
    {db_name: exasol, backup_volume_name: r0001, level: 0}
    """
    ctx.conf.require_database(db_name)
    volume = archive_volume(ctx.conf, backup_volume_name, backup_volume_id)
    record = require_idle(ctx, db_name)
    state = ctx.learn("state", lambda: database_state(ctx, db_name))
    if state != DatabaseState.RUNNING or record.primary is None:
        raise WrongState(f"database {db_name} is in state {state}; only a running one can be saved (db_start)")
    if record.virtual is not None:
        raise WrongState(
            f"database {db_name} is opened from backup {record.virtual.order.path}; stop and start it first"
        )
    order = _order(ctx, db_name, volume, record, level, expire)
    ctx.run(
        start.on(MASTER, database=db_name, order=order),
        undo=stop.on(MASTER, database=db_name, order=order),
    )


@job(MODIFY, allow=_ADMINISTRATORS, lockless=True)
def db_backup_abort(ctx: Context, db_name: DatabaseName) -> None:
    """End the backup or the restore of a database that runs; nothing of it is left.

    A restore is taken back: its job ends with CANCELED, and the database is stopped with the data it had. When that has
    been replaced it is too late.

    :param db_name: Database with a running backup or restore.

    Examples:
    {db_name: exa_db}
    """
    ctx.conf.require_database(db_name)
    record = database_record(ctx, db_name)
    if record.backup is not None:
        ctx.run(stop.on(MASTER, database=db_name, order=record.backup))
    elif under_way := restoring(record):
        ctx.run(stop_restore.on(MASTER, database=db_name, generation=under_way.generation))
    else:
        raise WrongState(f"no backup or restore of database {db_name} runs; db_backup_list shows backups that are done")


@job(READ, allow=_ADMINISTRATORS)
def db_backup_progress(ctx: Context, db_name: DatabaseName) -> dict[str, Any]:
    """Tell how far the running backup or restore of a database is.

    Progress is a percentage; Bytes of Total Bytes of the database are done, Stored Bytes are on the volume.

    :param db_name: Database with a running backup or restore.

    Examples:
    {db_name: exa_db}
    """
    ctx.conf.require_database(db_name)
    supervision = ctx.service(Supervision)
    record, progress = supervision.record(db_name), supervision.backups.progress(db_name)
    under_way = restoring(record)
    running = record.backup or (under_way.order if under_way else None)
    if running is None or progress is None:
        raise WrongState(f"no backup or restore of database {db_name} runs{_last(record)}")
    kind = "Backup" if record.backup else "Restore"
    level = running.level if isinstance(running, RestoreOrder) else running.location.level
    return {
        "Bytes": progress.done,
        "Comment": f"{kind} is active",
        "Files": [],
        "Level": level,
        "Name": progress.name,
        "Progress": progress.percent,
        "Stored Bytes": progress.stored,
        "Total Bytes": progress.total,
        "Type": kind,
        "Volume ID": running.volume_id,
    }


@job(READ, allow=_ADMINISTRATORS)
def db_backup_list(ctx: Context, db_name: DatabaseName, *, show_foreign: bool = False) -> list[dict[str, Any]]:
    """List the backups of a database on all archive volumes; a warning names a volume that cannot be read now.

    :param db_name: Name of an existing database.
    :param show_foreign: Show backups of other databases too.

    Examples:
    {db_name: exa_db}
    {db_name: MY_DATABASE, show_foreign: true}
    """
    ctx.conf.require_database(db_name)
    shown: list[dict[str, Any]] = []
    for _, found in readable(ctx, None if show_foreign else db_name):
        shown += describe_backups(found, db_name, ctx.now(), foreign=show_foreign)
    return shown


@job(READ, allow=_ADMINISTRATORS, own=True)
def db_backup_verify(ctx: Context, backup_id: str) -> dict[str, Any]:
    """Read a backup and all that it builds on from end to end, and compare with the hashes taken when it was written.

    :param backup_id: Id of the backup, as db_backup_list shows it.

    Examples:
    {backup_id: 1 exa_db/id_1/level_0/node_0/backup_201811131114 exa_db}
    """
    volume, backups, backup = find_backup(ctx, backup_id)
    chain = backups.chain(backup)
    if chain is None:
        if away := backups.away(backup):
            raise NodeOffline(f"backup_id: {backup.path} cannot be read now: {away}")
        raise StorageCorrupted(f"{backup.path} is not usable: a part of it or of what it builds on is missing")
    links = links_of(chain)
    wrong = ctx.cluster.call(verify.on(node_for(ctx, volume), volume=volume.name, files=links), timeout=86400.0)
    if wrong:
        raise StorageCorrupted("; ".join(wrong))
    return {"files": len(links), "bytes": sum(link.size for link in links), "backups": [one.id for one in chain]}


def _order(ctx: Context, database: str, volume: Volume, record: Record, level: int, expire: str | None) -> BackupOrder:
    backups = backups_on(ctx, volume, database)
    base = backups.base_for(database, level, record.generation, record.system_id, record.lineage)
    if level and base is None:
        raise NotFound(_no_base(backups, database, volume, level))
    began = ctx.now()
    bid = ctx.next_number(f"backup/{volume.id}/{database}", backups.next_bid(database))
    assert record.primary is not None
    return BackupOrder(
        node=record.primary,
        volume=volume.name,
        volume_id=volume.id or 0,
        location=Location(database, bid, level, 0, stamp_of(began)),
        base=base.location if base else None,
        began=began,
        expires=expires(expire, began),
    )


def _no_base(backups: Backups, database: str, volume: Volume, level: int) -> str:
    hidden = [one.away for one in backups.of(database) if one.location.level < level and one.away]
    if hidden:
        return f"level: what there is to build on volume {volume.name} cannot be read now: {hidden[0]}"
    lower = [one for one in backups.of(database) if one.location.level < level and backups.usable(one)]
    if lower:
        return (
            f"level: the backups of database {database} on volume {volume.name} are of other data, from before it was "
            "made anew or restored; take one of level 0 first"
        )
    return (
        f"level: volume {volume.name} has no usable backup of database {database} of a level below {level} to build "
        "on; take one of level 0 first"
    )


def _last(record: Record) -> str:
    if record.last is None:
        return ""
    return f"; the last one ({record.last.name}) " + (
        f"failed: {record.last.message}" if record.last.code else "is done"
    )
